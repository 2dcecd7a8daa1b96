"""The transition table of sessions."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from umd.sip.session import TRANSITIONS, Input, State

EXPECTED = {  # by hand, in another form than the table
    State.CALLING: "1xx>proceeding 2xx>confirmed 3xx>ended 401>calling none>ended up>giving_up",
    State.GIVING_UP: "1xx>cancelling 2xx>clearing 3xx>ended 3xx?>unproven "
    "401>cancelling none>ended up>giving_up",
    State.PROCEEDING: "1xx>proceeding 2xx>confirmed 3xx>ended 401>calling bye>ended up>cancelling",
    State.CANCELLING: "1xx>cancelling 2xx>clearing 3xx>ended 3xx?>unproven "
    "401>cancelling late>ended bye>ended up>cancelling",
    State.UNPROVEN: "2xx>clearing 3xx>ended 3xx?>unproven late>ended bye>ended up>unproven",
    State.OFFERED: "progress>offered answer>answered reject>rejecting up>rejecting cancel>ended "
    "bye>ended",
    State.REJECTING: "acked>ended unacked>ended cancel>rejecting up>rejecting",
    State.ANSWERED: "ack>confirmed unacked>clearing cancel>answered bye>ended up>leaving",
    State.LEAVING: "ack>clearing unacked>clearing cancel>leaving bye>ended up>leaving",
    State.CONFIRMED: "2xx>confirmed ack>confirmed unacked>clearing cancel>confirmed bye>ended "
    "up>clearing 481>ended",
    State.CLEARING: "2xx>clearing 401>clearing ack>clearing cancel>clearing bye>ended done>ended "
    "up>clearing",
    State.ENDED: "1xx>ended 2xx>ended 3xx>ended none>ended late>ended cancel>ended ack>ended "
    "acked>ended unacked>ended done>ended up>ended",
}
WORDS = {
    "progress": Input.PROGRESS,
    "answer": Input.ANSWER,
    "reject": Input.REJECT,
    "up": Input.HANG_UP,
    "1xx": Input.PROVISIONAL,
    "2xx": Input.SUCCESS,
    "3xx": Input.FAILURE,
    "3xx?": Input.UNPROVEN_FAILURE,
    "401": Input.CHALLENGE,
    "none": Input.NO_RESPONSE,
    "late": Input.NO_FINAL,
    "cancel": Input.CANCEL,
    "ack": Input.ACK,
    "acked": Input.ACK_OF_FAILURE,
    "unacked": Input.NO_ACK,
    "bye": Input.BYE,
    "done": Input.BYE_DONE,
    "481": Input.UNKNOWN_THERE,
}


class TableTests(SynchronousTestCase):
    def test_whole_product(self) -> None:
        """Each state accepts exactly the expected inputs and goes to the expected state."""
        self.assertEqual(set(TRANSITIONS), set(State))
        for state in State:
            cells = (cell.split(">") for cell in EXPECTED[state].split())
            expected = {WORDS[word]: State[after.upper()] for word, after in cells}
            self.assertEqual(dict(TRANSITIONS[state]), expected, state)

    def test_hanging_up_is_legal_everywhere(self) -> None:
        """Every state accepts a hang-up."""
        for state in State:
            self.assertIn(Input.HANG_UP, TRANSITIONS[state])

    def test_nothing_leads_out_of_the_end(self) -> None:
        """No input leads out of ENDED."""
        self.assertEqual(set(TRANSITIONS[State.ENDED].values()), {State.ENDED})

    def test_every_state_can_end(self) -> None:
        """ENDED can be reached from every state."""
        can = {State.ENDED}
        while more := {s for s in State if can & set(TRANSITIONS[s].values())} - can:
            can |= more
        self.assertEqual(can, set(State))
