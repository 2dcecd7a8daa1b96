"""Connections that are closed too early, and too many connections."""

from __future__ import annotations

import os
import re
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

from tests.faults.clients import PATH
from tests.faults.stories import FaultCase, Served
from tests.helpers import program
from umd.soap.namespaces import MESSAGES
from umd.testing import UmdProcess
from umd.testing.process import REQUEST

RESET = struct.pack("ii", 1, 0)  # SO_LINGER: a close is an RST
DESCRIPTORS = 64


def post(call: str) -> bytes:
    """Return a Disconnect request as the octets that a client sends."""
    body = REQUEST.format(namespace=MESSAGES, call_id=call)
    return (
        f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/xml\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


class ConnectionTests(FaultCase):
    def connect(self, umd: UmdProcess) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", Served(umd).port), 30)
        self.addCleanup(connection.close)
        return connection

    def asking(self, umd: UmdProcess, call: str) -> socket.socket:
        """Return a connection on which a Disconnect waits for its response."""
        connection = self.connect(umd)
        self.log.ask(call)
        connection.sendall(post(call))
        umd.wait_for("call.disconnect-requested", call=call)
        return connection

    def go_on(self, umd: UmdProcess, calls: list[str]) -> None:
        """Assert that each call ended once, and that umd logged no error."""
        for call in calls:
            umd.wait_for("call.disconnected", call=call, confirmed=True)
        self.assertLessEqual({self.end(umd, call) for call in calls}, {"ended", "already-ended"})
        self.assertEqual([line for line in umd.log if line.get("level") == "error"], [])
        self.assertEqual(umd.stop(), 0)
        self.check()

    def test_clients_that_leave_before_the_response(self) -> None:
        with self.umd("-o", "backend.sim.delay=100ms") as umd:
            calls = [self.place(umd) for _ in range(8)]
            for call in calls:
                connection = self.asking(umd, call)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                connection.close()
            self.go_on(umd, calls)

    def test_connections_that_the_system_destroys(self) -> None:
        with self.umd("-o", "backend.sim.delay=300ms") as umd:
            calls = [self.place(umd) for _ in range(5)]
            connections = [self.asking(umd, call) for call in calls]
            port = str(Served(umd).port)
            ss = program("ss", "iproute2")
            killed = subprocess.run(
                [ss, "-K", "-t", "dst", "127.0.0.1", "dport", "=", port], capture_output=True
            )
            self.assertEqual(killed.returncode, 0, killed.stderr)
            for connection in connections:
                self.assertRaises(ConnectionError, connection.recv, 1)
            self.go_on(umd, calls)

    def test_no_more_file_descriptors(self) -> None:
        """Open connections are served, umd does not spin, and it recovers afterwards."""
        limit = (
            "import os, resource, sys;"
            f"resource.setrlimit(resource.RLIMIT_NOFILE, ({DESCRIPTORS}, {DESCRIPTORS}));"
            "os.execv(sys.argv[1], sys.argv[1:])"
        )
        with self.umd(launcher=[sys.executable, "-c", limit]) as umd:
            calls = [self.place(umd) for _ in range(4)]
            good = self.connect(umd)
            self.assertIn(b"ended", self.ask_on(good, calls[0]))
            flood = [self.connect(umd) for _ in range(3 * DESCRIPTORS)]
            self.until(lambda: self.descriptors(umd) >= DESCRIPTORS - 2)
            before, began = self.processor(umd), time.monotonic()
            for call in calls[1:]:
                self.assertIn(b"ended", self.ask_on(good, call))
                time.sleep(0.5)
            used, took = self.processor(umd) - before, time.monotonic() - began
            self.assertLess(used, took / 2, "a busy loop")
            for connection in flood:
                connection.close()
            self.until(lambda: self.descriptors(umd) < DESCRIPTORS / 2)
            self.go_on(umd, calls)

    def ask_on(self, connection: socket.socket, call: str) -> bytes:
        """Send a Disconnect on a persistent connection, and return the outcome."""
        self.log.ask(call)
        connection.sendall(post(call))
        answer = b""
        while b"</soap:Envelope>" not in answer:
            octets = connection.recv(65535)
            self.assertTrue(octets, answer)
            answer += octets
        outcome = re.search(rb"X-UMD-Outcome: (\S+)", answer)
        assert outcome is not None
        self.log.tell(call, outcome[1].decode())
        return outcome[1]

    def descriptors(self, umd: UmdProcess) -> int:
        return len(os.listdir(f"/proc/{umd.process.pid}/fd"))

    def processor(self, umd: UmdProcess) -> float:
        """Return the processor time that umd has used, in seconds."""
        fields = Path(f"/proc/{umd.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
