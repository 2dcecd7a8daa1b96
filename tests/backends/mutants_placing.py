"""Mutants of `FakeBackend` and of `sim`: each breaks a rule for legs that umd places."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from umd.backend import (
    Answered,
    Ended,
    FileTrouble,
    FoundLeg,
    KnownLeg,
    LegEvent,
    LegId,
    LegSink,
    Media,
    MediaCount,
    MessageTap,
    NoSuchLeg,
    Progressed,
)
from umd.backends.sim import SimBackend
from umd.backends.sip import SipBackend
from umd.call.call import CallState
from umd.call.cause import Cause, EndedBy
from umd.testing import FakeBackend


class EndsTwice(FakeBackend):
    """Reports the end of a leg twice."""

    def _report(self, event: LegEvent) -> None:
        super()._report(event)
        if isinstance(event, Ended):
            super()._report(event)


class AnswersTwice(FakeBackend):
    """Reports an answer twice."""

    def answer(self, leg: LegId) -> None:
        super().answer(leg)
        self._report(Answered(leg))


class RingsAfterTheEnd(FakeBackend):
    """Reports that a leg rings after its end."""

    def end(self, leg: LegId, cause: Cause | None = None, *, confirmed: bool = True) -> None:
        super().end(leg, cause, confirmed=confirmed)
        self._report(Progressed(leg))


class EndsTheUnknown(FakeBackend):
    """Takes `hang_up` of an unknown leg for success."""

    def hang_up(self, leg: LegId, cause: Cause) -> None:
        if leg in self._states:
            super().hang_up(leg, cause)


class ReportsTheUnknown(FakeBackend):
    """Raises NoSuchLeg for an unknown leg, and reports its end as well."""

    def hang_up(self, leg: LegId, cause: Cause) -> None:
        try:
            super().hang_up(leg, cause)
        except NoSuchLeg:
            self._report(Ended(leg, cause))
            raise


class FailsForOddNames(FakeBackend):
    """Encodes the name of a leg as UTF-8, and fails for octets that are not."""

    def hang_up(self, leg: LegId, cause: Cause) -> None:
        leg.encode()
        super().hang_up(leg, cause)


class FailsForOddNumbers(FakeBackend):
    """Raises an error for a number that cannot be dialled."""

    def place(self, leg: LegId, number: str) -> None:
        number.encode("ascii")
        super().place(leg, number)


class ConfirmsTheSilent(FakeBackend):
    """Takes the command for the end: a far end that stays silent is confirmed as down."""

    def hang_up(self, leg: LegId, cause: Cause) -> None:
        super().hang_up(leg, cause)
        if leg in self._causes:
            self.end(leg)


class GivesUpAsConfirmed(FakeBackend):
    """Reports the end after its deadline as confirmed."""

    def end(self, leg: LegId, cause: Cause | None = None, *, confirmed: bool = True) -> None:
        super().end(leg, cause, confirmed=True)


class NeverGivesUp(FakeBackend):
    """Never reports the end of a leg whose far end stays silent."""

    def _give_up(self, leg: LegId) -> None:
        pass


class SaysClient(FakeBackend):
    """Says of every end that a client requested it."""

    def _report(self, event: LegEvent) -> None:
        if isinstance(event, Ended):
            event.cause = replace(event.cause, by=EndedBy.CLIENT)
        super()._report(event)


class SaysNormalClearing(FakeBackend):
    """Gives every end the cause normal clearing."""

    def _report(self, event: LegEvent) -> None:
        if isinstance(event, Ended):
            event.cause = replace(event.cause, q850=16)
        super()._report(event)


class SaysNoCause(FakeBackend):
    """Gives a rejection the cause 0, which is none of Q.850."""

    def _report(self, event: LegEvent) -> None:
        if isinstance(event, Ended) and event.cause.sip_status == 486:
            event.cause = replace(event.cause, q850=0)
        super()._report(event)


class EndsOthers(FakeBackend):
    """Ends every leg to the same number."""

    def hang_up(self, leg: LegId, cause: Cause) -> None:
        number = self._numbers.get(leg)
        super().hang_up(leg, cause)
        for other in [other for other in self._states if self._numbers[other] == number]:
            super().hang_up(other, cause)


class ListsTheEnded(FakeBackend):
    """Lists legs that have ended."""

    async def legs(self) -> Sequence[FoundLeg]:
        return [
            FoundLeg(leg=leg, state=CallState.CONNECTED, number=number)
            for leg, number in self._numbers.items()
        ]


class ForgetsTheEnding(FakeBackend):
    """Does not list a leg once `hang_up` was called."""

    async def legs(self) -> Sequence[FoundLeg]:
        return [found for found in await super().legs() if found.leg not in self._causes]


class ForgetsTheUnanswered(FakeBackend):
    """Does not list a leg before it is answered."""

    async def legs(self) -> Sequence[FoundLeg]:
        return [leg for leg in await super().legs() if leg.state is CallState.CONNECTED]


class ListsTwice(FakeBackend):
    """Lists each leg twice."""

    async def legs(self) -> Sequence[FoundLeg]:
        return [*await super().legs(), *await super().legs()]


class ListsNamelessNumbers(FakeBackend):
    """Lists legs with a state that no live leg has."""

    async def legs(self) -> Sequence[FoundLeg]:
        return [replace(leg, state=CallState.DISCONNECTING) for leg in await super().legs()]


class GoesOnAfterStop(FakeBackend):
    """Does not stop: its deadlines go on, and their ends are reported."""

    async def stop(self) -> None:
        pass


class StartsOnce(FakeBackend):
    """Cannot be started again."""

    starts = 0

    async def start(self, sink: LegSink) -> None:
        self.starts += 1
        if self.starts == 1:
            await super().start(sink)


class StopsOnce(FakeBackend):
    """Fails when it is stopped and not started."""

    async def stop(self) -> None:
        assert self.sink is not None
        await super().stop()


class IsBusyInEvents(FakeBackend):
    """Refuses commands from within its own reports."""

    busy = False

    def _report(self, event: LegEvent) -> None:
        self.busy, before = True, self.busy
        super()._report(event)
        self.busy = before

    def _check_reachable(self) -> None:
        if self.busy:
            raise RuntimeError("it is busy")
        super()._check_reachable()


class Loose(SimBackend):
    """Lets the ACK leave at once, before the answer is recorded."""

    def _when_recorded(self, leg: LegId) -> None:
        self._let_go(leg)


class Recordless(SimBackend):
    """Has no leg record."""

    def leg_record(self, leg: LegId) -> bytes | None:
        return None


class Verbose(SimBackend):
    """Has a leg record that is too large."""

    def leg_record(self, leg: LegId) -> bytes | None:
        return b"x" * (64 * 1024 + 1)


class Forgetful(SimBackend):
    """Restores nothing."""

    def restore(self, known: Iterable[KnownLeg], *, anew: bool) -> None:
        list(known)


class Fragile(SimBackend):
    """Restores no leg once the record of one is damaged."""

    def restore(self, known: Iterable[KnownLeg], *, anew: bool) -> None:
        for leg in known:
            self._restore(leg, self._clock.seconds())


class Credulous(SimBackend):
    """Lists legs that it could not restore."""

    _claimed: Sequence[FoundLeg] = ()

    def restore(self, known: Iterable[KnownLeg], *, anew: bool) -> None:
        self._claimed = [
            FoundLeg(leg=leg.leg, state=leg.state, number=leg.number) for leg in known
        ]

    async def legs(self) -> Sequence[FoundLeg]:
        return [*await super().legs(), *self._claimed]


class Mute(SimBackend):
    """Carries no media although it says so."""

    def place_with_media(self, leg: LegId, number: str, media: Media) -> None:
        self.place(leg, number)


class Hasty(SimBackend):
    """Hangs up when the prompt is over."""

    def place_with_media(self, leg: LegId, number: str, media: Media) -> None:
        super().place_with_media(leg, number, media)
        self._clock.callLater(media.prompt_s + 0.5, self.hang_up, leg, self.cause)

    cause = Cause(by=EndedBy.DAEMON)


class Deaf(SimBackend):
    """Counts packets although nothing is recorded."""

    def _report(self, event: LegEvent) -> None:
        if self._sink is not None:
            if isinstance(event, Ended):
                event.media = MediaCount(sent=1, received=1)
            self._sink.leg_event(event)


class Nameless(SimBackend):
    """Shows no messages although it says so."""

    def capture_to(self, tap: MessageTap) -> None:
        pass


class Impatient(SimBackend):
    """Reports the end as soon as the BYE has left."""

    def hang_up(self, leg: LegId, cause: Cause) -> None:
        super().hang_up(leg, cause)
        self._report(Ended(leg, cause))


class Replacing(SimBackend):
    """Takes a second `place` of a name for a hang-up of the first leg."""

    def place(self, leg: LegId, number: str) -> None:
        if leg in self.simulation.legs:
            self.hang_up(leg, Cause(by=EndedBy.DAEMON))
        super().place(leg, number)


class AnswersItself(FakeBackend):
    """Takes a far end that rings for one that answers."""

    def ring(self, leg: LegId) -> None:
        super().ring(leg)
        self._report(Answered(leg))


class Finicky(SipBackend):
    """Finds fault with a file that the settings do not name."""

    @classmethod
    def check_files(cls, settings: Any) -> Iterator[FileTrouble]:
        yield "password_file", None, "there is none"


FAKE_MUTANTS: Final[Mapping[type[Any], tuple[str, ...]]] = {
    EndsTwice: ("end.talking", "place.rejected"),
    AnswersItself: ("place.rings", "place.answered"),
    AnswersTwice: ("place.answered",),
    RingsAfterTheEnd: ("end.talking", "place.hangs-up"),
    EndsTheUnknown: ("end.unknown", "end.ended", "end.rejected", "end.odd-names"),
    ReportsTheUnknown: ("end.unknown", "end.ended"),
    FailsForOddNames: ("end.odd-names",),
    FailsForOddNumbers: ("place.odd-numbers",),
    ConfirmsTheSilent: ("end.silent", "proof.silent"),
    GivesUpAsConfirmed: ("end.silent", "proof.silent", "end.silent-again"),
    NeverGivesUp: ("end.silent",),
    SaysClient: ("end.cause", "place.rejected", "place.hangs-up"),
    SaysNormalClearing: ("place.rejected", "end.cause"),
    SaysNoCause: ("place.rejected-cause",),
    EndsOthers: ("end.others-stay", "place.many"),
    ListsTheEnded: ("list.live", "list.rejected", "list.ended-event"),
    ForgetsTheEnding: ("list.ending",),
    ForgetsTheUnanswered: ("list.placed", "list.ringing"),
    ListsTwice: ("list.live", "place.many"),
    ListsNamelessNumbers: ("list.fields", "list.live"),
    GoesOnAfterStop: ("stop.silent-teardown",),
    StartsOnce: ("start.again", "stop.silent"),
    StopsOnce: ("stop.twice", "stop.never-started"),
    IsBusyInEvents: ("end.within-event", "place.within-event"),
}
"""Mutants of `FakeBackend`, and the behaviours that must fail."""

SIP_MUTANTS: Final[Mapping[type[Any], tuple[str, ...]]] = {
    Finicky: ("files.checked",),
}
"""Mutants of `sip`, and the behaviours that must fail."""

SIM_MUTANTS: Final[Mapping[type[Any], tuple[str, ...]]] = {
    Loose: ("restore.waits-for-record",),
    Recordless: ("restore.record", "restore.answered"),
    Verbose: ("restore.record",),
    Forgetful: ("restore.answered", "restore.stop-leaves-legs", "restore.ending"),
    Fragile: ("restore.damaged", "restore.odd"),
    Credulous: ("restore.damaged", "restore.odd", "restore.duplicate"),
    Mute: ("media.counted",),
    Hasty: ("media.counted",),
    Deaf: ("media.counted",),
    Nameless: ("messages.named",),
    Impatient: ("end.silent",),
    Replacing: ("place.name-in-use",),
}
"""Mutants of `sim`, and the behaviours that must fail."""
