"""
Places calls to peers that challenge every request, with nonces that are stale after a second.

    python -m tests.interop.digest --calls 1000

The backend `sip` calls SIPp, Kamailio with SIPp behind it, and Asterisk, alone and behind Kamailio:
a quarter of the calls each. Each call is answered. umd sends a re-INVITE when the nonce is stale,
and a BYE when it is stale again.

SIPp challenges INVITE, re-INVITE and BYE with 401. Kamailio challenges them with 407, and the BYE
also with 401. Asterisk challenges INVITE with 401, and no request in a dialog.

The exit status is 0 if each call ended by the BYE of umd, also according to the log of the far end.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater, react

from tests.interop.peers.asterisk import Asterisk
from tests.interop.peers.kamailio import Kamailio
from tests.interop.peers.process import LOOPBACK
from tests.interop.peers.scenario import PASSWORD
from tests.interop.peers.sipp import FarEnd
from umd.backend import Answered, Ended, LegEvent, LegId, LegSink
from umd.backends.sip import SipBackend, SipSection
from umd.call.cause import Cause, EndedBy
from umd.runtime.clock import make_monotonic
from umd.sip.message import Message, Response
from umd.sip.session import Session
from umd.sip.transaction import Hop

STALE: Final = 2.2
"""Seconds until a nonce is certainly stale; Kamailio counts in full seconds."""
CLIENT: Final = Cause(by=EndedBy.CLIENT)
CHALLENGES: Final = """
    ! INVITE
    > 180 INVITE
    > 200 INVITE
    < ACK
    ! INVITE
    > 200 INVITE
    < ACK
    ! BYE
    > 200 BYE
"""
TALKS: Final = CHALLENGES.replace("!", "<")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The results of the calls to one peer."""

    calls: int
    ends: Counter[str]
    """The number of calls by their end, as umd reports it; `200` for a successful call."""
    challenges: Counter[str]
    """The number of challenges by status and method: `401 BYE`."""
    stale: int
    """Challenges with stale=true."""
    down: int
    """Calls that have ended according to the log of the far end."""

    @property
    def failed(self) -> int:
        """Calls that did not end by the BYE of umd, or have not ended at the far end."""
        return max(self.calls - self.ends["200"], self.calls - self.down)

    def __str__(self) -> str:
        counts = sorted(self.challenges.items())
        challenges = ", ".join(f"{number} x {challenge}" for challenge, number in counts)
        return (
            f"{self.calls} calls, ended {dict(self.ends)}; challenges: {challenges}; "
            f"{self.stale} stale; ended at the far end: {self.down}"
        )


class Calls(LegSink):
    """Keeps `at_once` calls live until `calls` have ended."""

    def __init__(self, reactor: Any, number: str, calls: int, at_once: int) -> None:
        self.ends: Counter[str] = Counter()
        self.challenges: Counter[str] = Counter()
        self.stale = 0
        self.done: Deferred[None] = Deferred()
        self.backend: SipBackend
        self._reactor = reactor
        self._number = number
        self._to_place = self._to_end = calls
        self._at_once = at_once
        self._changing: set[str] = set()
        """Legs whose re-INVITE has no answer yet."""

    def begin(self) -> None:
        """Place the first calls."""
        for _ in range(min(self._at_once, self._to_place)):
            self._place()

    def saw(self, source: Hop, target: Hop, message: Message) -> None:
        """Count the challenges; hang up when a re-INVITE is answered and the nonce is stale."""
        if not isinstance(message, Response):
            return
        status, method = message.status, message.cseq_method
        if status in (401, 407):
            self.challenges[f"{status} {method}"] += 1
            field = message.get("WWW-Authenticate" if status == 401 else "Proxy-Authenticate")
            self.stale += "stale=true" in (field or "").lower()
        elif method == "INVITE" and status == 200 and message.call_id in self._changing:
            self._changing.remove(message.call_id)
            leg = LegId(message.call_id)
            self._reactor.callLater(STALE, self.backend.hang_up, leg, CLIENT)

    def leg_event(self, event: LegEvent) -> None:
        if isinstance(event, Answered):
            self._reactor.callLater(STALE, self._reinvite, event.leg)
        elif isinstance(event, Ended):
            cause = event.cause
            good = event.confirmed and cause.by is EndedBy.CLIENT
            self.ends[f"{cause.sip_status}" if good else f"{cause}, {event.confirmed}"] += 1
            self._to_end -= 1
            if self._to_place:
                self._place()
            elif not self._to_end:
                self.done.callback(None)

    def backend_down(self, reason: str) -> None:
        raise AssertionError(reason)

    def backend_up(self) -> None:
        raise AssertionError("the backend was never down")

    def _place(self) -> None:
        self._to_place -= 1
        self.backend.place(LegId(f"digest-{self._to_place}@{self._number}"), self._number)

    def _reinvite(self, leg: LegId) -> None:
        # The backend has no operation that sends a re-INVITE; its session has.
        assert self.backend._legs is not None and self.backend.port is not None
        dialog = self.backend._legs.dialog_of(leg)
        if dialog is None:
            return  # the call has ended
        session = dialog.owner
        assert isinstance(session, Session)
        self._changing.add(leg)
        session._send_in_dialog(
            dialog,
            "INVITE",
            self._reactor.seconds(),
            contact=self.backend._legs.endpoint.contact,
            body=session.local_body,
        )
        self.backend.port.pump()


