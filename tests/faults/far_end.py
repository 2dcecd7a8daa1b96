"""
A SIP far end that survives umd and logs every request that it receives.

It does not use umd's SIP code, so that it does not share its bugs. The last four digits of the
number decide what it does: 0180 rings forever, 0115 rings for 0.2 s and answers, 0199 answers and
takes two seconds to answer a BYE, and all others answer at once.

    python -m tests.faults.far_end DESCRIPTOR LOG
"""

from __future__ import annotations

import heapq
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Final

RINGS_FOR: Final = 0.2  # seconds
SLOW_BY: Final = 2.0  # seconds
T1: Final = 0.5  # seconds, RFC 3261 §17.1.1.1
T2: Final = 4.0
SDP: Final = (
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    "m=audio 9 RTP/AVP 0\r\na=inactive\r\n"
)
OK: Final = "200 OK"
NO_SUCH_CALL: Final = "481 Call/Transaction Does Not Exist"
Address = tuple[str, int]


class Request:
    """The parts of a request that a far end looks at."""

    def __init__(self, octets: bytes) -> None:
        head = octets.partition(b"\r\n\r\n")[0].decode("latin-1")
        first, *lines = head.split("\r\n")
        self.method, self.uri, _ = first.split(" ", 2)
        self.lines = [(name.strip(), value.strip()) for name, _, value in
                      (line.partition(":") for line in lines)]  # fmt: skip
        self.call_id = self.value("Call-ID")
        self.branch = _parameter(self.value("Via"), "branch")
        self.cseq = int(self.value("CSeq").split()[0])
        self.from_tag = _parameter(self.value("From"), "tag")
        self.to_tag = _parameter(self.value("To"), "tag")

    def value(self, wanted: str) -> str:
        return next((v for name, v in self.lines if name.lower() == wanted.lower()), "")

    def answer(self, status: str, tag: str, contact: str = "", body: str = "") -> bytes:
        copied = [f"{n}: {v}" for n, v in self.lines if n.lower() in ("via", "from", "call-id",
                  "cseq", "record-route")]  # fmt: skip
        to = self.value("To") + ("" if self.to_tag else f";tag={tag}")
        lines = [f"SIP/2.0 {status}", *copied, f"To: {to}"]
        if contact:
            lines.append(f"Contact: <{contact}>")
        if body:
            lines.append("Content-Type: application/sdp")
        lines.append(f"Content-Length: {len(body)}")
        return ("\r\n".join(lines) + "\r\n\r\n" + body).encode("latin-1")


def _parameter(value: str, name: str) -> str:
    found = re.search(rf";\s*{name}=([^;,\s>]+)", value)
    return found[1] if found else ""


@dataclass
class Leg:
    """One call, as the far end sees it."""

    invite: Request
    peer: Address
    tag: str
    state: str = "ringing"
    """ringing, answered, confirmed (the ACK has come), over"""
    last: bytes = b""
    """The last response to the INVITE."""
    answers: dict[str, bytes] = field(default_factory=dict)
    """The response to each BYE, by the branch of the BYE."""


