"""What every group of behaviours needs: the backend under test, time, and legs in each state."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from umd.backend import (
    Answered,
    BackendUnavailable,
    Ended,
    FoundLeg,
    LegBackend,
    LegId,
    Progressed,
    ShowsMessages,
    load_backend_type,
)
from umd.call.call import CallState
from umd.call.cause import Cause, EndedBy
from umd.testing.contract.behaviour import NotOffered
from umd.testing.contract.hooks import PbxHooks
from umd.testing.fakes import RecordingSink
from umd.trace.capture import Capture

if TYPE_CHECKING:
    _Base = TestCase
else:
    # Not a TestCase by itself: trial would run it wherever it is imported.
    _Base = object

CAPTURED_MESSAGES: Final = 1000
WRONG_END: Final = (
    "the cause must say which side ended the leg, and `confirmed` whether the far end confirmed it"
)
CLIENT: Final = Cause(by=EndedBy.CLIENT)
NUMBERS: Final = ("number_that_answers", "number_that_rings", "number_that_rejects")
PBX_NUMBER: Final = "5550100"
"""The number of the far end of the calls that the PBX begins by itself."""
ODD_NUMBERS: Final = (
    "",
    " ",
    "0" * 300,
    "x" * 10_000,
    "+1 (555) 0100",
    "tel:+1-555-0100;ext=12",
    "sip:alice@example.com",
    "sips:alice@example.com",
    "sip:%zz@@;;",
    "zwölf",
    "☎" * 50,
    "\udcff\udc80",
    "5550100\r\nVia: SIP/2.0/UDP example.com",
    "5550100\x00",
)


class ContractCase(PbxHooks, _Base):
    """The backend under test, and helpers for the tests; `LegBackendContract` is its public end."""

    backend_type: str = ""
    """The type of the backend, for `make_settings` and the default of `make_backend`."""
    section: Mapping[str, Any] = {}
    """The keys of its section of the configuration, for `make_settings`."""
    fixed_keys: tuple[str, ...] = ()
    """Keys of `section` that lead to the peer of the contract, so that `-o` cannot replace them."""
    number_that_answers: str
    """A number that answers, and stays until it is hung up."""
    number_that_rings: str
    """A number that rings and never answers."""
    number_that_rejects: str
    """A number that rejects the call, for example because it is busy."""
    number_that_hangs_up: str | None = None
    """A number that answers, then hangs up by itself; None: none, its tests are skipped."""
    number_silent_to_bye: str | None = None
    """A number that answers and never confirms its end; None: none, its tests are skipped."""
    odd_numbers: Sequence[str] = ODD_NUMBERS
    """What else a client may send as a number. Empty: nothing odd is dialled."""
    can_place: bool = True
    """Whether the backend places calls. One that only watches its PBX has no numbers to call."""
    patience = 40.0
    """Seconds within which every expected event comes."""
    quiet = 2.0
    """Seconds during which the tests watch for events that must not come."""
    has_clock_alone = True
    """Whether only the backend sets timers on the Clock; then `stop` must leave none."""
    step = 0.05
    """Seconds from one look at the events to the next."""
    overrides: Mapping[str, Any] = {}
    """Keys that replace those of `section`; `umd backend-contract -o` sets them."""

    clock: Any
    backend: LegBackend
    sink: RecordingSink
    _started: bool = False
    left_out: str | None = None
    """Why the test that ran last was left out on purpose; None: it was not."""

    def make_backend(self) -> LegBackend:
        """
        Return a new backend on `self.clock`, not started.

        The default makes one of `backend_type`. The tests of `RestoresLegs` call it a second time,
        for the backend after a restart: the second one must reach the same peer.
        """
        if not self.backend_type:
            raise NotImplementedError(
                f"{type(self).__name__} must define make_backend, or set backend_type"
            )
        backend_type = load_backend_type(self.backend_type)
        return backend_type(self.backend_type, self.make_settings(backend_type), self.clock)

    def make_settings(self, backend_type: type[LegBackend]) -> Any:
        """Return settings of a backend type: those of `section`, and of `-o` in their place."""
        return backend_type.Settings.model_validate({**self.section, **self.overrides})

    async def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.advance(seconds)

    # -- before and after each test

    async def setUp(self) -> None:  # type: ignore[override]  # trial awaits it
        self._check_numbers()
        if not hasattr(self, "clock"):
            self.clock = Clock()
        self._make_backend()
        await self._start()
        self.addCleanup(self._stop)

    def _make_backend(self) -> None:
        self.backend = self.make_backend()
        self.sink = RecordingSink(self.backend)
        self.capture = Capture(CAPTURED_MESSAGES, self.clock.seconds)
        if isinstance(self.backend, ShowsMessages):
            self.backend.capture_to(self.capture.tap)

    async def _stop(self) -> None:
        if not self._started:
            return
        self._started = False
        await self.backend.stop()
        self.assertEqual(self.sink.wrong, [])
        if self.has_clock_alone and isinstance(self.clock, Clock):
            left = self.clock.getDelayedCalls()
            self.assertEqual(left, [], "timers are left on the clock after stop")

    async def _start(self, *, lists: bool = True) -> None:
        """Start the backend as umd does, which asks for its legs then."""
        await self.backend.start(self.sink)
        self._started = True
        if lists:
            with suppress(BackendUnavailable):
                await self.backend.legs()

    def _check_numbers(self) -> None:
        for name in NUMBERS if self.can_place else ():
            if not hasattr(self, name):
                self.fail(f"{type(self).__name__} must set {name}")

    # -- what the backend and the contract offer

    def _need(self, option: type) -> None:
        """Leave the test out if the backend does not offer an option."""
        offers = isinstance(self.backend, option)
        if option in self.not_offered:
            self.assertFalse(offers, f"it offers {option.__name__}, which not_offered names")
        if not offers:
            why = f"the backend does not offer {option.__name__}"
            raise NotOffered(why, on_purpose=option in self.not_offered)

    def _number(self, name: str) -> str:
        if not self.can_place:
            raise NotOffered("the backend only watches its PBX", on_purpose=True)
        number: str | None = getattr(self, name)
        if number is None:
            why = f"the contract has no {name}"
            raise NotOffered(why, on_purpose=name in self.not_offered)
        return number

    # -- legs

    def _place(self, number: str) -> LegId:
        leg = LegId(str(uuid4()))
        self.backend.place(leg, number)
        return leg

    async def _connected(self, number: str) -> LegId:
        leg = self._place(number)
        await self._until(lambda: Answered(leg) in self.sink.events)
        return leg

    async def _talking(self) -> LegId:
        """Return a connected leg: one that was placed, or one of the PBX's own."""
        if self.can_place:
            return await self._connected(self._number("number_that_answers"))
        return await self._found(await self.pbx_call(PBX_NUMBER))

    async def _ringing(self) -> LegId:
        """Return a leg that rings: one that was placed, or one of the PBX's own."""
        if not self.can_place:
            return await self._found(await self.pbx_ring(PBX_NUMBER))
        leg = self._place(self._number("number_that_rings"))
        await self._until(lambda: Progressed(leg) in self.sink.events)
        return leg

    async def _found(self, leg: LegId) -> LegId:
        """Wait until the backend has reported a leg of the PBX's own; return its name."""
        await self._until(lambda: self.sink.has_found(leg))
        return leg

    async def _hang_up_and_check(self, leg: LegId) -> Ended:
        self.backend.hang_up(leg, CLIENT)
        ended = await self._end_of(leg)
        self.assertEqual((ended.cause.by, ended.confirmed), (EndedBy.CLIENT, True), WRONG_END)
        return ended

    async def _end_of(self, leg: LegId) -> Ended:
        """Wait for the end of a leg, and check that nothing follows it."""
        await self._until(lambda: bool(self.sink.ends(leg)))
        await self.wait(self.quiet)
        why = f"a leg ends exactly once; reported of this one: {self.sink.of(leg)}"
        self.assertEqual(len(self.sink.ends(leg)), 1, why)
        last = self.sink.of(leg)[-1]
        assert isinstance(last, Ended), self.sink.of(leg)
        return last

    async def _wait_in_vain(self) -> None:
        """Wait for reports that must not come: long on a Clock, but not in real time."""
        await self.wait(self.patience if isinstance(self.clock, Clock) else self.quiet)

    async def _listed(self) -> dict[LegId, FoundLeg]:
        """Return what `legs` lists, by name; no leg may be listed twice."""
        legs = await self.backend.legs()
        listed = {found.leg: found for found in legs}
        self.assertEqual(len(legs), len(listed), "legs() must list each leg once")
        return listed

    async def _states(self) -> dict[LegId, CallState]:
        return {leg: found.state for leg, found in (await self._listed()).items()}

    async def _until(self, happened: Callable[[], bool]) -> None:
        waited = 0.0
        while not happened():
            if waited > self.patience:
                self.fail(
                    f"nothing more was reported within {self.patience} s of the backend's clock; "
                    f"reported: {self.sink.reports}"
                )
            await self.wait(self.step)
            waited += self.step