async def run(
    reactor: Any,
    directory: Path,
    port: int,
    number: str,
    down: Callable[[], int],
    *,
    calls: int,
    at_once: int,
    from_: str = "",
) -> Figures:
    """
    Place and end calls to one peer.

    Args:
        port: the port of the peer.
        number: the number to dial.
        down: returns the number of calls that have ended according to the log of the far end.
    """
    password = directory / "password"
    password.write_text(f"{PASSWORD}\n")
    section = {
        "listen": f"udp:{LOOPBACK}:0",
        "peer": f"udp:{LOOPBACK}:{port}",
        "username": "umd",
        "password_file": str(password),
    }
    if from_:
        section["from"] = from_
    load = Calls(reactor, number, calls, at_once)
    load.backend = backend = SipBackend("pbx", SipSection.model_validate(section), reactor)
    backend.capture_to(load.saw)
    await backend.start(load)
    try:
        load.begin()
        await load.done
    finally:
        await backend.stop()
    for _ in range(50):  # the far end may write its log a moment later
        if down() >= calls:
            break
        await deferLater(reactor, 0.1)
    return Figures(
        calls=calls,
        ends=load.ends,
        challenges=load.challenges,
        stale=load.stale,
        down=down(),
    )


async def with_sipp(reactor: Any, directory: Path, **keywords: Any) -> Figures:
    """Call SIPp, which challenges each request."""
    far = FarEnd(directory / "far", CHALLENGES)
    try:
        far.start()
        return await run(
            reactor, directory, far.port, "callee", lambda: _byes(far), **keywords
        )
    finally:
        far.stop()


async def with_kamailio(reactor: Any, directory: Path, **keywords: Any) -> Figures:
    """Call SIPp through Kamailio, which challenges each request."""
    far = FarEnd(directory / "far", TALKS)
    proxy = Kamailio(directory / "proxy", password=PASSWORD)
    try:
        far.start()
        proxy.start()
        number = f"sip:callee@{LOOPBACK}:{far.port}"
        return await run(reactor, directory, proxy.port, number, lambda: _byes(far), **keywords)
    finally:
        proxy.stop()
        far.stop()


async def with_asterisk(
    reactor: Any, directory: Path, *, proxy: Kamailio | None = None, **keywords: Any
) -> Figures:
    """Call Asterisk, which challenges INVITE; a call has ended if its channel is gone."""
    asterisk = Asterisk(directory / "asterisk", password=PASSWORD)

    def down() -> int:
        if asterisk.channels():
            return 0
        return sum(lines[-1] == "> 200 BYE" for lines in asterisk.lines_by_call().values())

    try:
        asterisk.start()
        asterisk.trace()
        port, number = asterisk.port, "answer"
        if proxy is not None:
            port, number = proxy.port, f"sip:answer@{LOOPBACK}:{asterisk.port}"
        from_ = f"sip:digest@{LOOPBACK}"
        return await run(reactor, directory, port, number, down, from_=from_, **keywords)
    finally:
        asterisk.stop()


async def with_both(reactor: Any, directory: Path, **keywords: Any) -> Figures:
    """Call Asterisk through Kamailio; both challenge."""
    proxy = Kamailio(directory / "proxy", password=PASSWORD)
    try:
        proxy.start()
        return await with_asterisk(reactor, directory, proxy=proxy, **keywords)
    finally:
        proxy.stop()


PEERS: Final = {
    "SIPp": with_sipp,
    "Kamailio": with_kamailio,
    "Asterisk": with_asterisk,
    "Kamailio and Asterisk": with_both,
}


def _byes(far: FarEnd) -> int:
    return sum(line.message == "BYE" for line in far.log())


async def main(reactor: Any) -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    arguments.add_argument("--calls", type=int, default=30)
    arguments.add_argument("--at-once", type=int, default=50)
    given = arguments.parse_args()
    make_monotonic(reactor)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    failed = 0
    for index, (peer, with_peer) in enumerate(PEERS.items()):
        calls = (given.calls + index) // len(PEERS)
        directory = Path(tempfile.mkdtemp(prefix="umd-digest-"))
        try:
            figures = await with_peer(reactor, directory, calls=calls, at_once=given.at_once)
        finally:
            shutil.rmtree(directory, ignore_errors=True)
        print(f"{peer}: {figures}", flush=True)
        failed += figures.failed
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
