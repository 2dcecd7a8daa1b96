"""The log: one event is one line with stable keys, and no logged text controls a terminal."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

from twisted.internet.defer import ensureDeferred
from twisted.trial.unittest import SynchronousTestCase

from tests.helpers import ALICE, ControlRoom
from tests.runtime.helpers import FakeSink
from umd.call.cause import Cause, EndedBy
from umd.call.events import Disconnected
from umd.call.leg import Proof
from umd.control.control import Control
from umd.control.journal import NullJournal
from umd.journal.ledger import CallLog
from umd.runtime.log import configure, quick_info


class Mute(Exception):
    """A value whose `repr` raises."""

    def __repr__(self) -> str:
        raise RuntimeError("mistake")

    __str__ = __repr__


class LogTests(SynchronousTestCase):
    def lines(self, stream: BytesIO) -> list[dict[str, Any]]:
        return [json.loads(line) for line in stream.getvalue().splitlines()]

    def test_a_line_begins_with_time_level_and_event(self) -> None:
        stream = BytesIO()
        log = configure("info", "json", stream)
        log.info("thing.happened", number=1, text="\x1b[31m\u009b")
        log.debug("thing.unseen")
        (line,) = self.lines(stream)
        self.assertEqual(list(line), ["at", "level", "event", "number", "text"])
        self.assertRegex(line["at"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
        self.assertNotIn(b"\x1b", stream.getvalue())

    def test_logged_text_does_not_control_a_terminal(self) -> None:
        stream = BytesIO()
        configure("info", "console", stream).info("thing.happened", text="\x1b]0;x\x07 \u009b31m")
        written = stream.getvalue().decode()
        self.assertNotIn("\x1b", written)
        self.assertNotIn("\u009b", written)

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

    def test_a_tap_gets_every_event_and_can_keep_it_out(self) -> None:
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

    def test_a_tap_gets_events_of_any_level(self) -> None:
        """`umd demo -o log.level=warning` once showed no story."""
        stream = BytesIO()
        seen: list[str] = []

        def tap(event: Any) -> bool:
            seen.append(event["event"])
            return False

        log = configure("warning", "json", stream, tap)
        log.debug("a")
        log.info("b")
        log.error("c")
        self.assertEqual(seen, ["a", "b", "c"])
        self.assertEqual([line["event"] for line in self.lines(stream)], ["c"])

    def test_a_tap_that_raises_is_passed_over(self) -> None:
        """An error of the demo's screen once became the answer to the client."""
        stream = BytesIO()

        def tap(event: Any) -> bool:
            raise KeyError("mistake")

        configure("info", "json", stream, tap).info("thing.happened")
        self.assertEqual([line["event"] for line in self.lines(stream)], ["thing.happened"])

    def test_any_value_becomes_a_line(self) -> None:
        """A lone surrogate in a value once raised TypeError in control, which lost an end event."""
        circle: list[Any] = []
        circle.append(circle)
        values: dict[str, Any] = {
            "surrogate": "a\udcffb",
            "inside": [{"deep": ("\ud800",)}],
            "key": {1: "x", "\udcff": 2},
            "long": 1 << 70,
            "circle": circle,
            "mute": Mute(),
        }
        for format in ("json", "console"):
            stream = BytesIO()
            log = configure("info", format, stream)
            for key, value in values.items():
                log.info("thing.happened", **{key: value}, call="c")
            try:
                raise Mute()
            except Mute:
                log.exception("thing.failed")
            written = stream.getvalue().decode()
            self.assertEqual(written.count("thing.happened"), len(values), format)
            self.assertEqual(written.count("thing.failed"), 1)
            if format == "json":
                lines = self.lines(stream)
                self.assertEqual([line.get("call") for line in lines], ["c"] * len(values) + [None])
                self.assertEqual(lines[0]["surrogate"], "a\\udcffb")
                self.assertEqual(lines[1]["inside"], [{"deep": ["\\ud800"]}])
                self.assertEqual(lines[2]["key"], {"1": "x", "\\udcff": 2})

    def test_json_does_not_control_a_terminal_either(self) -> None:
        """`tail -f` and `journalctl -o cat` show on a terminal what a client put into a CallId."""
        bad = "\x7f\x80\x9b\x9f\u061c\u200e\u200f\u2028\u2029\u202a\u202e\u2066\u2069"
        stream = BytesIO()
        configure("info", "json", stream).info("thing.happened", text=f"é{bad}\U0001f600")
        configure("info", "json", stream).info("thing.happened", text="\x7f")
        written = stream.getvalue().decode()
        self.assertEqual(set(written) & set(bad), set())
        self.assertIn(r"é\u007f\u0080\u009b", written)
        first, second = self.lines(stream)
        self.assertEqual(first["text"], f"é{bad}\U0001f600")
        self.assertEqual(second["text"], "\x7f")

    def test_an_exception_does_not_control_a_terminal(self) -> None:
        stream = BytesIO()
        log = configure("info", "console", stream)
        try:
            raise RuntimeError("\x1b]0;x\x07\u202e")
        except RuntimeError:
            log.exception("thing.failed")
        self.assertEqual(set(stream.getvalue().decode()) & set("\x1b\x07\u202e"), set())
        self.assertIn(rb"RuntimeError: \u001b]0;x\u0007\u202e", stream.getvalue())


