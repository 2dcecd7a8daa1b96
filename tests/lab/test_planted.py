"""The lab finds each planted fault, reduces it to few choices, and repeats it from a seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, succeed

from tests.lab.planting import PlantingCase
from umd.backend import Ended as LegEnded
from umd.backends.sim.far_ends import FarEnds
from umd.backends.sip_legs import SipLegs
from umd.backends.sip_legs import legs as legs_module
from umd.call.call import Call
from umd.call.cause import Cause, EndedBy
from umd.call.events import Disconnected
from umd.call.leg import Ended
from umd.control.outcome import Outcome
from umd.control.teardown import Teardown, TeardownState
from umd.control.teardowns import Teardowns
from umd.journal.ledger import Ledger
from umd.journal.store import Row, Stored
from umd.lab import scenario as files
from umd.lab.choices import FAR, UMD, Fate, Verb
from umd.lab.explore import Finding, Tally, explore, shrink, units_of
from umd.lab.plans import A, B, Bound, Plan
from umd.lab.rules import Rule
from umd.lab.run import run
from umd.lab.scenario import one_call
from umd.lab.seeds import read_seed, seed_of
from umd.lab.virtual_journal import VirtualDisk
from umd.sip import session as sip
from umd.sip.session import CallerSession, Input, Session, State
from umd.sip.session import session as session_module
from umd.sip.session.established import EstablishedSession
from umd.sip.transaction import Event, TransactionLayer

ASKS = ((A, Verb.DISCONNECT),)
BOTH = ((A, Verb.DISCONNECT), (B, Verb.DISCONNECT))
CRASHES = ((UMD, Verb.CRASH),)
RACE = ((A, Verb.DISCONNECT), (FAR, Verb.ANSWER), (FAR, Verb.HANG_UP))


class PlantedTests(PlantingCase):
    _seed: str | None = None
    """The seed file of the fault that was found."""

    def plant(self, owner: Any, name: str, fault: Callable[..., Any]) -> None:
        """Replace `owner.name` by a faulty function, which gets the original as first argument."""
        original = getattr(owner, name)
        self.patch(owner, name, lambda *args, **kwargs: fault(original, *args, **kwargs))

    def find(
        self,
        rule: Rule,
        number: str = "5550180",
        *,
        acts: int = 1,
        faults: int = 0,
        fates: Sequence[Fate] = (Fate.LOSE,),
        allowed_acts: tuple[tuple[str, Verb], ...] = ASKS,
        commit: float | None = None,
    ) -> Finding:
        """Let the lab find the fault, and check that the seed file repeats it."""
        bound = Bound(acts, faults, tuple(fates), allowed_acts)
        scenario = one_call(number, commit=commit)
        tally = Tally()
        for each in explore(list(units_of([Plan("planted", (scenario,), (bound,))]))):
            tally.add(each)
        found = [each for each in tally.findings if each.violation.rule is rule]
        self.assertTrue(found, [str(each.violation) for each in tally.findings[:3]])
        small = shrink(found[0])
        seed = self.mktemp()
        with open(seed, "w") as file:
            file.write(files.write(seed_of(small)))
        again = run(read_seed(seed))
        self.assertIn(small.violation, again.violations)
        self._seed = seed
        return small

    def tearDown(self) -> None:
        # The fault is removed by now, so the run of the seed violates nothing.
        if self._seed is not None:
            self.assertEqual(run(read_seed(self._seed)).violations, [])

    # -- the session

    def test_a_session_that_ends_twice(self) -> None:
        def twice(original: Any, legs: SipLegs, leg: Any, event: sip.Event) -> None:
            original(legs, leg, event)
            if isinstance(event, sip.Ended):
                legs.report(LegEnded(leg, Cause(by=EndedBy.FAR_END)))

        self.plant(SipLegs, "_report_leg_event", twice)
        self.find(Rule.ONE_END)

    def test_a_cancel_that_does_not_wait_for_a_provisional(self) -> None:
        def hasty(original: Any, session: CallerSession, now: float, **options: Any) -> None:
            original(session, now, **options)
            if session.state is State.GIVING_UP:
                session.state = State.CANCELLING
                assert session.request is not None
                session._send_cancel(session.request, now)

        self.plant(CallerSession, "hang_up", hasty)
        found = self.find(Rule.PROTOCOL)
        self.assertEqual(list(map(str, found.choices)), ["A disconnects after told Placed"])

    def test_a_bye_before_the_ack_of_a_200_that_crosses_the_cancel(self) -> None:
        def silent(original: Any, session: Session, dialog: Any, response: Any) -> None:
            if session.state is not State.CLEARING:
                original(session, dialog, response)

        self.plant(CallerSession, "_send_ack", silent)
        found = self.find(Rule.PROTOCOL, acts=2, allowed_acts=RACE)
        self.assertEqual(len(found.choices), 2)

    def test_a_bye_of_the_far_end_that_is_swallowed(self) -> None:
        def deaf(original: Any, session: Session, transaction: Any, request: Any, now: Any) -> None:
            if session.state is State.CONFIRMED:
                session._reply(transaction, request, 200, now)
            else:
                original(session, transaction, request, now)

        self.plant(EstablishedSession, "_on_bye", deaf)
        self.find(Rule.HEARD, "5550121")

    def test_a_bye_into_a_dialog_that_is_over(self) -> None:
        def stubborn(
            original: Any, session: EstablishedSession, transaction: Any, request: Any, now: Any
        ) -> None:
            before = session.state
            original(session, transaction, request, now)
            if before is State.CONFIRMED:
                session._send_bye(now)

        self.plant(EstablishedSession, "_on_bye", stubborn)
        self.find(Rule.DEAD_DIALOG, acts=2, allowed_acts=RACE)

    def test_silence_taken_for_a_confirmation(self) -> None:
        def hopeful(original: Any, session: Session, *args: Any, confirmed: bool) -> None:
            original(session, *args, confirmed=True)

        self.plant(EstablishedSession, "_end", hopeful)
        self.find(Rule.TRUTHFUL, faults=1, fates=(Fate.CUT,))

    # -- transactions and timers

    def test_a_transaction_that_never_terminates(self) -> None:
        def lingers(
            original: Any, layer: TransactionLayer, transaction: Any, event: Event, *rest: Any
        ) -> None:
            if event is not Event.TIMER_K:
                original(layer, transaction, event, *rest)
            else:
                layer._stop_timer(transaction)

        self.plant(TransactionLayer, "_start_linger", lingers)
        self.find(Rule.NOTHING_LEFT)

    def test_an_early_dialog_that_is_never_forgotten(self) -> None:
        self.plant(CallerSession, "_forget_early_dialogs", lambda original, session: None)
        self.find(Rule.NOTHING_LEFT, "5550130")

    def test_a_2xx_whose_repetition_gets_no_ack(self) -> None:
        self.plant(CallerSession, "_repeat_ack", lambda original, session, response: True)
        found = self.find(Rule.PROTOCOL, "5550101")
        self.assertEqual(found.choices, ())

    # -- control

    def test_an_answer_before_the_end_is_confirmed(self) -> None:
        def hasty(original: Any, teardowns: Teardowns, teardown: Teardown) -> None:
            original(teardowns, teardown)
            teardown.state = TeardownState.EXPIRED  # the next request is answered at once

        self.plant(Teardowns, "_send", hasty)
        self.find(Rule.ANSWERED_ONCE, acts=2, allowed_acts=BOTH)

    def test_ended_said_of_what_is_only_ending(self) -> None:
        def hasty(original: Any, teardown: Teardown) -> Deferred[Outcome]:
            return succeed(Outcome.ENDED)

        self.plant(Teardown, "settled", hasty)
        self.find(Rule.ANSWERED_ONCE)

    def test_a_second_client_that_is_forgotten(self) -> None:
        def forgetful(original: Any, teardown: Teardown) -> Any:
            return Deferred() if teardown.waiting else original(teardown)

        self.plant(Teardown, "settled", forgetful)
        found = self.find(Rule.ANSWERED_ONCE, acts=2, allowed_acts=BOTH)
        self.assertIn("never answered", found.violation.text)

    def test_the_wrong_cause_when_both_hang_up_at_once(self) -> None:
        def latest(original: Any, call: Call, event: Ended, at: float) -> Any:
            if event.cause.by is EndedBy.FAR_END:
                call.cause = None
            return original(call, event, at)

        def remote(original: Any, ended: sip.Ended, asked: Cause | None) -> Cause:
            cause: Cause = original(ended, asked)
            crossed = ended.confirmed and ended.status == 200 and asked is not None
            return Cause(by=EndedBy.FAR_END) if crossed else cause

        self.plant(Call, "_end", latest)
        self.plant(legs_module, "cause_of", remote)
        self.find(Rule.CAUSE, "5550190")

    def test_a_backend_that_reports_what_cannot_be(self) -> None:
        def again(original: Any, legs: SipLegs, leg: Any, event: sip.Event) -> None:
            original(legs, leg, event)
            if isinstance(event, sip.Answered):
                original(legs, leg, event)

        self.plant(SipLegs, "_report_leg_event", again)
        self.find(Rule.LEGAL, "5550101")

    # -- the journal, and a crash

    def test_a_record_that_is_acknowledged_before_it_is_durable(self) -> None:
        """The BYE leaves and the client is answered while the record is still on its way."""

        def hasty(
            original: Any, ledger: Ledger, call: Call, event: Any, extra: Any, then: Any, arg: Any
        ) -> None:
            original(ledger, call, event, extra, None, None)
            if then is not None:
                then(arg)

        self.plant(Ledger, "append", hasty)
        found = self.find(Rule.DURABLE, "5550101", commit=0.005)
        self.assertIn("INVITE left before the record was durable", found.violation.text)

    def test_an_end_that_is_acknowledged_before_it_is_durable(self) -> None:
        """Only the answer to the client is too early."""

        def hasty(
            original: Any, ledger: Ledger, call: Call, event: Any, extra: Any, then: Any, arg: Any
        ) -> None:
            if isinstance(event, Disconnected) and then is not None:
                original(ledger, call, event, extra, None, None)
                then(arg)
            else:
                original(ledger, call, event, extra, then, arg)

        self.plant(Ledger, "append", hasty)
        found = self.find(Rule.DURABLE, "5550101", commit=0.005)
        self.assertIn("told ended before the record was durable", found.violation.text)

    def test_an_ack_before_the_answer_is_on_record(self) -> None:
        """A umd that crashes then leaves a call that the next umd cannot end."""

        def hasty(original: Any, legs: SipLegs, event: Any) -> None:
            legs.report(event)

        self.plant(SipLegs, "_report_and_hold", hasty)
        found = self.find(Rule.DURABLE, "5550101", commit=0.005)
        self.assertEqual(found.choices, ())
        self.assertIn("ACK left before the record was durable", found.violation.text)

    def test_a_journal_that_forgets_a_record_in_a_crash(self) -> None:
        """The journal reports a record as durable, and the disk loses it."""

        def forgetful(original: Any, disk: VirtualDisk, rows: Sequence[Row]) -> list[Stored]:
            written: list[Stored] = original(disk, rows)
            del disk.records[len(disk.records) - len(written) :]
            return written

        self.plant(VirtualDisk, "write", forgetful)
        found = self.find(Rule.RECOVERED, "5550101", allowed_acts=CRASHES, commit=0.005)
        self.assertIn("the new umd does not know the call", found.violation.text)

    def test_a_teardown_that_the_next_umd_forgets(self) -> None:
        """The request to end the call is on record, and the next umd does not carry it out."""
        self.plant(Teardowns, "resume", lambda original, teardowns, call: None)
        found = self.find(
            Rule.RECOVERED, "5550101", acts=2, allowed_acts=(*ASKS, *CRASHES), commit=0.005
        )
        self.assertIn("never carried out", found.violation.text)

    def test_a_call_that_is_dialled_as_another_one_after_a_crash(self) -> None:
        """The INVITE of the next umd must be the same one, or the far end rings twice."""

        def another(original: Any, legs: SipLegs, *args: Any, **options: Any) -> None:
            original(legs, *args, **{**options, "repeatable": False})

        self.plant(SipLegs, "place", another)
        self.find(Rule.TRUTHFUL, "5550180", allowed_acts=CRASHES, commit=0.005)

    # -- anything

    def test_a_row_that_is_missing_from_a_table(self) -> None:
        """The 200 that crosses the CANCEL is the only way into this row."""
        table = dict(sip.TRANSITIONS)
        table[State.CANCELLING] = {
            what: state
            for what, state in table[State.CANCELLING].items()
            if what is not Input.SUCCESS
        }
        self.patch(session_module, "TRANSITIONS", table)
        found = self.find(Rule.RAISED, acts=2, allowed_acts=RACE)
        self.assertIn("2xx in state cancelling", found.violation.text)

    def test_a_far_end_that_makes_its_own_mistake(self) -> None:
        """The far end runs the same SIP core, and is checked as well."""

        def mute(original: Any, far_ends: FarEnds, *args: Any) -> None:
            raise ValueError("planted")

        self.plant(FarEnds, "_talk", mute)
        found = self.find(Rule.RAISED, "5550101")
        self.assertIn("planted", found.violation.text)
