"""Standard output and standard error: what the demo prints, and streams that are full or closed."""

from __future__ import annotations

import fcntl
import json
import signal
import subprocess
import sys
import tempfile
from collections import Counter

from tests.daemon.processes import PipedProcess, ProcessCase
from tests.helpers import side_by_side


class DemoTests(ProcessCase):
    def test_the_screen_shows_calls_and_a_command_that_works(self) -> None:
        """The printed curl line is run as it is printed."""
        directory = tempfile.TemporaryDirectory(prefix="umd-test-")
        self.addCleanup(directory.cleanup)
        command = [sys.executable, "-m", "umd", "demo", "-o",
                   "http.listen=tcp:0:interface=127.0.0.1",
                   "-o", f"control.socket={directory.name}/c.sock"]  # fmt: skip
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.addCleanup(process.kill)
        assert process.stdout is not None
        screen: list[str] = []
        while not screen or screen[-1] != "X\n":
            screen.append(process.stdout.readline())
        text = "".join(screen)
        self.assertIn("09df9edc", text)
        self.assertIn("never answers BYE", text)
        at = next(index for index, line in enumerate(screen) if line.startswith("  curl "))
        ran = subprocess.run(["sh"], input="".join(screen[at:]), capture_output=True, text=True)
        self.assertIn("HTTP/1.1 200 OK", ran.stdout, ran)
        self.assertIn("DisconnectResponse", ran.stdout)
        while not (line := process.stdout.readline()).startswith("  " + sys.executable):
            self.assertTrue(line)
        ran = subprocess.run(["sh"], input=line, capture_output=True, text=True)
        self.assertIn("- BYE -", ran.stdout, ran)
        process.send_signal(signal.SIGINT)
        story = process.communicate(timeout=30)[0]
        self.assertIn("09df9edc  Disconnect asked by anonymous", story)
        self.assertRegex(story, r"09df9edc  200 after \d+ ms: ended, normal clearing \(16\)")
        self.assertEqual(process.returncode, 0)

    def test_the_screen_is_independent_of_the_log_level(self) -> None:
        """`umd demo -o log.level=warning` prints the same story."""
        with PipedProcess("demo", "-o", "log.level=warning") as demo:
            demo.ready()
            self.assertEqual(demo.disconnect(), 200)
            self.assertEqual(demo.stop(), 0)
            assert demo.process.stdout is not None and demo.process.stderr is not None
            self.assertIn(b"Disconnect asked by anonymous", demo.process.stdout.read())
            self.assertEqual(demo.process.stderr.read(), b"")

    def test_the_reader_of_the_screen_ends(self) -> None:
        """`umd demo | head -1` ends with exit status 0."""
        with PipedProcess("demo") as demo:
            assert demo.process.stdout is not None
            self.assertIn(b"umd ", demo.process.stdout.readline())
            demo.process.stdout.close()
            demo.ready()
            self.assertEqual(demo.disconnect(), 200)
            self.assertEqual(demo.stop(signal.SIGINT), 0)

    def test_a_full_or_closed_screen(self) -> None:
        def statuses(redirection: str) -> tuple[int, int]:
            with PipedProcess("demo", shell=redirection) as demo:
                demo.ready()
                return demo.disconnect(), demo.stop()

        found = side_by_side(statuses, [(">/dev/full",), (">&-",)])
        self.assertEqual(found, [(200, 0)] * 2)


class LogPipeTests(ProcessCase):
    """If standard error is full, closed or unread, umd still ends calls and exits with 0."""

    def test_a_log_pipe_without_a_reader_does_not_block_umd(self) -> None:
        """umd goes on when the pipe is full, and writes the rest when the pipe is read."""
        with PipedProcess("demo") as demo:
            assert demo.process.stderr is not None
            fcntl.fcntl(demo.process.stderr, fcntl.F_SETPIPE_SZ, 4096)
            demo.ready()
            for _ in range(100):
                self.assertEqual(demo.disconnect("x" * 300), 500)
            self.assertEqual(demo.disconnect(), 200)
            demo.process.send_signal(signal.SIGTERM)
            lines = [json.loads(line) for line in demo.process.stderr]
            self.assertEqual(demo.process.wait(30), 0)
            events = Counter(line["event"] for line in lines)
            self.assertEqual((events["soap.answered"], events["log.lost"]), (101, 0))
            self.assertEqual(lines[-1]["event"], "daemon.stopped")

    def test_a_closed_or_full_log(self) -> None:
        """The exit status is 0, though the last flush fails."""
        def statuses(redirection: str) -> tuple[int, int]:
            with PipedProcess("serve", shell=redirection) as serve:
                serve.ready()
                return serve.disconnect("x"), serve.stop()

        found = side_by_side(statuses, [("2>&-",), ("2>/dev/full",), ("2>&- >&- <&-",)])
        self.assertEqual(found, [(500, 0)] * 3)

    def test_a_refusal_with_a_closed_or_full_log(self) -> None:
        def status(redirection: str) -> int:
            with PipedProcess("serve", "-o", "nothing=1", shell=redirection) as serve:
                return serve.process.wait(30)

        self.assertEqual(side_by_side(status, [("2>&-",), ("2>/dev/full",)]), [2, 2])

    def test_the_reader_of_the_log_ends(self) -> None:
        with PipedProcess("serve") as serve:
            serve.ready()
            assert serve.process.stderr is not None
            serve.process.stderr.close()
            self.assertEqual(serve.disconnect("x"), 500)
            self.assertEqual(serve.stop(), 0)
