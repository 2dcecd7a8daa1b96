"""Lines: one event, one line, stable keys; nothing a stranger sends drives a terminal."""

from __future__ import annotations

import json
import os
import socket
from errno import ENOSPC
from io import BytesIO
from threading import Thread
from typing import Any

from twisted.internet.defer import ensureDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.helpers import ALICE, ControlRoom
from umd.call.cause import Cause, EndedBy
from umd.call.events import Disconnected
from umd.control.control import Control
from umd.control.journal import NullJournal
from umd.journal.ledger import CallLog
from umd.runtime.log import Lines, configure, quick_info, unblocked


class ClosedPipe(BytesIO):
    def write(self, data: Any) -> int:
        raise BrokenPipeError


class Mute(Exception):
    """A value of which nothing can be told."""

    def __repr__(self) -> str:
        raise RuntimeError("mistake")

    __str__ = __repr__


class Sink:
    """Takes as much as there is room for."""

    def __init__(self) -> None:
        self.room = 1_000_000
        self.error: OSError | None = None
        self.written: list[bytes] = []

    def write(self, octets: bytes, /) -> int | None:
        if self.error is not None:
            raise self.error
        taken = octets[: self.room]
        self.room -= len(taken)
        if taken:
            self.written.append(taken)
        return len(taken) or None

    def fileno(self) -> int:
        return -1

    def isatty(self) -> bool:
        return False


class Writers(Clock):
    """The part of a reactor that `Lines` uses."""

    running = False

    def __init__(self) -> None:
        super().__init__()
        self.writers: list[Any] = []

    def addWriter(self, writer: Any) -> None:
        self.writers.append(writer)

    def removeWriter(self, writer: Any) -> None:
        self.writers.remove(writer)


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

    def test_a_tap_does_not_depend_on_the_level_that_is_written(self) -> None:
        """Finding 31: `umd demo -o log.level=warning` showed no story."""
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
        """Finding 30: what went wrong on the screen became the client's answer."""
        stream = BytesIO()

        def tap(event: Any) -> bool:
            raise KeyError("mistake")

        configure("info", "json", stream, tap).info("thing.happened")
        self.assertEqual([line["event"] for line in self.lines(stream)], ["thing.happened"])

    def test_whatever_is_logged_becomes_a_line(self) -> None:
        """Finding 3: a lone surrogate in a value was a TypeError in control, and lost an end."""
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

    def test_json_does_not_drive_a_terminal_either(self) -> None:
        """Finding 27: `tail -f` and `journalctl -o cat` show what a client put into a CallId."""
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

    def test_an_exception_does_not_drive_a_terminal(self) -> None:
        stream = BytesIO()
        log = configure("info", "console", stream)
        try:
            raise RuntimeError("\x1b]0;x\x07\u202e")
        except RuntimeError:
            log.exception("thing.failed")
        self.assertEqual(set(stream.getvalue().decode()) & set("\x1b\x07\u202e"), set())
        self.assertIn(rb"RuntimeError: \u001b]0;x\u0007\u202e", stream.getvalue())


class QuickTests(SynchronousTestCase):
    def test_it_writes_what_log_info_writes(self) -> None:
        for format in ("json", "console"):
            sink = Sink()
            log = configure("info", format, sink)
            info = quick_info(log)
            assert info is not None
            for value in (1.5, "\x9b", "\ud800", object):
                sink.written.clear()
                info("thing.happened", {"value": value})
                log.info("thing.happened", value=value)
                quick, slow = (line.partition(b"thing.happened")[2] for line in sink.written)
                self.assertEqual(quick, slow)

    def test_there_is_nothing_to_call_where_it_would_not_be_written(self) -> None:
        self.assertIsNone(quick_info(configure("warning", "json", Sink())))


