"""Why a call ended, in the terms of SIP, Q.850 and the UM web service."""

from twisted.trial.unittest import SynchronousTestCase

from umd.call.cause import Cause, EndedBy, EventCause, rejection


class CauseTests(SynchronousTestCase):
    def test_a_busy_far_end_is_busy_in_all_terms(self) -> None:
        cause = rejection(486)
        self.assertEqual((cause.by, cause.sip_status, cause.q850), (EndedBy.FAR_END, 486, 17))
        self.assertEqual(cause.event_cause, EventCause.USER_BUSY)

    def test_no_answer_declined_and_unknown_number(self) -> None:
        causes = {status: rejection(status).event_cause.value for status in (480, 603, 404, 503)}
        self.assertEqual(causes, {480: "NoAnswer", 603: "Other", 404: "Unavailable", 503: "Other"})

    def test_a_status_outside_the_table_is_interworking(self) -> None:
        self.assertEqual(rejection(499).q850, 127)

    def test_normal_clearing_is_no_failure(self) -> None:
        self.assertEqual(Cause(by=EndedBy.CLIENT).event_cause, EventCause.NONE)
