"""One call: the whole product of states and events, and the stories that matter."""

from itertools import product

from twisted.trial.unittest import SynchronousTestCase

from umd.call.call import TRANSITIONS, Call, CallInput, CallState, HangUp, IllegalEvent
from umd.call.call_id import CallId
from umd.call.cause import Cause, EndedBy, rejection
from umd.call.events import Alerting, Connected, Disconnected, DisconnectRequested
from umd.call.leg import Answered, Ended, LegId, Progressed

LEG = LegId("leg")
CLIENT = Cause(by=EndedBy.CLIENT)
FAR_END = Cause(by=EndedBy.FAR_END)
INPUTS: tuple[CallInput, ...] = (
    Progressed(LEG),
    Answered(LEG),
    HangUp(CLIENT, "alice", "r-1"),
    Ended(LEG, FAR_END),
)


def call_in(state: CallState) -> Call:
    call = Call(
        id=CallId("id"), leg=LEG, backend="sim", number="1", owner="alice", at=100.0, state=state
    )
    if state in (CallState.DISCONNECTING, CallState.DISCONNECTED):
        call.cause = CLIENT
    return call


# (state, input) -> (next state, lifecycle event), told here a second time and row by row.
S = CallState
EXPECTED = {
    (S.CONNECTING, Progressed): (S.ALERTING, Alerting),
    (S.CONNECTING, Answered): (S.CONNECTED, Connected),
    (S.CONNECTING, HangUp): (S.DISCONNECTING, DisconnectRequested),
    (S.CONNECTING, Ended): (S.DISCONNECTED, Disconnected),
    (S.ALERTING, Progressed): (S.ALERTING, None),
    (S.ALERTING, Answered): (S.CONNECTED, Connected),
    (S.ALERTING, HangUp): (S.DISCONNECTING, DisconnectRequested),
    (S.ALERTING, Ended): (S.DISCONNECTED, Disconnected),
    (S.CONNECTED, HangUp): (S.DISCONNECTING, DisconnectRequested),
    (S.CONNECTED, Ended): (S.DISCONNECTED, Disconnected),
    (S.DISCONNECTING, Progressed): (S.DISCONNECTING, None),
    (S.DISCONNECTING, Answered): (S.DISCONNECTING, Connected),
    (S.DISCONNECTING, HangUp): (S.DISCONNECTING, None),
    (S.DISCONNECTING, Ended): (S.DISCONNECTED, Disconnected),
    (S.DISCONNECTED, HangUp): (S.DISCONNECTED, None),
}


class TransitionTests(SynchronousTestCase):
    def test_every_state_and_every_event(self) -> None:
        for state, event in product(CallState, INPUTS):
            call = call_in(state)
            expected = EXPECTED.get((state, type(event)))
            if expected is None:
                with self.assertRaises(IllegalEvent, msg=f"{event} in {state}"):
                    call.apply(event, 101.0)
                self.assertEqual((call.state, call.seq), (state, 0))
                continue
            after, happened = expected
            told = call.apply(event, 101.0)
            self.assertEqual(call.state, after, f"{event} in {state}")
            self.assertEqual(type(told), happened or type(None), f"{event} in {state}")

    def test_every_state_has_its_rows(self) -> None:
        self.assertEqual(set(TRANSITIONS), set(CallState))

    def test_one_end_event_in_every_order_of_everything(self) -> None:
        """Five events in all 1,024 orders from the start: never more than one end event."""
        for sequence in product(INPUTS, repeat=5):
            call = call_in(CallState.CONNECTING)
            told = []
            for event in sequence:
                try:
                    told.append(call.apply(event, 101.0))
                except IllegalEvent:
                    continue
            ends = [one for one in told if isinstance(one, Disconnected)]
            self.assertEqual(len(ends), 1 if any(isinstance(e, Ended) for e in sequence) else 0)
            numbers = [one.seq for one in told if one is not None]
            self.assertEqual(numbers, list(range(1, len(numbers) + 1)))


class CauseTests(SynchronousTestCase):
    """The first cause wins, and nothing of the others is lost."""

    def end(self, call: Call, ended: Ended) -> Disconnected:
        event = call.apply(ended, 102.0)
        assert isinstance(event, Disconnected)
        return event

    def test_the_client_asked_and_the_far_end_confirmed(self) -> None:
        call = call_in(CallState.CONNECTED)
        call.apply(HangUp(CLIENT, "alice", "r-1"), 101.0)
        event = self.end(call, Ended(LEG, Cause(by=EndedBy.CLIENT, sip_status=200)))
        self.assertEqual((event.cause.by, event.cause.sip_status), (EndedBy.CLIENT, 200))
        self.assertIsNone(event.superseded)
        self.assertTrue(event.confirmed)

    def test_the_far_end_hung_up_while_the_client_asked(self) -> None:
        call = call_in(CallState.CONNECTED)
        call.apply(HangUp(CLIENT, "alice", "r-1"), 101.0)
        event = self.end(call, Ended(LEG, rejection(486)))
        self.assertEqual(event.cause, CLIENT)
        self.assertEqual(event.superseded, rejection(486))

    def test_the_far_end_was_first(self) -> None:
        event = self.end(call_in(CallState.ALERTING), Ended(LEG, rejection(603)))
        self.assertEqual(event.cause, rejection(603))
        self.assertIsNone(event.superseded)

    def test_nobody_confirmed(self) -> None:
        call = call_in(CallState.CONNECTED)
        call.apply(HangUp(CLIENT, "alice", "r-1"), 101.0)
        gave_up = Cause(by=EndedBy.CLIENT, sip_status=408, q850=102)
        event = self.end(call, Ended(LEG, gave_up, confirmed=False))
        self.assertEqual((event.cause.q850, event.confirmed), (102, False))

    def test_who_asked_first_stays_on_record(self) -> None:
        call = call_in(CallState.CONNECTED)
        asked = call.apply(HangUp(CLIENT, "alice", "r-1"), 101.0)
        joined = call.apply(HangUp(Cause(by=EndedBy.OPERATOR), "bob", "r-2"), 101.5)
        assert isinstance(asked, DisconnectRequested)
        self.assertEqual((asked.principal, asked.request_id), ("alice", "r-1"))
        self.assertIsNone(joined)
        self.assertEqual(call.cause, CLIENT)
