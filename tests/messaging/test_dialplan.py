"""The dial plan: what is dialled, rewritten and refused."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.sip.test_number import DIALLED, REFUSED
from umd.messaging.dialplan import Destination, DialPlan, NotDialable, Rule
from umd.sip.number import Name


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

    def test_matching_time_is_linear_in_the_length(self) -> None:
        """Python's re takes four times as long for each two more digits if repeats are nested."""
        plan = DialPlan([Rule(r"([0-9]+)*x"), Rule(r"(1|1)*y"), Rule(r"1+")])
        self.assertEqual(plan.find("1" * 128).number, "1" * 128)


class NumberFormTests(SynchronousTestCase):
    def test_every_form(self) -> None:
        """A plan that accepts everything calls and refuses the same texts as a backend."""
        everything = DialPlan([Rule("(?s).*")])
        for text, dialled, _ in DIALLED:
            if not isinstance(dialled, Name):
                self.assertEqual(everything.find(text), Destination(str(dialled), None), text)
        for text, why in REFUSED:
            with self.assertRaisesRegex(NotDialable, why, msg=ascii(text[:50])):
                everything.find(text)

    def test_names(self) -> None:
        """A rule may call a name, a client may not."""
        plan = DialPlan([Rule("0", "front desk"), Rule("bob")])
        self.assertEqual(plan.find("0").number, "front desk")
        with self.assertRaisesRegex(NotDialable, "not a telephone number"):
            plan.find("bob")

    def test_extensions(self) -> None:
        """A rewritten number keeps the extension of the dialled one."""
        plan = DialPlan([Rule(r"9(\d+)", r"+1\1"), Rule(r"8(\d+)", r"sip:\1@gw")])
        self.assertEqual(plan.find("tel:9-555;ext=12").number, "tel:+1555;ext=12")
        self.assertEqual(plan.find("tel:9-555;phone-context=h").number, "+1555")
        self.assertEqual(plan.find("tel:8-555;ext=12").number, "sip:555@gw")

    def test_refused_by_context(self) -> None:
        """A rule that refuses a number also refuses it when a phone-context holds its prefix."""
        plan = DialPlan([Rule(r"\+1900\d*", refuse=True), Rule(r"\d{4}")])
        self.assertEqual(plan.find("tel:7042;phone-context=+44").number[:8], "tel:7042")
        with self.assertRaisesRegex(NotDialable, "refuses"):
            plan.find("tel:7042;phone-context=+1-900")

    def test_rule_to_an_undialable_number(self) -> None:
        """A number that a rule makes is checked like a dialled one."""
        plan = DialPlan(
            [Rule("1", "sips:bob@h"), Rule("2", "sip:sip:2@h"), Rule(r"(sips):(.*)", r"sip:\2")]
        )
        for number, why in (("1", "dial plan maps.*TLS"), ("2", "dial plan maps.*twice")):
            with self.assertRaisesRegex(NotDialable, why):
                plan.find(number)
        # The author of this rule accepts that the call is unprotected.
        self.assertEqual(plan.find("sips:bob@h").number, "sip:bob@h")

    def test_refusal_without_rules(self) -> None:
        """Without rules a URI is refused; the reason is TLS before the missing rule."""
        with self.assertRaisesRegex(NotDialable, "asks for TLS"):
            DialPlan().find("sips:bob@h")
        with self.assertRaisesRegex(NotDialable, r"\[\[dial.rule\]\]"):
            DialPlan().find("bob@h")
