"""The limits of calls, with a journal and over a restart."""

from __future__ import annotations

from twisted.internet.defer import ensureDeferred
from twisted.internet.task import Clock

from tests.control.journalled import WALL, HandJournal, JournalCase
from umd.backend import FoundLeg
from umd.call.call import Call, CallState
from umd.call.cause import EndedBy
from umd.call.events import DisconnectRequested
from umd.control.settings import ControlSettings


class LeaseTests(JournalCase):
    settings = ControlSettings(max_age=100.0, ring_time=20.0)

    def ended_by(self, call: Call) -> tuple[str | None, int]:
        """Return the limit that ended a call, and the Q.850 cause."""
        (request,) = [e for e in self.journal.events if isinstance(e, DisconnectRequested)]
        assert call.cause is not None and call.cause.by is EndedBy.DAEMON
        return request.limit, call.cause.q850

    def test_a_call_that_lasts_too_long(self) -> None:
        call = self.placed()
        self.clock.advance(99.9)
        self.journal.settle()
        self.assertFalse(call.ended)
        self.clock.advance(0.2)
        self.journal.settle()
        self.assertTrue(call.ended)
        self.assertEqual(self.ended_by(call), ("call.max_age", 102))
        self.assertEqual([*self.control._leases._timers.values()], [{}, {}])
        self.assert_counts_agree()

    def test_a_call_that_rings_too_long(self) -> None:
        call = self.placed("rings")
        self.clock.advance(20.1)
        self.journal.settle()
        self.assertEqual(self.ended_by(call), ("call.ring_time", 19))

    def test_a_call_that_neither_rings_nor_is_answered(self) -> None:
        call = self.placed("waits")
        self.clock.advance(20.1)
        self.journal.settle()
        self.assertTrue(call.ended)
        self.assertEqual(self.ended_by(call), ("call.ring_time", 18))

    def test_a_call_that_ends_before_its_limit_leaves_no_timer(self) -> None:
        call = self.placed()
        _ = self.disconnect(call)
        self.journal.settle()
        self.assertEqual([*self.control._leases._timers.values()], [{}, {}])
        self.clock.advance(200)
        self.assertEqual(self.control.counts().refused_events, 0)

    def test_a_limit_that_is_reached_while_the_journal_cannot_write(self) -> None:
        call = self.placed()
        self.journal.refusing = "the disk is full"
        self.clock.advance(101)
        self.assertEqual(call.state, CallState.CONNECTED)
        self.journal.refusing = None
        self.clock.advance(5)
        self.journal.settle()
        self.assertTrue(call.ended)

    def restart(self, *, after: float, settings: ControlSettings | None = None) -> None:
        """Start another umd `after` seconds later by wall time; its monotonic clock starts at 0."""
        journal = HandJournal()
        calls = self.journal.calls()
        gone = self.clock.seconds() + after
        self.clock = Clock()
        self.settings = settings or self.settings
        control, fake = self.make_control(journal, wall=lambda: WALL + gone + self.clock.seconds())
        state = CallState.CONNECTED
        fake.found = [FoundLeg(leg=call.leg, state=state, number="answers") for call in calls]
        for call in calls:
            control.recover(call, None)
        self.successResultOf(ensureDeferred(control.start()))
        journal.settle()
        self.control, self.fake, self.journal = control, fake, journal

    def test_a_limit_counts_on_by_wall_time_after_a_restart(self) -> None:
        """A call keeps the limits that it began with, whatever the settings are now."""
        first = self.placed()
        self.clock.advance(10)
        second = self.placed()
        self.restart(after=50.0, settings=ControlSettings())
        calls = [self.control.find(call.id) for call in (first, second)]
        for seconds, ended in ((39, [False, False]), (2, [True, False]), (10, [True, True])):
            self.clock.advance(seconds)
            self.journal.settle()
            self.assertEqual([call.ended for call in calls], ended)
        self.assert_counts_agree()

    def test_a_call_whose_limit_passed_while_umd_was_down_is_ended_at_once(self) -> None:
        before = self.placed()
        self.restart(after=3600.0)
        self.clock.advance(0)
        self.journal.settle()
        call = self.control.find(before.id)
        self.assertTrue(call.ended)
        self.assertEqual(self.ended_by(call), ("call.max_age", 102))
        self.assertEqual(self.journal.event_names(call)[-1], "Disconnected")

    def test_a_call_without_limits_has_none_after_a_restart(self) -> None:
        self.settings = ControlSettings()
        self.control, self.fake = self.make_control(self.journal)
        self.successResultOf(ensureDeferred(self.control.start()))
        before = self.placed()
        self.restart(after=3600.0, settings=ControlSettings(max_age=1.0))
        self.clock.advance(10.0)
        self.journal.settle()
        self.assertFalse(self.control.find(before.id).ended)
