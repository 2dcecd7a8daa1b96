"""Why a SIP leg ended, in umd's words."""

from twisted.trial.unittest import SynchronousTestCase

from umd.backends.sip_legs import cause_of
from umd.call.cause import Cause, EndedBy
from umd.sip.session import Ended

ASKED = Cause(by=EndedBy.OPERATOR, q850=31)


class CauseTests(SynchronousTestCase):
    def said(self, ended: Ended, asked: Cause | None = None) -> tuple[str, int, int | None]:
        cause = cause_of(ended, asked)
        return cause.by.value, cause.q850, cause.sip_status

    def test_a_rejection(self) -> None:
        self.assertEqual(self.said(Ended(486, (), "remote", True)), ("far-end", 17, 486))

    def test_a_bye_of_the_far_end(self) -> None:
        self.assertEqual(self.said(Ended(200, (), "remote", True)), ("far-end", 16, None))

    def test_the_far_end_gives_its_reason(self) -> None:
        reasons = ("SIP;cause=600", 'Q.850;cause=34;text="no circuit"')
        ended = Ended(503, reasons, "remote", True)
        self.assertEqual(self.said(ended), ("far-end", 34, 503))
        self.assertEqual(cause_of(ended, None).reasons, reasons)

    def test_a_reason_that_is_none(self) -> None:
        for reason in ("", ";;", "Q.850", "Q.850;cause=x", "Q.850;cause=0", "Q.850;cause=128"):
            ended = Ended(200, (reason,), "remote", True)
            self.assertEqual(self.said(ended), ("far-end", 16, None), reason)

    def test_who_asked_and_why_stays(self) -> None:
        for status in (200, 487):
            ended = Ended(status, (), "local", True)
            self.assertEqual(self.said(ended, ASKED), ("operator", 31, status))

    def test_nobody_confirmed(self) -> None:
        for status, told in ((200, 408), (408, 408), (487, 487)):
            ended = Ended(status, (), "local", False)
            self.assertEqual(self.said(ended, ASKED), ("operator", 102, told))

    def test_nobody_asked(self) -> None:
        self.assertEqual(self.said(Ended(408, (), "local", False)), ("daemon", 102, 408))
        self.assertEqual(self.said(Ended(503, (), "local", False)), ("daemon", 41, 503))

    def test_reasons(self) -> None:
        """A Q.850 Reason has precedence over a SIP one; a malformed Reason is ignored."""
        for reasons, q850 in (
            (('SIP;cause=486;text="Busy, later"', "Q.850;cause=17"), 17),
            (("Q.850;cause=34;text=No circuit", "SIP;cause=200"), 34),
            (("SIP;cause=404",), 1),
            (("sip ; cause = 603",), 21),
            (("SIP;cause=200;text=elsewhere",), 16),
            (("Q.850;cause=0", "Q.850;cause=128", "Q.850", "nonsense", ""), 16),
            (("X.int;code=1", "Q.850;;cause=27;"), 27),
        ):
            ended = Ended(200, reasons, "remote", confirmed=True)
            self.assertEqual(cause_of(ended, None).q850, q850, reasons)
