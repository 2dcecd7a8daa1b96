"""The limits of calls, with a journal and over a restart."""

from __future__ import annotations

from dataclasses import replace

from twisted.internet.defer import ensureDeferred
from twisted.internet.task import Clock

from tests.control.journalled import WALL, HandJournal, JournalCase
from tests.helpers import ALICE, BOB
from umd.backend import Changed, FoundLeg
from umd.call.alias import InvalidAlias
from umd.call.call import Call, CallState
from umd.call.cause import EndedBy
from umd.call.events import DisconnectRequested, LeaseRenewed
from umd.call.principal import Principal, Scope
from umd.control.errors import JournalUnavailable, NoSuchCall
from umd.control.settings import ControlSettings


class LimitCase(JournalCase):
    def ended_by(self, call: Call) -> tuple[str | None, int]:
        """Return the limit that ended a call, and the Q.850 cause."""
        (request,) = [
            event
            for event in self.journal.events
            if isinstance(event, DisconnectRequested) and event.call == call.id
        ]
        assert call.cause is not None and call.cause.by is EndedBy.DAEMON
        return request.limit, call.cause.q850

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


class LimitTests(LimitCase):
    settings = ControlSettings(max_age=100.0, ring_time=20.0)

    def test_a_call_that_lasts_too_long(self) -> None:
        call = self.placed()
        self.clock.advance(99.9)
        self.journal.settle()
        self.assertFalse(call.ended)
        self.clock.advance(0.2)
        self.journal.settle()
        self.assertTrue(call.ended)
        self.assertEqual(self.ended_by(call), ("call.max_age", 102))
        self.assertEqual([*self.control._leases._timers.values()], [{}, {}, {}])
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
        self.assertEqual([*self.control._leases._timers.values()], [{}, {}, {}])
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