class QuickInfoTests(SynchronousTestCase):
    def test_it_writes_what_log_info_writes(self) -> None:
        for format in ("json", "console"):
            sink = FakeSink()
            log = configure("info", format, sink)
            info = quick_info(log)
            assert info is not None
            for value in (1.5, "\x9b", "\ud800", object):
                sink.written.clear()
                info("thing.happened", {"value": value})
                log.info("thing.happened", value=value)
                quick, slow = (line.partition(b"thing.happened")[2] for line in sink.written)
                self.assertEqual(quick, slow)

    def test_it_is_none_when_info_is_not_written(self) -> None:
        self.assertIsNone(quick_info(configure("warning", "json", FakeSink())))


class LifecycleTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.stream = BytesIO()
        self.room = ControlRoom()
        self.control = Control(
            backends={"fake": self.room.fake},
            node="lab",
            clock=self.room.clock,
            wall=lambda: 1000.0 + self.room.clock.seconds(),
            journal=NullJournal(CallLog(configure("info", "json", self.stream)).record),
            log=self.room.log,
        )
        self.successResultOf(ensureDeferred(self.control.start()))

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]

    def test_the_closing_line_sums_the_call_up(self) -> None:
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
                "seq": 5, "backend": "fake", "number": "answers", "owner": "alice",
                "outcome": "ended", "confirmed": True, "shown_by": "far-end",
                "by": "client", "cause": 16, "event_cause": "None",
                "sip_status": 200, "reasons": [], "events": 5,
                "lived_s": 12.65, "talked_s": 12.65, "took_ms": 250.0,
            },
        )  # fmt: skip

    def test_the_closing_line_has_the_superseded_cause(self) -> None:
        """The closing line has the reasons of the superseded cause, too."""
        call = self.control.place(ALICE, "answers")
        late = Cause(by=EndedBy.FAR_END, q850=17, sip_status=486, reasons=("SIP;cause=486",))
        end = Disconnected(
            call=call.id,
            seq=5,
            at=1001.0,
            cause=Cause(by=EndedBy.CLIENT),
            superseded=late,
            confirmed=True,
            shown_by=Proof.FAR_END,
        )
        CallLog(configure("info", "json", self.stream)).record(call, end)
        closing = self.lines()[-1]
        self.assertEqual(closing["superseded_by"], "far-end")
        self.assertEqual(closing["superseded_reasons"], ["SIP;cause=486"])

    def test_every_line_names_its_call(self) -> None:
        call = self.control.place(ALICE, "rejects")
        for line in self.lines():
            self.assertEqual((line["call"], line["leg"]), (call.id, call.leg))
        self.assertEqual(self.lines()[-1]["cause"], 17)
