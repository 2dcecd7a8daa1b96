"""Which calls a selection selects, and how wrong values are refused."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from umd.call.call import Call, CallState
from umd.call.call_id import CallId
from umd.call.leg import LegId
from umd.control.selection import InvalidSelection, Selection, is_protected

NOW = 1_000.0


def a_call(**more: Any) -> Call:
    values: dict[str, Any] = {
        "id": CallId("id-1"), "leg": LegId("chan-1"), "backend": "pbx", "number": "+15550100",
        "owner": "alice", "at": NOW - 60, "state": CallState.CONNECTED, "labels": ("ci", "run-7"),
        "aliases": {"sip-call-id": "1@pbx"}, **more,
    }  # fmt: skip
    return Call(**values)


class SelectionTests(SynchronousTestCase):
    def matches(self, call: Call | None = None, **selectors: Any) -> bool:
        suspicion = selectors.pop("suspicion", None)
        return Selection(**selectors).matches(call or a_call(), NOW, suspicion)

    def test_each_selector(self) -> None:
        fits: dict[str, Any] = {
            "backend": "pbx", "state": "connected", "owner": "alice", "label": "ci",
            "number": "+1555*", "older_than": 59.0, "suspect": False, "id": "1@pbx",
        }  # fmt: skip
        differs: dict[str, Any] = {
            "backend": "pb", "state": "alerting", "owner": "", "label": "c", "number": "555*",
            "older_than": 61.0, "suspect": True, "id": "1@",
        }  # fmt: skip
        self.assertEqual(set(fits), {selector.name for selector in fields(Selection)})
        for name in fits:
            self.assertTrue(self.matches(**{name: fits[name]}), name)
            self.assertFalse(self.matches(**{name: differs[name]}), name)
            self.assertFalse(self.matches(**{**fits, name: differs[name]}), name)
        self.assertTrue(self.matches(**fits))

    def test_each_id_selects(self) -> None:
        for text in ("id-1", "chan-1", "1@pbx"):
            self.assertTrue(self.matches(id=text))
        self.assertFalse(self.matches(id="ci"))  # a label groups calls and names none

    def test_without_selectors_every_live_call(self) -> None:
        self.assertTrue(self.matches())
        self.assertFalse(self.matches(a_call(state=CallState.DISCONNECTED)))

    def test_suspects(self) -> None:
        def suspicion(call: Call) -> str | None:
            return "too old" if NOW - call.began_at > 30 else None

        young = a_call(at=NOW)
        for suspect, selected in ((True, (True, False)), (False, (False, True))):
            found = [self.matches(call, suspect=suspect, suspicion=suspicion)
                     for call in (a_call(), young)]  # fmt: skip
            self.assertEqual(tuple(found), selected)

    def test_a_pattern_is_no_regular_expression(self) -> None:
        self.assertTrue(self.matches(number="+1555010?"))
        self.assertFalse(self.matches(number="+15550100.*"))

    def test_a_wrong_value_is_refused_with_its_name_and_the_way_out(self) -> None:
        for selectors, words in (
            ({"state": "ringing"}, "state: 'ringing' is not the state .* connecting, alerting"),
            ({"state": "disconnected"}, "state: "),
            ({"older_than": -1.0}, "older_than: -1 is not a number of seconds, 0 or more"),
            ({"older_than": float("nan")}, "older_than: nan"),
            ({"older_than": float("inf")}, "older_than: inf"),
            ({"label": ""}, "label: the text is empty; leave it out"),
            ({"number": "1" * 1025}, "number: longer than 1024 characters"),
        ):
            with self.assertRaisesRegex(InvalidSelection, words):
                Selection(**selectors)

    def test_a_selection_of_every_call_is_refused_where_it_would_end_them(self) -> None:
        with self.assertRaisesRegex(InvalidSelection, "does not end all calls at once; give one"):
            Selection().require_some()
        for selectors in ({"owner": ""}, {"suspect": False}, {"older_than": 0.0}):
            Selection(**selectors).require_some()


class ProtectionTests(SynchronousTestCase):
    def test_a_label_or_a_pattern_of_labels(self) -> None:
        for patterns, protected in (
            ((), False), (("run-7",), True), (("run",), False), (("x", "run-*"), True),
            (("RUN-7",), False),
        ):  # fmt: skip
            self.assertEqual(is_protected(a_call(), patterns), protected, patterns)
        self.assertFalse(is_protected(a_call(labels=()), ("*",)))