class LinesTests(SynchronousTestCase):
    """Finding 4: a pipe that nobody read stopped the reactor for ever."""

    def setUp(self) -> None:
        self.sink = Sink()
        self.reactor = Writers()
        self.written: list[bytes] = self.sink.written
        self.lines = Lines(self.sink, reactor=self.reactor, backlog=20)

    def text(self) -> str:
        return b"".join(self.sink.written).decode()

    def test_a_closed_pipe_loses_lines_and_nothing_else(self) -> None:
        lines = Lines(ClosedPipe())
        lines.info(b"one")
        lines.error(b"two")
        self.assertEqual(lines.lost, 2)

    def test_a_disk_that_is_full_for_a_while(self) -> None:
        self.lines.info(b"one")
        self.sink.error = OSError(ENOSPC, "full")
        self.lines.info(b"two")
        self.lines.info(b"three")
        self.sink.error = None
        self.lines.info(b"four")
        self.assertEqual(self.text(), "one\n(2 lines lost)\nfour\n")
        self.assertEqual(self.reactor.writers, [])

    def test_a_slow_reader_gets_everything(self) -> None:
        self.sink.room = 6
        self.lines.info(b"one")
        self.lines.info(b"two")
        self.lines.info(b"three")
        self.assertEqual(self.reactor.writers, [self.lines])
        self.sink.room = 100
        self.lines.doWrite()
        self.assertEqual(self.text(), "one\ntwo\nthree\n")
        self.assertEqual(self.reactor.writers, [])
        self.assertEqual(self.lines.lost, 0)

    def test_what_nobody_reads_is_lost_counted_and_told_once(self) -> None:
        self.sink.room = 2
        for number in range(20):
            self.lines.info(b"line %d" % number)
        self.assertEqual(self.lines.lost, 17)
        self.sink.room = 12
        self.lines.doWrite()
        self.lines.info(b"while it still drains")
        self.sink.room = 1000
        self.lines.doWrite()
        self.lines.info(b"after")
        self.assertEqual(self.text(), "line 0\nline 1\nline 2\n(18 lines lost)\nafter\n")

    def test_a_line_is_never_cut_in_two(self) -> None:
        self.sink.room = 2
        self.lines.info(b"one")
        self.sink.error = OSError(ENOSPC, "full")
        self.lines.info(b"two")
        self.sink.error, self.sink.room = None, 100
        self.lines.info(b"three")
        self.assertEqual(self.text(), "one\n(1 lines lost)\nthree\n")

    def test_the_lines_of_a_turn_are_written_at_once(self) -> None:
        lines = Lines(self.sink, reactor=self.reactor, backlog=1 << 20)
        self.reactor.running = True
        lines.info(b"one")
        lines.info(b"two")
        self.assertEqual(self.written, [])
        self.reactor.advance(0)
        self.assertEqual(self.written, [b"one\ntwo\n"])
        lines.info(b"three")
        lines.error(b"four")
        self.assertEqual(self.text(), "one\ntwo\nthree\nfour\n", "an error does not wait")
        self.reactor.advance(0)
        self.written.clear()
        for _ in range(10):
            lines.info(b"x" * 20_000)
        self.assertEqual([len(octets) for octets in self.written], [4 * 20_001] * 2)
        self.reactor.advance(0)
        lines.info(b"five")
        lines.finish()
        self.assertTrue(self.text().endswith("x\nfive\n"))
        self.assertEqual(lines.lost, 0)

    def test_lines_of_a_turn_that_are_taken_in_parts(self) -> None:
        self.reactor.running = True
        self.sink.room = 6
        for line in (b"one", b"two", b"three"):
            self.lines.info(line)
        self.reactor.advance(0)
        self.assertEqual(self.text(), "one\ntw")
        self.sink.error = OSError(ENOSPC, "full")
        self.lines.error(b"four")
        self.sink.error, self.sink.room = None, 100
        self.lines.error(b"five")
        self.assertEqual(self.text(), "one\ntwo\n(2 lines lost)\nfive\n")

    def test_a_reader_that_goes_away(self) -> None:
        """The reactor tells it by `connectionLost`; what is kept is lost then."""
        self.sink.room = 0
        self.lines.info(b"one")
        self.sink.error = BrokenPipeError()
        self.reactor.writers.clear()
        self.lines.connectionLost(None)
        self.lines.info(b"two")
        self.assertEqual(self.lines.lost, 2)
        self.assertEqual(self.reactor.writers, [])

    def test_the_line_that_tells_of_lost_ones(self) -> None:
        for format, word in (("json", b'"event":"log.lost","lines":1'), ("console", b"log.lost")):
            sink = Sink()
            log = configure("info", format, sink)
            sink.error = BrokenPipeError()
            log.info("thing.lost")
            sink.error = None
            log.info("thing.happened")
            lost, happened = b"".join(sink.written).splitlines()
            self.assertIn(word, lost)
            self.assertIn(b"warning", lost)
            self.assertIn(b"thing.happened", happened)


