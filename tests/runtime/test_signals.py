"""Signals at any moment of a daemon: during its start, while it serves, and while it stops."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.cli.test_commands import signal_mask
from tests.daemon.processes import seed_id, seeds
from umd.runtime import signals
from umd.testing import UmdProcess

HARMLESS = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGPIPE)


class Starting:
    """
    A umd that is starting; it reports that it is ready on a socket, as to systemd.

    Args:
        command: `serve` or `demo`.
        config: the text of its configuration.
    """

    def __init__(self, command: str = "serve", config: str = "") -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="umd-test-")
        folder = Path(self._directory.name)
        self.file = folder / "umd.toml"
        self.file.write_text(config)
        self._notify_socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify_socket.bind(str(folder / "notify"))
        self._notify_socket.setblocking(False)
        self.states = ""
        arguments = ["-c", str(self.file)] if command == "serve" else []
        arguments += ["-o", f"http.listen=unix:{folder}/http"]
        arguments += ["-o", f"control.socket={folder}/c.sock"]
        self._log = (folder / "log").open("w+b")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "umd", command, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._log,
            env={**os.environ, "NOTIFY_SOCKET": str(folder / "notify")},
        )

    def __enter__(self) -> Starting:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._log.close()
        self._notify_socket.close()
        self._directory.cleanup()

    @property
    def log(self) -> str:
        self._log.seek(0)
        return self._log.read().decode()

    @property
    def ready(self) -> bool:
        """Whether umd has reported that it is ready."""
        while True:
            try:
                self.states += self._notify_socket.recv(4096).decode() + "\n"
            except BlockingIOError:
                return "READY=1" in self.states

    def wait_until(self, condition: Callable[[], object]) -> None:
        """Wait until a condition holds; fail if umd ends before."""
        while not condition():
            if self.process.poll() is not None:
                raise AssertionError(f"it ended with {self.process.returncode}: {self.log}")
            time.sleep(0.001)

    def ignores(self, number: int) -> bool:
        return bool(signal_mask(self.process.pid, "SigIgn") & 1 << (number - 1))

    def catches(self, number: int) -> bool:
        return bool(signal_mask(self.process.pid, "SigCgt") & 1 << (number - 1))

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def stop(self) -> int:
        self.send(signal.SIGTERM)
        return self.process.wait(30)


class StartTests(SynchronousTestCase):
    def test_handlers_are_set_before_slow_imports(self) -> None:
        """Only Python's own modules are imported before `umd.runtime.signals`."""
        program = [sys.executable, "-X", "importtime", "-m", "umd", "version"]
        ran = subprocess.run(program, capture_output=True, text=True, timeout=60)
        names = [line.rpartition("|")[2].strip() for line in ran.stderr.splitlines()]
        before = names[: names.index("umd.runtime.signals")]
        self.assertEqual({"click", "json", "socket", "twisted", "pydantic"} & set(before), set())
        self.assertIn("click", names)

    def test_harmless_signals_during_the_start(self) -> None:
        """A signal every 2 ms from the first moment until umd is ready does not end it."""
        for command in ("serve", "demo"):
            for number in HARMLESS:
                with Starting(command) as umd:
                    umd.wait_until(lambda: umd.ignores(number))
                    sent = 0
                    while not umd.ready:
                        umd.send(number)
                        sent += 1
                        self.assertIsNone(umd.process.poll(), (command, number, umd.log))
                        time.sleep(0.002)
                    umd.send(number)
                    self.assertEqual(umd.stop(), 0, umd.log)
                    self.assertGreater(sent, 5)
                    self.assertNotIn("Traceback", umd.log)

    def test_sighup_after_the_configuration_was_read_is_not_lost(self) -> None:
        """umd reloads once it is ready, because the file may have been read before the signal."""
        with Starting() as umd:
            umd.wait_until(lambda: umd.catches(signal.SIGHUP))
            umd.send(signal.SIGHUP)
            umd.wait_until(lambda: '"config.reloaded"' in umd.log)
            self.assertTrue(umd.ready)
            self.assertEqual(umd.log.count('"config.reloaded"'), 1)
            self.assertEqual(umd.stop(), 0)

    def test_sighup_before_the_configuration_is_read_causes_no_reload(self) -> None:
        for _ in range(10):
            with Starting() as umd:
                umd.wait_until(lambda: umd.ignores(signal.SIGHUP))
                umd.send(signal.SIGHUP)
                in_time = umd.ignores(signal.SIGHUP)
                umd.wait_until(lambda: umd.ready)
                self.assertEqual(umd.stop(), 0)
                if in_time:
                    self.assertNotIn("config.", umd.log)
                    return
        self.fail("the signal never came early enough")

    def test_sighup_during_the_start_with_a_wrong_configuration(self) -> None:
        """umd ends with status 2 all the same."""
        with Starting(config="[cal]\n") as umd:
            umd.wait_until(lambda: umd.ignores(signal.SIGHUP))
            while umd.process.poll() is None:
                umd.send(signal.SIGHUP)
                time.sleep(0.002)
            self.assertEqual(umd.process.returncode, 2, umd.log)
            self.assertIn("1 mistake; umd did not start.", umd.log)

    def test_a_stop_at_any_moment_of_the_start(self) -> None:
        """
        At steps through the first 0.8 s, umd ends by the signal or with status 0.

        It logs no failure and no traceback.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            for step in range(20):
                with Starting("serve" if step % 3 else "demo") as umd:
                    umd.wait_until(lambda: umd.ignores(signal.SIGHUP))
                    time.sleep(0.04 * step)
                    umd.send(number)
                    if step % 2:
                        umd.send(signal.SIGHUP)
                    ended = umd.process.wait(30)
                    self.assertIn(ended, (0, -number), umd.log)
                    for word in ("Traceback", "daemon.failed", "Exception ignored", "Unhandled"):
                        self.assertNotIn(word, umd.log, (number, step))

    def test_a_stop_as_soon_as_it_is_caught(self) -> None:
        """The daemon has just installed its own handlers."""
        for number in (signal.SIGTERM, signal.SIGINT):
            for again in (1, 3):
                with Starting() as umd:
                    # Python's own handlers are replaced then.
                    umd.wait_until(lambda: umd.ignores(signal.SIGHUP))
                    umd.wait_until(lambda: umd.catches(number))
                    for _ in range(again):
                        umd.send(number)
                    self.assertEqual(umd.process.wait(30), 0, umd.log)
                    self.assertNotIn("Traceback", umd.log)


class ServingTests(SynchronousTestCase):
    def test_fifty_sighups_in_a_row(self) -> None:
        """The configuration is read again after the last signal."""
        with Starting('serve', '[call]\nended_is = "success"\n') as umd:
            umd.wait_until(lambda: umd.ready)
            for _ in range(50):
                umd.send(signal.SIGHUP)
            umd.file.write_text("[cal]\n")
            umd.send(signal.SIGHUP)
            umd.wait_until(lambda: '"config.refused"' in umd.log)
            umd.file.write_text("")
            umd.send(signal.SIGHUP)
            umd.wait_until(
                lambda: umd.log.rfind('"config.reloaded"') > umd.log.rfind('"config.refused"')
            )
            self.assertLessEqual(umd.log.count('"config.reloaded"'), 52)
            self.assertEqual(umd.stop(), 0)

    def test_every_harmless_signal_while_a_call_is_ended(self) -> None:
        file = Path(self.mktemp()).absolute()
        file.write_text(seeds("5550100"))
        with UmdProcess("serve", "-c", str(file)) as process:
            for number in HARMLESS:
                process.process.send_signal(number)
            self.assertEqual(process.disconnect(seed_id(0))[0], 200)
            self.assertEqual(process.stop(), 0)

    def test_signals_while_it_stops(self) -> None:
        """Signals during the drain do not change the exit status."""
        file = Path(self.mktemp()).absolute()
        file.write_text(seeds("5550199"))
        more = ("-o", "drain.deadline=300ms", "-o", "call.deadline=100ms")
        with UmdProcess("serve", "-c", str(file), *more) as process:
            process.disconnect(seed_id(0))
            process.process.send_signal(signal.SIGTERM)
            process.wait_for("daemon.stopping")
            while process.process.poll() is None:
                for number in HARMLESS:
                    process.process.send_signal(number)
                time.sleep(0.001)
            self.assertEqual(process.process.returncode, 0)
            self.assertEqual(process.events("config.reloaded"), [])
            self.assertEqual(process.events("not-json"), [])


class HandlerTests(SynchronousTestCase):
    def setUp(self) -> None:
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
            self.addCleanup(signal.signal, number, signal.getsignal(number))

    def test_only_daemons_ignore_sighup(self) -> None:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        signals.set_initial_handlers("calls")
        self.assertIs(signal.getsignal(signal.SIGHUP), signal.SIG_DFL)
        signals.set_initial_handlers("serve")
        self.assertIs(signal.getsignal(signal.SIGHUP), signal.SIG_IGN)

    def test_remember_hangups_remembers_later_signals(self) -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        os.kill(os.getpid(), signal.SIGHUP)
        hangups = signals.remember_hangups()
        self.assertFalse(hangups.came)
        os.kill(os.getpid(), signal.SIGHUP)
        self.assertTrue(hangups.came)
