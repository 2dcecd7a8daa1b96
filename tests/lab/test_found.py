"""Mistakes that the lab has found in umd: each with the choices that came to it."""

from collections.abc import Iterable

from twisted.trial.unittest import SynchronousTestCase

from umd.call.events import Disconnected
from umd.lab.choices import parse_choice
from umd.lab.run import Result, run
from umd.lab.scenario import one_call


class FoundTests(SynchronousTestCase):
    def replay(self, number: str, choices: Iterable[str]) -> Result:
        result = run(one_call(number), [parse_choice(choice) for choice in choices])
        self.assertEqual((result.violations, result.not_done), ([], []))
        return result

    def end(self, result: Result) -> Disconnected:
        (end,) = (line.detail for line in result.story if line.marker == "told Disconnected")
        assert isinstance(end, Disconnected)
        return end

    def test_a_487_that_nobody_sent(self) -> None:
        """
        Every 200 is lost, the far end gives up waiting for the ACK and sends BYE.

        The cause said SIP 487, as if the far end had declined: it was a BYE.
        """
        end = self.end(self.replay("5550100", ["break < 200 INVITE 1"]))
        self.assertEqual((end.cause.by, end.cause.q850), ("far-end", 16))
        self.assertIsNone(end.cause.sip_status)

    def test_a_487_that_nobody_sent_to_a_client_that_asked(self) -> None:
        """The same while our CANCEL is under way and gets lost."""
        choices = [
            "break < 200 INVITE 1",
            "cut > CANCEL 1",
            "A disconnects after sent < 200 INVITE 10",
        ]
        end = self.end(self.replay("5550100", choices))
        self.assertEqual((end.cause.by, end.confirmed), ("client", True))
        self.assertNotEqual(end.cause.sip_status, 487)

    def test_a_500_to_bye_that_was_called_silence(self) -> None:
        """The far end answers BYE with 500; the cause said 408, recovery on timer expiry."""
        end = self.end(self.replay("5550195", ["A disconnects after told Connected"]))
        self.assertFalse(end.confirmed)
        self.assertEqual((end.cause.sip_status, end.cause.q850), (500, 41))

    def test_a_481_to_bye_that_was_called_200(self) -> None:
        """It is down there, and it is on record how the far end put it."""
        end = self.end(self.replay("5550191", ["A disconnects after told Connected"]))
        self.assertTrue(end.confirmed)
        self.assertEqual((end.cause.sip_status, end.cause.q850), (481, 16))
