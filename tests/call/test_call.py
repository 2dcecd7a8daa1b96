"""The state machine of a call: every event in every state, and which cause wins."""

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


# (state, input) -> (next state, lifecycle event): the table a second time, to compare.
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
    def test_every_event_in_every_state(self) -> None:
        for state, event in product(CallState, INPUTS):
            call = call_in(state)
            expected = EXPECTED.get((state, type(event)))
            if expected is None:
                with self.assertRaises(IllegalEvent, msg=f"{event} in {state}"):
                    call.apply(event, 101.0)
                self.assertEqual((call.state, call.seq), (state, 0))
                continue
            after, expected_type = expected
            recorded = call.apply(event, 101.0)
            self.assertEqual(call.state, after, f"{event} in {state}")
            self.assertEqual(type(recorded), expected_type or type(None), f"{event} in {state}")

    def test_every_state_has_its_rows(self) -> None:
        self.assertEqual(set(TRANSITIONS), set(CallState))

    def test_every_order_of_events_gives_at_most_one_end_event(self) -> None:
        """All 1,024 sequences of five events from the first state on."""
        for sequence in product(INPUTS, repeat=5):
            call = call_in(CallState.CONNECTING)
            recorded = []
            for event in sequence:
                try:
                    recorded.append(call.apply(event, 101.0))
                except IllegalEvent:
                    continue
            ends = [event for event in recorded if isinstance(event, Disconnected)]
            self.assertEqual(len(ends), 1 if any(isinstance(e, Ended) for e in sequence) else 0)
            numbers = [event.seq for event in recorded if event is not None]
            self.assertEqual(numbers, list(range(1, len(numbers) + 1)))


class CauseTests(SynchronousTestCase):
    """The first cause wins; that of the far end is kept beside it."""

    def end(self, call: Call, ended: Ended) -> Disconnected:
        event = call.apply(ended, 102.0)
        assert isinstance(event, Disconnected)
        return event

    def test_the_far_end_confirms_the_request_of_a_client(self) -> None:
        call = call_in(CallState.CONNECTED)
        call.apply(HangUp(CLIENT, "alice", "r-1"), 101.0)
        event = self.end(call, Ended(LEG, Cause(by=EndedBy.CLIENT, sip_status=200)))
        self.assertEqual((event.cause.by, event.cause.sip_status), (EndedBy.CLIENT, 200))
        self.assertIsNone(event.superseded)
        self.assertTrue(event.confirmed)

    def test_the_far_end_hangs_up_during_the_request_of_a_client(self) -> None:
        call = call_in(CallState.CONNECTED)
        call.apply(HangUp(CLIENT, "alice", "r-1"), 101.0)
        event = self.end(call, Ended(LEG, rejection(486)))
        self.assertEqual(event.cause, CLIENT)
        self.assertEqual(event.superseded, rejection(486))

    def test_the_far_end_hangs_up_first(self) -> None:
        event = self.end(call_in(CallState.ALERTING), Ended(LEG, rejection(603)))
        self.assertEqual(event.cause, rejection(603))
        self.assertIsNone(event.superseded)

    def test_an_end_that_the_far_end_does_not_confirm(self) -> None:
        call = call_in(CallState.CONNECTED)
        call.apply(HangUp(CLIENT, "alice", "r-1"), 101.0)
        gave_up = Cause(by=EndedBy.CLIENT, sip_status=408, q850=102)
        event = self.end(call, Ended(LEG, gave_up, confirmed=False))
        self.assertEqual((event.cause.q850, event.confirmed), (102, False))

    def test_the_first_of_two_requests_is_recorded(self) -> None:
        call = call_in(CallState.CONNECTED)
        first = call.apply(HangUp(CLIENT, "alice", "r-1"), 101.0)
        joined = call.apply(HangUp(Cause(by=EndedBy.OPERATOR), "bob", "r-2"), 101.5)
        assert isinstance(first, DisconnectRequested)
        self.assertEqual((first.principal, first.request_id), ("alice", "r-1"))
        self.assertIsNone(joined)
        self.assertEqual(call.cause, CLIENT)
