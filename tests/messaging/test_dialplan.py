"""The dial plan: what is dialled, rewritten and refused."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from umd.messaging.dialplan import Destination, DialPlan, NotDialable, Rule


class PlanTests(SynchronousTestCase):
    def test_without_rules_every_number_is_called_and_no_uri(self) -> None:
        plan = DialPlan()
        self.assertEqual(plan.find("+1 555"), Destination("+1555", None))
        for uri in ("sip:alice@example.com", "SIPS:alice@example.com"):
            with self.assertRaises(NotDialable):
                plan.find(uri)

    def test_the_first_rule_that_fits_the_whole_number(self) -> None:
        plan = DialPlan(
            [
                Rule(r"\+?1900\d*", refuse=True),
                Rule(r"9(\d+)", r"+1\1", "carrier"),
                Rule(r"(\d{4})", r"sip:\1@pbx.example.com"),
                Rule(r"\+1\d{10}"),
                Rule(r"(?i)(sip:.*)", r"\1;user=phone"),
                Rule(r"7([0-9]+)?", r"\1"),
            ]
        )
        for dialled, number, backend in (
            ("9 555 0100", "+15550100", "carrier"),
            ("1234", "sip:1234@pbx.example.com", None),
            ("+1 425 555 0100", "+14255550100", None),
            ("SIP:alice@x", "SIP:alice@x;user=phone", None),
            ("7 1", "1", None),
        ):
            self.assertEqual(plan.find(dialled), Destination(number, backend))
        for refused in ("1900 123", "+1900", "12345", "+44 1", "7"):
            with self.assertRaises(NotDialable, msg=refused):
                plan.find(refused)

    def test_a_pattern_takes_no_longer_than_the_number_is_long(self) -> None:
        """With nested repeats Python's own took four times as long for each two digits more."""
        plan = DialPlan([Rule(r"([0-9]+)*x"), Rule(r"(1|1)*y"), Rule(r"1+")])
        self.assertEqual(plan.find("1" * 128).number, "1" * 128)
