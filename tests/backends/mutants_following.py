"""Mutants of a backend that follows a PBX: each breaks a rule for calls that umd did not place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from tests.backends.pbx import Channel, FollowingBackend
from umd.backend import Answered, Changed, Ended, FoundLeg, LegId, LegSink, NoSuchLeg, Proof
from umd.call.cause import Cause, EndedBy


class FindsNothing(FollowingBackend):
    """Does not report a call that appears; only `legs` has it."""

    def find(self, found: FoundLeg) -> None:
        self.known[found.leg] = found


class FindsLate(FollowingBackend):
    """Reports a change of a call before it reports the call as found."""

    def find(self, found: FoundLeg) -> None:
        self.report(Changed(leg=found.leg, aliases=found.aliases))
        super().find(found)


class FindsUnlisted(FollowingBackend):
    """Reports a call as found, and does not list it."""

    async def legs(self) -> Sequence[FoundLeg]:
        return [found for found in await super().legs() if found.leg not in self.found]

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.found: set[LegId] = set()

    def find(self, found: FoundLeg) -> None:
        super().find(found)
        self.found.add(found.leg)


class FindsTheEnded(FollowingBackend):
    """Reports a leg as found again after its end."""

    def end(self, leg: LegId, cause: Cause, proof: Proof) -> None:
        found = self.known[leg]
        super().end(leg, cause, proof)
        assert self.sink is not None
        self.sink.leg_found(found)


class FindsOddAliases(FollowingBackend):
    """Reports an alias whose kind is not valid."""

    def find(self, found: FoundLeg) -> None:
        super().find(replace(found, aliases={"Channel Name": found.aliases["channel"]}))


class FailsForOddFarEnds(FollowingBackend):
    """Drops a call whose number is not ASCII."""

    def find(self, found: FoundLeg) -> None:
        if found.number.isascii():
            super().find(found)


class AnswersNothing(FollowingBackend):
    """Does not report that a found leg was answered."""

    def change(self, leg: LegId, new: FoundLeg, *, answered: bool) -> None:
        self.known[leg] = new
        if not answered:
            self.report(self.changed(leg, new))


class SaysTheClientEndedIt(FollowingBackend):
    """Says of a call that ended on the PBX that a client ended it."""

    def cause_of_end(self, leg: LegId, what: str, q850: int) -> Cause:
        return replace(super().cause_of_end(leg, what, q850), by=EndedBy.CLIENT)


class DropsTheCause(FollowingBackend):
    """Gives every end on the PBX the cause normal clearing."""

    def cause_of_end(self, leg: LegId, what: str, q850: int) -> Cause:
        return super().cause_of_end(leg, what, 16)


class TakesTheSecondCause(FollowingBackend):
    """Lets a second `hang_up` replace the cause of the first."""

    def hang_up(self, leg: LegId, cause: Cause) -> None:
        super().hang_up(leg, cause)
        self.causes[leg] = cause


class TrustsTheReply(FollowingBackend):
    """Reports a confirmed end as soon as the PBX accepts the command."""

    def give_up(self, leg: LegId) -> None:
        pass

    def hang_up(self, leg: LegId, cause: Cause) -> None:
        super().hang_up(leg, cause)
        self.later(0.0, self.end, leg, cause, Proof.FAR_END)


class ConfirmsTheWord(FollowingBackend):
    """Takes the word of the PBX for a confirmation."""

    def give_up(self, leg: LegId) -> None:
        if leg in self.causes:
            cause = self.causes.pop(leg)
            del self.known[leg]
            ended = Ended(leg, cause, shown_by=Proof.PBX)
            ended.confirmed = True
            self.report(ended)


class NeverGivesUpOnPbx(FollowingBackend):
    """Waits for ever for a PBX that accepts a command and does nothing."""

    def give_up(self, leg: LegId) -> None:
        pass


class BelievesA404(FollowingBackend):
    """Raises NoSuchLeg for a leg whose end the PBX has not reported yet."""

    def hang_up(self, leg: LegId, cause: Cause) -> None:
        if leg in self.known and leg not in self.pbx.channels:
            raise NoSuchLeg("the PBX answered 404")
        super().hang_up(leg, cause)


class KeepsTheLost(FollowingBackend):
    """Never ends a leg that the PBX lost without a word."""

    def look_again(self, leg: LegId) -> None:
        pass


class RepeatsCommands(FollowingBackend):
    """Sends a command for each `hang_up`."""

    def hang_up(self, leg: LegId, cause: Cause) -> None:
        if leg in self.causes:
            self.pbx.command_hang_up(leg, cause.q850)
        super().hang_up(leg, cause)


class SendsStrayCommands(FollowingBackend):
    """Sends a command for a leg that it does not know."""

    def hang_up(self, leg: LegId, cause: Cause) -> None:
        if leg not in self.known and self.is_connected:
            self.pbx.command_hang_up(leg, cause.q850)
        super().hang_up(leg, cause)


class EndsEveryCall(FollowingBackend):
    """Ends all calls of the PBX with one."""

    def hang_up(self, leg: LegId, cause: Cause) -> None:
        super().hang_up(leg, cause)
        for other in [other for other in self.known if other not in self.causes]:
            super().hang_up(other, cause)


class SeesOneSide(FollowingBackend):
    """Reports a bridge on one of its legs only."""

    def change(self, leg: LegId, new: FoundLeg, *, answered: bool) -> None:
        partners = () if leg.endswith("2") else new.partners
        super().change(leg, replace(new, partners=partners), answered=answered)


class KeepsPartners(FollowingBackend):
    """Does not report that a bridge has ended."""

    def changed(self, leg: LegId, new: FoundLeg) -> Changed:
        return Changed(leg=leg, aliases=new.aliases, partners=new.partners or None)


class ReportsADifference(FollowingBackend):
    """Reports only the alias that has changed, under a new kind, instead of all."""

    def changed(self, leg: LegId, new: FoundLeg) -> Changed:
        return Changed(leg=leg, aliases={"new": new.aliases["channel"]}, partners=new.partners)


class RenamesByEnd(FollowingBackend):
    """Takes a leg whose ids change for one that ends."""

    def change(self, leg: LegId, new: FoundLeg, *, answered: bool) -> None:
        if new.aliases != self.known[leg].aliases:
            self.end(leg, Cause(by=EndedBy.FAR_END), Proof.PBX)
        else:
            super().change(leg, new, answered=answered)


class IgnoresRenames(FollowingBackend):
    """Keeps the ids that a leg had first."""

    def change(self, leg: LegId, new: FoundLeg, *, answered: bool) -> None:
        aliases = self.known[leg].aliases
        super().change(leg, replace(new, aliases=aliases), answered=answered)


class BlamesItself(FollowingBackend):
    """Says of an end that the leg itself caused it."""

    def end(self, leg: LegId, cause: Cause, proof: Proof) -> None:
        self.known.pop(leg, None)
        self.causes.pop(leg, None)
        self.report(Ended(leg, cause, shown_by=proof, caused_by=leg))


class LooksAtItself(FollowingBackend):
    """Answers `look_up` from its own list, not from the PBX."""

    async def look_up(self, leg: LegId) -> FoundLeg | None:
        self.check_connected()
        return self.known.get(leg)


class FailsToLookUp(FollowingBackend):
    """Raises NoSuchLeg from `look_up` instead of returning None."""

    async def look_up(self, leg: LegId) -> FoundLeg | None:
        found = await super().look_up(leg)
        if found is None:
            raise NoSuchLeg(ascii(leg))
        return found


class PlacesNothing(FollowingBackend):
    """Ignores `place` although it cannot place calls."""

    def place(self, leg: LegId, number: str) -> None:
        pass


class HidesOutages(FollowingBackend):
    """Does not report that the connection is lost."""

    def report_down(self, reason: str) -> None:
        pass


class RepeatsOutages(FollowingBackend):
    """Reports each failed attempt to connect as an outage."""

    def reconnect(self) -> None:
        super().reconnect()
        if not self.is_connected:
            self.report_down("still not connected")


class StaysDown(FollowingBackend):
    """Does not report that it is connected again."""

    def report_up(self) -> None:
        pass


class KeepsCommands(FollowingBackend):
    """Keeps a `hang_up` of an outage, and carries it out later."""

    def hang_up(self, leg: LegId, cause: Cause) -> None:
        if self.is_connected:
            super().hang_up(leg, cause)
        else:
            self.later(2.5, super().hang_up, leg, cause)


class ListsDuringOutage(FollowingBackend):
    """Lists what it knew before the outage."""

    async def legs(self) -> Sequence[FoundLeg]:
        return list(self.known.values())


class EndsWithTheConnection(FollowingBackend):
    """Takes a lost connection for the end of all calls."""

    def connection_lost(self) -> None:
        for leg in list(self.known):
            self.end(leg, Cause(by=EndedBy.FAR_END), Proof.FAR_END)
        super().connection_lost()


class IsStaleAfterOutage(FollowingBackend):
    """Goes on with the list of before the outage."""

    def take_over(self, snapshot: dict[LegId, FoundLeg]) -> None:
        pass


class ReportsEndsLate(FollowingBackend):
    """Reports the ends of an outage after `backend_up`."""

    def reconnect(self) -> None:
        before = dict(self.known)
        super().reconnect()
        self.later(0.5, self.report_missing, before)

    def report_missing(self, before: dict[LegId, FoundLeg]) -> None:
        for leg in before:
            if leg not in self.known:
                self.report(Ended(leg, Cause(by=EndedBy.FAR_END), shown_by=Proof.PBX))

    def take_over(self, snapshot: dict[LegId, FoundLeg]) -> None:
        self.known = snapshot


class ConfirmsAfterRestart(FollowingBackend):
    """Takes the calls that are gone after a restart of the PBX for confirmed ends."""

    def forget(self, leg: LegId, reason: str) -> None:
        self.end(leg, Cause(by=EndedBy.FAR_END), Proof.FAR_END)


class ConnectsAfterStop(FollowingBackend):
    """Goes on to connect after `stop`."""

    async def stop(self) -> None:
        self.is_connected = False
        self.pbx.disconnect(self)
        self.causes.clear()


class MissesTheFirstCalls(FollowingBackend):
    """Drops the events between `start` and the first `legs`."""

    listed = False

    async def start(self, sink: LegSink) -> None:
        self.listed = False
        await super().start(sink)

    async def legs(self) -> Sequence[FoundLeg]:
        self.listed = True
        return await super().legs()

    def heard(self, what: str, channel: Channel, q850: int) -> None:
        if self.listed or what != "began":
            super().heard(what, channel, q850)


class SeesNoOldCalls(FollowingBackend):
    """Does not ask the PBX for the calls that it has at the start."""

    def snapshot(self) -> dict[LegId, FoundLeg]:
        return {} if not self.known else super().snapshot()


class AnswersForOthers(FollowingBackend):
    """Reports an answer for each list that the PBX sends."""

    async def legs(self) -> Sequence[FoundLeg]:
        for leg in self.known:
            self.report(Answered(leg))
        return await super().legs()


FOLLOWING_MUTANTS: Final[Mapping[type[Any], tuple[str, ...]]] = {
    FindsNothing: ("follow.found",),
    FindsLate: ("follow.found",),
    FindsUnlisted: ("follow.listed",),
    FindsTheEnded: ("follow.not-again", "follow.end"),
    FindsOddAliases: ("follow.found-fields",),
    FailsForOddFarEnds: ("follow.odd-numbers",),
    AnswersNothing: ("follow.ringing",),
    SaysTheClientEndedIt: ("follow.hung-up",),
    DropsTheCause: ("follow.cause",),
    TakesTheSecondCause: ("end.first-cause",),
    TrustsTheReply: ("follow.denied", "follow.end"),
    ConfirmsTheWord: ("follow.denied",),
    NeverGivesUpOnPbx: ("follow.denied",),
    BelievesA404: ("follow.never-unknown", "follow.lost"),
    KeepsTheLost: ("follow.lost",),
    RepeatsCommands: ("follow.end-once",),
    SendsStrayCommands: ("follow.no-stray-command",),
    EndsEveryCall: ("follow.others-stay", "end.others-stay"),
    SeesOneSide: ("change.bridged",),
    KeepsPartners: ("change.parted",),
    ReportsADifference: ("change.renamed",),
    RenamesByEnd: ("change.renamed", "change.renamed-end"),
    IgnoresRenames: ("change.renamed",),
    BlamesItself: ("end.lone", "change.bridge-ends"),
    LooksAtItself: ("look-up.lost",),
    FailsToLookUp: ("look-up.unknown", "look-up.ended"),
    PlacesNothing: ("place.cannot",),
    HidesOutages: ("down.reported",),
    RepeatsOutages: ("down.reported", "up.reported"),
    StaysDown: ("up.reported",),
    KeepsCommands: ("down.hang-up",),
    ListsDuringOutage: ("down.legs",),
    EndsWithTheConnection: ("down.reported", "down.teardown"),
    IsStaleAfterOutage: ("up.legs", "up.ended", "up.changes"),
    ReportsEndsLate: ("up.ended",),
    ConfirmsAfterRestart: ("up.pbx-restarted",),
    ConnectsAfterStop: ("down.stop",),
    MissesTheFirstCalls: ("snapshot.no-gap",),
    SeesNoOldCalls: ("snapshot.at-start",),
    AnswersForOthers: ("list.again",),
}
"""Mutants of `FollowingBackend`, and the behaviours that must fail."""
