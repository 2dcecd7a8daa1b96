"""The story on the demo's screen, line by line."""

from __future__ import annotations

import json
import re
from io import BytesIO
from typing import Any

import click
from twisted.trial.unittest import SynchronousTestCase

from umd.call.call_id import make_call_id
from umd.call.cause import EndedBy
from umd.cli.demo import narrator, reporter
from umd.runtime.log import configure


class StoryTests(SynchronousTestCase):
    def tell(self, event: str, **keys: Any) -> str:
        """The line that an event makes, without its time."""
        shown: list[str] = []
        tell = narrator(shown.append, replaces_log=True)
        self.assertTrue(tell({"event": event, "level": "info", **keys}))
        (line,) = shown
        return re.sub(r"^\d\d:\d\d:\d\d  ", "", click.unstyle(line))

    def test_a_far_end_that_does_not_answer_is_told_with_its_call(self) -> None:
        """Finding 29."""
        told = self.tell("call.disconnect-unconfirmed", call="x", leg="09df9edc-1", deadline_s=5.0)
        self.assertEqual(told, "09df9edc  no answer from the far end in 5 s; still trying")

    def test_an_answer_is_told_by_the_leg_of_its_call(self) -> None:
        """Finding 30: the log cuts a long id, which then was no id any more."""
        keys = {
            "status": 200,
            "outcome": "ended",
            "address": "127.0.0.1",
            "operation": "Disconnect",
        }
        rest = "Disconnect of 127.0.0.1 answered HTTP 200, ended"
        for call, name in (
            (make_call_id("09df9edc-1", "demo"), "09df9edc"),
            (make_call_id("x", "demo"), "x       "),
            (make_call_id("09df9edc-" + "1" * 500, "demo")[:200], "09df9edc"),
            (make_call_id("é" * 500, "demo")[:200], "é" * 8),
            ("no base64", " " * 8),
            ("é", " " * 8),
        ):
            self.assertEqual(self.tell("soap.answered", call=call, **keys), f"{name}  {rest}")

    def test_a_name_that_a_client_gave_drives_no_terminal(self) -> None:
        """Where nobody is asked who they are, ExchangeImpersonation names anybody."""
        told = self.tell("call.disconnect-requested", leg="a\x9b2J-1", principal="bob\x9b31m\u202e")
        self.assertEqual(told, "a?2J-1    Disconnect asked by bob?31m?")

    def test_an_answer_to_what_names_no_call(self) -> None:
        keys = {"status": 500, "address": "127.0.0.1"}
        rest = " of 127.0.0.1 answered HTTP 500"
        invalid = {"outcome": "invalid-request", "why": "bad"}
        for told, words in (
            (
                {"outcome": "unknown", "operation": "GetCallInfo", "why": "no call '\x1b'"},
                f"GetCallInfo{rest}, unknown: \"no call '\\x1b'\"",
            ),
            (invalid, f"request{rest}, invalid-request: 'bad'"),
            ({"outcome": "internal-error", "operation": "X"}, f"X{rest}, internal-error"),
        ):
            self.assertEqual(self.tell("soap.answered", **told, **keys), f"{'':8}  {words}")

    def test_a_mistake_in_the_story_stays_there(self) -> None:
        """Finding 30: it became the client's answer. The event is in the log instead."""
        stream = BytesIO()
        shown: list[str] = []
        log = configure("info", "json", stream, narrator(shown.append, replaces_log=True))
        log.info("soap.answered", status="no keys at all")
        log.info("call.alerting", leg="09df9edc")
        self.assertIn(b"no keys at all", stream.getvalue())
        self.assertEqual(stream.getvalue().count(b"\n"), 1)
        self.assertEqual(len(shown), 1)


class JsonTests(SynchronousTestCase):
    def test_the_demo_for_a_program_is_an_object_a_line(self) -> None:
        lines: list[str] = []
        tell = reporter(lines.append, replaces_log=True)
        told = {"event": "call.connected", "level": "info", "leg": "leg-1", "by": EndedBy.CLIENT}
        self.assertTrue(tell(dict(told)))
        self.assertTrue(tell({"event": "http.something", "level": "debug"}))
        self.assertFalse(tell({"event": "http.something", "level": "warning"}))
        (line,) = map(json.loads, lines)
        self.assertEqual(line["event"]["event"], "call.connected")
