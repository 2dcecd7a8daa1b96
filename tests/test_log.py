"""Lines: one event, one line, stable keys; nothing a stranger sends drives a terminal."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

from twisted.internet.defer import ensureDeferred
from twisted.trial.unittest import SynchronousTestCase

from tests.helpers import ALICE, ControlRoom
from umd.control import Control
from umd.log import Lines, configure, lifecycle_log


class ClosedPipe(BytesIO):
    def write(self, data: Any) -> int:
        raise BrokenPipeError


class LogTests(SynchronousTestCase):
    def lines(self, stream: BytesIO) -> list[dict[str, Any]]:
        return [json.loads(line) for line in stream.getvalue().splitlines()]

    def test_a_line_begins_with_when_how_bad_and_what(self) -> None:
        stream = BytesIO()
        log = configure("info", "json", stream)
        log.info("thing.happened", number=1, text="\x1b[31m\u009b")
        log.debug("thing.unseen")
        (line,) = self.lines(stream)
        self.assertEqual(list(line), ["at", "level", "event", "number", "text"])
        self.assertRegex(line["at"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
        self.assertNotIn(b"\x1b", stream.getvalue())

    def test_a_terminal_is_not_driven_by_what_is_logged(self) -> None:
        stream = BytesIO()
        configure("info", "console", stream).info("thing.happened", text="\x1b]0;x\x07 \u009b31m")
        written = stream.getvalue().decode()
        self.assertNotIn("\x1b", written)
        self.assertNotIn("\u009b", written)

    def test_a_closed_pipe_loses_lines_and_nothing_else(self) -> None:
        lines = Lines(ClosedPipe())
        lines.info(b"one")
        lines.error(b"two")
        self.assertEqual(lines.lost, 2)

    def test_an_exception_is_one_line(self) -> None:
        stream = BytesIO()
        log = configure("info", "json", stream)
        try:
            raise RuntimeError("why")
        except RuntimeError:
            log.exception("thing.failed")
        (line,) = self.lines(stream)
        self.assertEqual(line["level"], "error")
        self.assertIn("RuntimeError: why", line["exception"])

    def test_a_tap_sees_every_event_and_can_keep_it(self) -> None:
        stream = BytesIO()
        seen: list[str] = []

        def tap(event: Any) -> bool:
            seen.append(event["event"])
            return bool(event["level"] == "info")

        log = configure("info", "json", stream, tap)
        log.info("a")
        log.warning("b")
        self.assertEqual(seen, ["a", "b"])
        self.assertEqual([line["event"] for line in self.lines(stream)], ["b"])


class LifecycleTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.stream = BytesIO()
        self.room = ControlRoom()
        self.control = Control(
            backends={"fake": self.room.fake},
            node="lab",
            clock=self.room.clock,
            wall=lambda: 1000.0 + self.room.clock.seconds(),
            record=lifecycle_log(configure("info", "json", self.stream)),
            log=self.room.log,
        )
        self.successResultOf(ensureDeferred(self.control.start()))

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]

    def test_the_closing_line_tells_the_whole_story(self) -> None:
        self.room.fake.confirms = False
        call = self.control.place(ALICE, "answers", request_id="r-1")
        self.room.clock.advance(12.4)
        asked = ensureDeferred(self.control.disconnect(ALICE, call.id, "r-2"))
        self.room.clock.advance(0.25)
        self.room.fake.end(call.leg)
        self.successResultOf(asked)
        self.assertEqual(
            [line["event"] for line in self.lines()],
            [
                "call.placed",
                "call.alerting",
                "call.connected",
                "call.disconnect-requested",
                "call.disconnected",
            ],
        )
        closing = self.lines()[-1]
        del closing["at"]
        self.assertEqual(
            closing,
            {
                "level": "info", "event": "call.disconnected", "call": call.id, "leg": call.leg,
                "backend": "fake", "number": "answers", "owner": "alice", "outcome": "ended",
                "confirmed": True, "by": "client", "cause": 16, "event_cause": "None",
                "sip_status": 200, "reasons": [], "events": 5, "lived_s": 12.65, "talked_s": 12.65,
                "took_ms": 250.0,
            },
        )  # fmt: skip

    def test_every_line_names_its_call(self) -> None:
        call = self.control.place(ALICE, "rejects")
        for line in self.lines():
            self.assertEqual((line["call"], line["leg"]), (call.id, call.leg))
        self.assertEqual(self.lines()[-1]["cause"], 17)