class UnblockedTests(SynchronousTestCase):
    """Real descriptors; nobody reads them until they are full."""

    def fill(self, sink: Any) -> bytes:
        """Write until it would block; gives back what it took."""
        taken = []
        while count := sink.write(b"x" * 5000):
            taken.append(b"x" * count)
        self.assertIsNone(count)
        return b"".join(taken)

    def check(self, writer: int, reader: int) -> None:
        with open(writer, "wb", buffering=0, closefd=False) as stream:
            sink = unblocked(stream)
            self.addCleanup(getattr(sink, "close", lambda: None))
            took = len(self.fill(sink))
            self.assertTrue(os.get_blocking(writer), "who shares the open file is not concerned")
            while took:
                took -= len(os.read(reader, took))
            self.assertEqual(sink.write(b"more\n"), 5)
            self.assertEqual(os.read(reader, 10), b"more\n")
            self.assertFalse(sink.isatty())

    def pipe(self) -> tuple[int, int]:
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        self.addCleanup(os.close, writer)
        return reader, writer

    def test_a_pipe(self) -> None:
        reader, writer = self.pipe()
        self.check(writer, reader)

    def test_a_pipe_that_cannot_be_opened_once_more(self) -> None:
        def refuse(*arguments: Any) -> int:
            raise PermissionError

        reader, writer = self.pipe()
        patched = self.patch(os, "open", refuse)
        self.check(writer, reader)
        patched.restore()

    def test_a_socket(self) -> None:
        reader, writer = socket.socketpair()
        with reader, writer:
            self.check(writer.fileno(), reader.fileno())

    def test_a_pipe_without_reader(self) -> None:
        reader, writer = os.pipe()
        os.close(reader)
        with open(writer, "wb", buffering=0) as stream:
            lines = Lines(unblocked(stream))
            lines.info(b"one")
        self.assertEqual(lines.lost, 1)

    def test_no_standard_error_at_all(self) -> None:
        sink = unblocked(None)
        self.assertEqual(sink.write(b"one"), 3)
        sink.close()  # type: ignore[attr-defined]

    def test_a_file(self) -> None:
        path = self.mktemp()
        with open(path, "w") as stream:
            Lines(unblocked(stream)).info(b"one")
        with open(path) as stream:
            self.assertEqual(stream.read(), "one\n")

    def test_the_end_of_the_process_waits_for_a_slow_reader(self) -> None:
        """What is kept is more than the pipe holds; a thread reads it while it is written."""
        reader, writer = self.pipe()
        with open(writer, "wb", buffering=0, closefd=False) as stream:
            sink = unblocked(stream)
        lines = Lines(sink)
        for number in range(20_000):
            lines.info(b"line %d" % number)
        read: list[bytes] = []

        def read_all() -> None:
            with open(reader, "rb", closefd=False) as stream:
                read.extend(stream)

        thread = Thread(target=read_all)
        thread.start()
        lines.finish(60.0)
        sink.close()  # type: ignore[attr-defined]
        with open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), writer)  # the reader's end of file
        thread.join()
        self.assertEqual(read, [b"line %d\n" % number for number in range(20_000)])

    def test_the_end_of_the_process_waits_for_nobody_for_ever(self) -> None:
        _, writer = self.pipe()
        with open(writer, "wb", buffering=0, closefd=False) as stream:
            sink = unblocked(stream)
            self.addCleanup(sink.close)  # type: ignore[attr-defined]
        lines = Lines(sink)
        self.fill(sink)
        lines.info(b"one")
        lines.finish(0.0)


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
                "seq": 5, "backend": "fake", "number": "answers", "owner": "alice",
                "outcome": "ended", "confirmed": True, "by": "client", "cause": 16,
                "event_cause": "None", "sip_status": 200, "reasons": [], "events": 5,
                "lived_s": 12.65, "talked_s": 12.65, "took_ms": 250.0,
            },
        )  # fmt: skip

    def test_what_the_far_end_said_too_late_is_told_with_its_reasons(self) -> None:
        """Finding 32: the reasons of the superseded cause were missing."""
        call = self.control.place(ALICE, "answers")
        late = Cause(by=EndedBy.FAR_END, q850=17, sip_status=486, reasons=("SIP;cause=486",))
        end = Disconnected(
            call=call.id,
            seq=5,
            at=1001.0,
            cause=Cause(by=EndedBy.CLIENT),
            superseded=late,
            confirmed=True,
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
