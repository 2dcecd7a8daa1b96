"""The log never makes umd wait: what a slow, full or closed sink does to lines."""

from __future__ import annotations

import os
import socket
from errno import ENOSPC
from io import BytesIO
from threading import Thread
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.runtime.helpers import FakeReactor, FakeSink
from umd.runtime.log import configure
from umd.runtime.log_sinks import LineWriter, nonblocking_sink


class ClosedPipe(BytesIO):
    def write(self, data: Any) -> int:
        raise BrokenPipeError


class LineWriterTests(SynchronousTestCase):
    """A pipe without a reader once stopped the reactor for ever; now lines are dropped."""

    def setUp(self) -> None:
        self.sink = FakeSink()
        self.reactor = FakeReactor()
        self.written: list[bytes] = self.sink.written
        self.writer = LineWriter(self.sink, reactor=self.reactor, max_backlog=20)

    def text(self) -> str:
        return b"".join(self.sink.written).decode()

    def test_a_closed_pipe_loses_lines_and_nothing_else(self) -> None:
        writer = LineWriter(ClosedPipe())
        writer.info(b"one")
        writer.error(b"two")
        self.assertEqual(writer.lines_lost, 2)

    def test_a_disk_that_is_full_for_a_while(self) -> None:
        self.writer.info(b"one")
        self.sink.error = OSError(ENOSPC, "full")
        self.writer.info(b"two")
        self.writer.info(b"three")
        self.sink.error = None
        self.writer.info(b"four")
        self.assertEqual(self.text(), "one\n(2 lines lost)\nfour\n")
        self.assertEqual(self.reactor.writers, [])

    def test_a_slow_reader_gets_everything(self) -> None:
        self.sink.room = 6
        self.writer.info(b"one")
        self.writer.info(b"two")
        self.writer.info(b"three")
        self.assertEqual(self.reactor.writers, [self.writer])
        self.sink.room = 100
        self.writer.doWrite()
        self.assertEqual(self.text(), "one\ntwo\nthree\n")
        self.assertEqual(self.reactor.writers, [])
        self.assertEqual(self.writer.lines_lost, 0)

    def test_dropped_lines_are_counted_and_reported_once(self) -> None:
        self.sink.room = 2
        for number in range(20):
            self.writer.info(b"line %d" % number)
        self.assertEqual(self.writer.lines_lost, 17)
        self.sink.room = 12
        self.writer.doWrite()
        self.writer.info(b"while it still drains")
        self.sink.room = 1000
        self.writer.doWrite()
        self.writer.info(b"after")
        self.assertEqual(self.text(), "line 0\nline 1\nline 2\n(18 lines lost)\nafter\n")

    def test_a_line_is_never_cut_in_two(self) -> None:
        self.sink.room = 2
        self.writer.info(b"one")
        self.sink.error = OSError(ENOSPC, "full")
        self.writer.info(b"two")
        self.sink.error, self.sink.room = None, 100
        self.writer.info(b"three")
        self.assertEqual(self.text(), "one\n(1 lines lost)\nthree\n")

    def test_the_lines_of_a_reactor_turn_are_one_write(self) -> None:
        writer = LineWriter(self.sink, reactor=self.reactor, max_backlog=1 << 20)
        self.reactor.running = True
        writer.info(b"one")
        writer.info(b"two")
        self.assertEqual(self.written, [])
        self.reactor.advance(0)
        self.assertEqual(self.written, [b"one\ntwo\n"])
        writer.info(b"three")
        writer.error(b"four")
        self.assertEqual(self.text(), "one\ntwo\nthree\nfour\n", "an error does not wait")
        self.reactor.advance(0)
        self.written.clear()
        for _ in range(10):
            writer.info(b"x" * 20_000)
        self.assertEqual([len(octets) for octets in self.written], [4 * 20_001] * 2)
        self.reactor.advance(0)
        writer.info(b"five")
        writer.finish()
        self.assertTrue(self.text().endswith("x\nfive\n"))
        self.assertEqual(writer.lines_lost, 0)

    def test_the_lines_of_a_turn_are_taken_in_parts(self) -> None:
        self.reactor.running = True
        self.sink.room = 6
        for line in (b"one", b"two", b"three"):
            self.writer.info(line)
        self.reactor.advance(0)
        self.assertEqual(self.text(), "one\ntw")
        self.sink.error = OSError(ENOSPC, "full")
        self.writer.error(b"four")
        self.sink.error, self.sink.room = None, 100
        self.writer.error(b"five")
        self.assertEqual(self.text(), "one\ntwo\n(2 lines lost)\nfive\n")

    def test_a_reader_that_goes_away(self) -> None:
        """The reactor calls `connectionLost`, and the backlog is dropped."""
        self.sink.room = 0
        self.writer.info(b"one")
        self.sink.error = BrokenPipeError()
        self.reactor.writers.clear()
        self.writer.connectionLost(None)
        self.writer.info(b"two")
        self.assertEqual(self.writer.lines_lost, 2)
        self.assertEqual(self.reactor.writers, [])

    def test_the_notice_of_dropped_lines_is_an_event(self) -> None:
        for format, word in (("json", b'"event":"log.lost","lines":1'), ("console", b"log.lost")):
            sink = FakeSink()
            log = configure("info", format, sink)
            sink.error = BrokenPipeError()
            log.info("thing.lost")
            sink.error = None
            log.info("thing.happened")
            lost, happened = b"".join(sink.written).splitlines()
            self.assertIn(word, lost)
            self.assertIn(b"warning", lost)
            self.assertIn(b"thing.happened", happened)


