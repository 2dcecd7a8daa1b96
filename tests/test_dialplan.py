"""The dial plan: what is dialled, rewritten and refused."""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

from umd.dialplan import Destination, DialPlan, NotDialable, Rule, normalise


class NumberTests(SynchronousTestCase):
    def test_numbers_as_people_write_them(self) -> None:
        for text, number in (
            ("55555", "55555"),
            ("+1 (555) 010-0100", "+15550100100"),
            ("555.0100", "5550100"),
            ("tel:+1-555-0100;phone-context=x", "+15550100"),
            (" *97# ", "*97#"),
            ("sip:alice@example.com", "sip:alice@example.com"),
        ):
            self.assertEqual(normalise(text), number)

    def test_what_is_no_number(self) -> None:
        for text in (
            "", " ", "-", "alice", "555 CALL", "5+5", "++5", "sip:", "sip:a b", "sip:a\r\nX: y",
            "5\u0665", "5\n5", "5" * 129, "tel:", "http://x/",
        ):  # fmt: skip
            with self.assertRaises(NotDialable, msg=text):
                normalise(text)


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
                Rule(re.compile(r"\+?1900\d*"), "", refuse=True),
                Rule(re.compile(r"9(\d+)"), r"+1\1", "carrier"),
                Rule(re.compile(r"(\d{4})"), r"sip:\1@pbx.example.com"),
                Rule(re.compile(r"\+1\d{10}"), ""),
            ]
        )
        for dialled, number, backend in (
            ("9 555 0100", "+15550100", "carrier"),
            ("1234", "sip:1234@pbx.example.com", None),
            ("+1 425 555 0100", "+14255550100", None),
        ):
            self.assertEqual(plan.find(dialled), Destination(number, backend))
        for refused in ("1900 123", "+1900", "12345", "+44 1"):
            with self.assertRaises(NotDialable, msg=refused):
                plan.find(refused)
