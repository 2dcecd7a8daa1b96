"""The story that the demo prints, line by line."""

from __future__ import annotations

import json
import re
from io import BytesIO
from typing import Any

import click
from twisted.trial.unittest import SynchronousTestCase

from umd.call.call_id import make_call_id
from umd.call.cause import EndedBy
from umd.cli.demo_story import json_story, text_story
from umd.runtime.log import configure


class StoryTests(SynchronousTestCase):
    def tell(self, event: str, **keys: Any) -> str:
        """Return the line for an event, without its time."""
        shown: list[str] = []
        tell = text_story(shown.append, replaces_log=True)
        self.assertTrue(tell({"event": event, "level": "info", **keys}))
        (line,) = shown
        return re.sub(r"^\d\d:\d\d:\d\d  ", "", click.unstyle(line))

    def test_a_silent_far_end_is_reported_with_its_call(self) -> None:
        """A call whose deadline passes gets a line with its short name."""
        line = self.tell("call.disconnect-unconfirmed", call="x", leg="09df9edc-1", deadline_s=5.0)
        self.assertEqual(line, "09df9edc  no answer from the far end in 5 s; still trying")

    def test_an_answer_names_the_leg_of_its_call(self) -> None:
        """The log shortens a long CallId; the story still shows the name of its leg."""
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

    def test_a_name_from_a_client_does_not_control_the_terminal(self) -> None:
        """Without authentication, a client can choose its name by ExchangeImpersonation."""
        line = self.tell("call.disconnect-requested", leg="a\x9b2J-1", principal="bob\x9b31m\u202e")
        self.assertEqual(line, "a?2J-1    Disconnect asked by bob?31m?")

    def test_an_answer_to_a_request_without_a_call(self) -> None:
        keys = {"status": 500, "address": "127.0.0.1"}
        rest = " of 127.0.0.1 answered HTTP 500"
        invalid = {"outcome": "invalid-request", "why": "bad"}
        for event_keys, words in (
            (
                {"outcome": "unknown", "operation": "GetCallInfo", "why": "no call '\x1b'"},
                f"GetCallInfo{rest}, unknown: \"no call '\\x1b'\"",
            ),
            (invalid, f"request{rest}, invalid-request: 'bad'"),
            ({"outcome": "internal-error", "operation": "X"}, f"X{rest}, internal-error"),
        ):
            self.assertEqual(self.tell("soap.answered", **event_keys, **keys), f"{'':8}  {words}")

    def test_an_event_that_the_story_cannot_describe_is_logged(self) -> None:
        """The error does not reach the code that logs the event."""
        stream = BytesIO()
        shown: list[str] = []
        log = configure("info", "json", stream, text_story(shown.append, replaces_log=True))
        log.info("soap.answered", status="no keys at all")
        log.info("call.alerting", leg="09df9edc")
        self.assertIn(b"no keys at all", stream.getvalue())
        self.assertEqual(stream.getvalue().count(b"\n"), 1)
        self.assertEqual(len(shown), 1)


class JsonTests(SynchronousTestCase):
    def test_the_json_story_is_one_object_per_line(self) -> None:
        lines: list[str] = []
        tell = json_story(lines.append, replaces_log=True)
        event = {"event": "call.connected", "level": "info", "leg": "leg-1", "by": EndedBy.CLIENT}
        self.assertTrue(tell(dict(event)))
        self.assertTrue(tell({"event": "http.something", "level": "debug"}))
        self.assertFalse(tell({"event": "http.something", "level": "warning"}))
        (line,) = map(json.loads, lines)
        self.assertEqual(line["event"]["event"], "call.connected")