class NonblockingSinkTests(SynchronousTestCase):
    """Real pipes and sockets, filled until they would block."""

    def fill(self, sink: Any) -> bytes:
        """Write until it would block; gives back what it took."""
        taken = []
        while count := sink.write(b"x" * 5000):
            taken.append(b"x" * count)
        self.assertIsNone(count)
        return b"".join(taken)

    def check(self, writer: int, reader: int) -> None:
        with open(writer, "wb", buffering=0, closefd=False) as stream:
            sink = nonblocking_sink(stream)
            self.addCleanup(getattr(sink, "close", lambda: None))
            took = len(self.fill(sink))
            self.assertTrue(os.get_blocking(writer), "O_NONBLOCK would affect other processes")
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

    def test_a_pipe_that_cannot_be_opened_a_second_time(self) -> None:
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
            lines = LineWriter(nonblocking_sink(stream))
            lines.info(b"one")
        self.assertEqual(lines.lines_lost, 1)

    def test_no_standard_error_at_all(self) -> None:
        sink = nonblocking_sink(None)
        self.assertEqual(sink.write(b"one"), 3)
        sink.close()  # type: ignore[attr-defined]

    def test_a_file(self) -> None:
        path = self.mktemp()
        with open(path, "w") as stream:
            LineWriter(nonblocking_sink(stream)).info(b"one")
        with open(path) as stream:
            self.assertEqual(stream.read(), "one\n")

    def test_the_end_of_the_process_waits_for_a_slow_reader(self) -> None:
        """The backlog is larger than the pipe; a thread reads it meanwhile."""
        reader, writer = self.pipe()
        with open(writer, "wb", buffering=0, closefd=False) as stream:
            sink = nonblocking_sink(stream)
        lines = LineWriter(sink)
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

    def test_the_end_of_the_process_waits_for_a_limited_time(self) -> None:
        _, writer = self.pipe()
        with open(writer, "wb", buffering=0, closefd=False) as stream:
            sink = nonblocking_sink(stream)
            self.addCleanup(sink.close)  # type: ignore[attr-defined]
        lines = LineWriter(sink)
        self.fill(sink)
        lines.info(b"one")
        lines.finish(0.0)
