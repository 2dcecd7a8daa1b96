"""What systemd is told, on a socket of our own."""

from __future__ import annotations

import os
import socket

from twisted.trial.unittest import SynchronousTestCase

from umd import systemd


class NotifyTests(SynchronousTestCase):
    def listen(self, name: str | bytes) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(listener.close)
        listener.bind(name)
        listener.settimeout(5)
        return listener

    def test_states_reach_the_socket(self) -> None:
        name = f"umd-test-{os.getpid()}"
        listener = self.listen("\0" + name)
        systemd.notify("READY=1", "STATUS=x", environ={"NOTIFY_SOCKET": "@" + name})
        self.assertEqual(listener.recv(100), b"READY=1\nSTATUS=x")

    def test_the_path_of_a_socket_may_be_any_octets(self) -> None:
        """It begins no other state, and is no reason not to start."""
        name = f"umd-test-odd-{os.getpid()}"
        listener = self.listen("\0" + name)
        systemd.notify("STATUS=at /run/\udce9\nSTOPPING=1", environ={"NOTIFY_SOCKET": "@" + name})
        self.assertEqual(listener.recv(100), b"STATUS=at /run/\xe9 STOPPING=1")

    def test_a_peer_that_does_not_read(self) -> None:
        """Finding 5: a full queue stopped the daemon; what does not fit is lost."""
        name = f"umd-test-full-{os.getpid()}"
        listener = self.listen("\0" + name)
        environ = {"NOTIFY_SOCKET": "@" + name}
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.connect("\0" + name)
            with self.assertRaises(BlockingIOError):
                while True:
                    sender.send(b"filler")
        systemd.notify("WATCHDOG=1", environ=environ)
        self.assertEqual(listener.recv(100), b"filler")

    def test_nobody_listens(self) -> None:
        systemd.notify("READY=1", environ={})
        systemd.notify("READY=1", environ={"NOTIFY_SOCKET": "/nowhere/at/all"})

    def test_the_watchdog_is_fed_twice_in_its_time(self) -> None:
        me = str(os.getpid())
        for environ, seconds in (
            ({"WATCHDOG_USEC": "10000000"}, 5.0),
            ({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": me}, 5.0),
            ({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": "1"}, None),
            ({"WATCHDOG_USEC": "0"}, None),
            ({"WATCHDOG_USEC": "soon"}, None),
            ({}, None),
        ):
            self.assertEqual(systemd.watchdog_interval(environ), seconds, environ)

    def test_a_reload_says_when_it_began(self) -> None:
        first, second = systemd.reloading()
        self.assertEqual(first, "RELOADING=1")
        self.assertRegex(second, r"^MONOTONIC_USEC=\d+$")