class Server:
    """The process of the far end: one socket, one log, and the responses that are due."""

    def __init__(self, descriptor: int, log: str) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._contact = f"sip:far@127.0.0.1:{self._socket.getsockname()[1]}"
        self._log = open(log, "a", buffering=1)
        self._legs: dict[str, Leg] = {}
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()

    def run(self) -> None:
        while True:
            while self._due and self._due[0][0] <= time.monotonic():
                heapq.heappop(self._due)[2]()
            wait = max(0.0, self._due[0][0] - time.monotonic()) if self._due else None
            self._socket.settimeout(wait or (0.0005 if self._due else None))
            try:
                octets, peer = self._socket.recvfrom(65535)
            except OSError:
                continue
            if octets.startswith(b"SIP/2.0") or not octets.strip():
                continue
            request = Request(octets)
            handle = getattr(self, f"_{request.method.lower()}", None)
            said = None if handle is None else handle(request, peer)
            self._write(request, said)

    def _write(self, request: Request, said: str | None) -> None:
        line = {
            "at": time.monotonic(), "method": request.method, "call": request.call_id,
            "branch": request.branch, "cseq": request.cseq, "said": said,
        }  # fmt: skip
        self._log.write(json.dumps(line) + "\n")

    def _later(self, seconds: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._due, (time.monotonic() + seconds, next(self._numbers), what))

    def _send(self, octets: bytes, peer: Address) -> None:
        if not octets:
            return  # not yet
        try:
            self._socket.sendto(octets, peer)
        except OSError:
            pass  # UDP may lose it

    def _invite(self, request: Request, peer: Address) -> str:
        leg = self._legs.get(request.call_id)
        if leg is not None:
            if request.branch != leg.invite.branch:
                self._send(request.answer("491 Request Pending", leg.tag), peer)
                return "491"
            leg.peer = peer
            self._send(leg.last, peer)
            return "again"
        leg = self._legs[request.call_id] = Leg(request, peer, f"far-{next(self._numbers)}")
        leg.last = request.answer("180 Ringing", leg.tag, self._contact)
        number = re.sub(r"@.*", "", request.uri)
        if number.endswith(("0180", "0115")):
            self._send(leg.last, peer)
            if number.endswith("0115"):
                self._later(RINGS_FOR, lambda: self._pick_up(leg))
            return "180"
        self._pick_up(leg)
        return "200"

    def _pick_up(self, leg: Leg) -> None:
        if leg.state == "ringing":
            leg.state = "answered"
            leg.last = leg.invite.answer(OK, leg.tag, self._contact, SDP)
            self._repeat(leg, T1)

    def _repeat(self, leg: Leg, wait: float) -> None:
        """Send the 200 until the ACK comes."""
        if leg.state == "answered":
            self._send(leg.last, leg.peer)
            self._later(wait, lambda: self._repeat(leg, min(2 * wait, T2)))

    def _ack(self, request: Request, peer: Address) -> None:
        leg = self._legs.get(request.call_id)
        if leg is not None and leg.state == "answered":
            leg.state = "confirmed"

    def _cancel(self, request: Request, peer: Address) -> str:
        leg = self._legs.get(request.call_id)
        if leg is None or leg.invite.branch != request.branch:
            self._send(request.answer(NO_SUCH_CALL, "none"), peer)
            return "481"
        self._send(request.answer(OK, leg.tag), peer)
        if leg.state == "ringing":
            leg.state = "over"
            leg.last = leg.invite.answer("487 Request Terminated", leg.tag)
            self._send(leg.last, peer)
        return "200"

    def _bye(self, request: Request, peer: Address) -> str:
        leg = self._legs.get(request.call_id)
        if leg is None or request.to_tag != leg.tag or request.from_tag != leg.invite.from_tag:
            self._send(request.answer(NO_SUCH_CALL, "none"), peer)
            return "481"
        if request.branch in leg.answers:
            self._send(leg.answers[request.branch], peer)  # a retransmission
        elif "0199@" in leg.invite.uri:
            leg.answers[request.branch] = b""
            self._later(SLOW_BY, lambda: self._write(request, self._hang_up(leg, request, peer)))
        else:
            return self._hang_up(leg, request, peer)
        return leg.answers[request.branch][8:11].decode()

    def _hang_up(self, leg: Leg, request: Request, peer: Address) -> str:
        good = leg.state in ("answered", "confirmed")
        leg.state = "over"
        leg.answers[request.branch] = request.answer(OK if good else NO_SUCH_CALL, leg.tag)
        self._send(leg.answers[request.branch], peer)
        return leg.answers[request.branch][8:11].decode()


class FarEnd:
    """
    A context manager that runs a far end as a process, on a free loopback port.

    Args:
        log: the path of its log, on a disk that does not fail.
    """

    def __init__(self, log: str) -> None:
        self.log = log
        self.port = 0

    def __enter__(self) -> FarEnd:
        Path(self.log).touch()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            taken.bind(("127.0.0.1", 0))
            self.port = taken.getsockname()[1]
            # Requests that come before the process has started wait in the socket.
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.far_end", str(taken.fileno()), self.log],
                stdin=subprocess.DEVNULL,
                cwd=Path(__file__).parent.parent.parent,
                pass_fds=[taken.fileno()],
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.signal(signal.SIGKILL)
        self.process.wait()

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)

    def options(self, port: int) -> list[str]:
        """Return the options that make this far end the peer of umd's backend "pbx"."""
        return [
            "-o", 'backend.pbx.type="sip"',
            "-o", f"backend.pbx.listen=udp:127.0.0.1:{port}",
            "-o", f"backend.pbx.peer=udp:127.0.0.1:{self.port}",
        ]  # fmt: skip

    def heard(self) -> list[dict[str, Any]]:
        """
        Return every request so far, in order: time, method, Call-ID, branch, CSeq, response.

        A request that is answered late is listed a second time, with its response.
        """
        lines = Path(self.log).read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]


if __name__ == "__main__":
    Server(int(sys.argv[1]), sys.argv[2]).run()
