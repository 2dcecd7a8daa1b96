"""Faults of umd that the lab has found, each with the choices that led to it."""

from collections.abc import Iterable

from twisted.trial.unittest import SynchronousTestCase

from umd.call.events import Disconnected
from umd.control.errors import JournalUnavailable
from umd.lab.choices import parse_choice
from umd.lab.run import Result, run
from umd.lab.scenario import one_call


class FoundTests(SynchronousTestCase):
    def replay(
        self, number: str, choices: Iterable[str], commit: float | None = None
    ) -> Result:
        scenario = one_call(number, commit=commit)
        result = run(scenario, [parse_choice(choice) for choice in choices])
        self.assertEqual((result.violations, result.not_done), ([], []))
        return result

    def end(self, result: Result) -> Disconnected:
        (end,) = (line.detail for line in result.run_log if line.marker == "told Disconnected")
        assert isinstance(end, Disconnected)
        return end

    def test_a_487_that_no_far_end_sent(self) -> None:
        """
        Every 200 is lost, the far end gives up waiting for the ACK and sends BYE.

        The cause said SIP 487, as if the far end had declined: it was a BYE.
        """
        end = self.end(self.replay("5550100", ["break < 200 INVITE 1"]))
        self.assertEqual((end.cause.by, end.cause.q850), ("far-end", 16))
        self.assertIsNone(end.cause.sip_status)

    def test_a_487_that_no_far_end_sent_to_a_client_that_asked(self) -> None:
        """The same fault while the CANCEL of umd is under way and gets lost."""
        choices = [
            "break < 200 INVITE 1",
            "cut > CANCEL 1",
            "A disconnects after sent < 200 INVITE 10",
        ]
        end = self.end(self.replay("5550100", choices))
        self.assertEqual((end.cause.by, end.confirmed), ("client", True))
        self.assertNotEqual(end.cause.sip_status, 487)

    def test_a_500_to_bye_that_was_called_silence(self) -> None:
        """The far end answers BYE with 500; the cause was 408, recovery on timer expiry."""
        end = self.end(self.replay("5550195", ["A disconnects after told Connected"]))
        self.assertFalse(end.confirmed)
        self.assertEqual((end.cause.sip_status, end.cause.q850), (500, 41))

    def test_a_481_to_bye_that_was_called_200(self) -> None:
        """The call is down at the far end, and the cause has the status that it sent."""
        end = self.end(self.replay("5550191", ["A disconnects after told Connected"]))
        self.assertTrue(end.confirmed)
        self.assertEqual((end.cause.sip_status, end.cause.q850), (481, 16))

    # -- with a journal

    def test_a_disconnect_that_waited_for_a_disk_that_hangs(self) -> None:
        """
        The far end has ended the call, and the sync of that record hangs; then a client asks.

        The client waited as long as the disk; now it gets an error at its deadline.
        """
        choices = ["A disconnects after got < 302 INVITE 1", "stall commit 2"]
        result = self.replay("5550102", choices, commit=0.005)
        (answer,) = (line for line in result.run_log if line.marker == "answered A")
        self.assertIsInstance(answer.detail, JournalUnavailable)
        self.assertAlmostEqual(answer.at, 5.025, 2)

    def test_a_487_that_no_far_end_sent_after_a_crash(self) -> None:
        """The INVITE never left; the far end answers 481 to the CANCEL, and that is the cause."""
        choices = ["A disconnects after told Placed", "umd crashes after durable 1"]
        end = self.end(self.replay("5550180", choices, commit=0.005))
        self.assertEqual((end.cause.by, end.confirmed, end.cause.sip_status), ("client", True, 481))