class LeaseTests(LimitCase):
    """A test run places calls with a lease, and renews it as long as it goes on."""

    def leased(
        self, number: str = "answers", lease: float = 300.0, principal: Principal = ALICE
    ) -> Call:
        call = self.control.place(principal, number, labels=["ci-run-7"], lease=lease)
        self.journal.settle()
        return call

    def renew(self, principal: Principal = ALICE, label: str = "ci-run-7") -> list[Call]:
        renewal = self.control.lease_renewal
        calls = [
            call
            for call in renewal.select(principal, label)
            if renewal.renew(principal, call, "r-9")
        ]
        recorded = ensureDeferred(renewal.recorded())
        self.assertNoResult(recorded)
        self.journal.settle()
        self.successResultOf(recorded)
        return calls

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.journal.settle()

    def test_calls_end_when_their_owner_stops_renewing(self) -> None:
        """A connected, a ringing and a silent call go on as long as their lease is renewed."""
        calls = [self.leased(number) for number in ("answers", "rings", "waits")]
        other = self.placed()
        for _ in range(5):
            self.advance(299.0)
            self.assertEqual(self.renew(), calls)
        self.advance(299.9)
        self.assertEqual([call.ended for call in calls], [False, False, False])
        self.advance(0.2)
        self.assertEqual([call.ended for call in calls], [True, True, True])
        for call in calls:
            self.assertEqual(self.ended_by(call), ("call.lease", 102))
            self.assertEqual(self.journal.event_names(call).count("Disconnected"), 1)
        self.assertFalse(other.ended)
        self.assertEqual([*self.control._leases._timers.values()], [{}, {}, {}])
        self.assert_counts_agree()

    def test_a_renewal_is_on_record(self) -> None:
        call = self.leased()
        self.advance(10.0)
        self.renew()
        (event,) = [e for e in self.journal.events if isinstance(e, LeaseRenewed)]
        self.assertEqual(
            (event.call, event.lease, event.principal, event.request_id, event.at),
            (call.id, 300.0, "alice", "r-9", WALL + 10.0),
        )

    def test_the_calls_of_another_principal_are_not_renewed(self) -> None:
        """The label alone gives no right; to the other principal the calls do not exist."""
        alice, bob = (
            replace(principal, scopes=frozenset((Scope.PLACE, Scope.END_OWN)))
            for principal in (ALICE, BOB)
        )
        call, theirs = self.leased(principal=alice), self.leased(principal=bob)
        self.advance(200.0)
        self.assertEqual(self.renew(bob), [theirs])
        self.advance(150.0)
        self.assertEqual([call.ended, theirs.ended], [True, False])
        self.assertRaises(NoSuchCall, self.control.lease_renewal.select, alice, "ci-run-7")
        self.assertFalse(self.control.lease_renewal.renew(alice, theirs))

    def test_only_calls_with_a_lease_can_be_renewed(self) -> None:
        self.control.place(ALICE, "answers", labels=["no-lease"])
        self.journal.settle()
        for label in ("no-lease", "nothing", "ci-run"):
            self.assertRaises(NoSuchCall, self.control.lease_renewal.select, ALICE, label)

    def test_a_call_that_is_ending_is_not_renewed(self) -> None:
        """The far end of one is silent, and one ends between its selection and its renewal."""
        silent, call = self.leased("silent"), self.leased()
        _ = self.disconnect(silent)
        self.journal.settle()
        renewal = self.control.lease_renewal
        self.assertEqual(renewal.select(ALICE, "ci-run-7"), [call])
        _ = self.disconnect(call)
        self.journal.settle()
        self.assertFalse(renewal.renew(ALICE, call))
        self.assertNotIn("LeaseRenewed", self.journal.event_names(call))

    def test_the_partner_of_a_call_ends_with_it(self) -> None:
        """A leased call is bridged with a call that has no lease."""
        call, partner = self.leased(), self.placed()
        for first, second in ((call, partner), (partner, call)):
            assert self.fake.sink is not None
            self.fake.sink.leg_event(Changed(leg=first.leg, partners=(second.leg,)))
        self.journal.settle()
        self.assertEqual((call.partners, partner.partners), ((partner.id,), (call.id,)))
        self.advance(301.0)
        self.assertEqual([call.ended, partner.ended], [True, True])
        self.assertEqual(self.ended_by(call), ("call.lease", 102))
        self.assertEqual(partner.caused_by, call.id)

    def test_a_lease_that_runs_out_while_the_journal_cannot_write(self) -> None:
        """umd tries again, unless the owner renews the lease before that."""
        call, renewed = self.leased(), self.leased()
        self.journal.refusing = "the disk is full"
        self.clock.advance(301.0)
        renewal = self.control.lease_renewal
        self.assertRaises(JournalUnavailable, renewal.renew, ALICE, renewed)
        self.journal.refusing = None
        self.assertTrue(renewal.renew(ALICE, renewed))
        self.advance(5.0)
        self.assertEqual([call.ended, renewed.ended], [True, False])

    def test_a_renewal_that_the_journal_does_not_record_in_time(self) -> None:
        """The owner learns that a restart may lose it."""
        self.leased()
        recorded = ensureDeferred(self.control.lease_renewal.recorded())
        self.clock.advance(self.settings.deadline)
        self.failureResultOf(recorded, JournalUnavailable)
        self.journal.settle()

    def test_a_lease_counts_on_after_a_restart_from_its_last_renewal(self) -> None:
        """The call that was placed last was renewed first, so that its lease runs out first."""
        early = self.leased()
        self.advance(10.0)
        late = self.control.place(ALICE, "answers", labels=["other"], lease=300.0)
        self.journal.settle()
        self.advance(90.0)
        self.renew(label="other")
        self.advance(100.0)
        self.renew()
        self.restart(after=100.0)
        calls = [self.control.find(call.id) for call in (late, early)]
        for seconds, ended in ((99, [False, False]), (2, [True, False]), (100, [True, True])):
            self.advance(seconds)
            self.assertEqual([call.ended for call in calls], ended)
        self.assertEqual(self.ended_by(calls[0]), ("call.lease", 102))

    def test_a_lease_is_renewed_after_a_restart(self) -> None:
        before = self.leased()
        self.restart(after=200.0)
        call = self.control.find(before.id)
        self.assertEqual(self.renew(), [call])
        self.advance(299.0)
        self.assertFalse(call.ended)
        self.advance(2.0)
        self.assertEqual(self.ended_by(call), ("call.lease", 102))

    def test_a_lease_that_ran_out_while_umd_was_down(self) -> None:
        before = self.leased()
        self.restart(after=3600.0)
        self.advance(0)
        self.assertEqual(self.ended_by(self.control.find(before.id)), ("call.lease", 102))

    def test_a_lease_as_long_as_the_age_of_calls(self) -> None:
        """After a restart, the lease of one call runs out before a later call is too old."""
        leased = self.leased()
        self.advance(50.0)
        self.control.settings = ControlSettings(max_age=300.0)
        aged = self.placed()
        self.restart(after=1.0)
        calls = [self.control.find(call.id) for call in (leased, aged)]
        for seconds, ended in ((250, [True, False]), (50, [True, True])):
            self.advance(seconds)
            self.assertEqual([call.ended for call in calls], ended)

    def test_a_text_that_cannot_be_a_label(self) -> None:
        """No call is placed with it."""
        with self.assertRaises(InvalidAlias):
            self.control.place(ALICE, "answers", labels=["a\nb"])
        self.assertEqual(self.control.counts().begun, 0)
