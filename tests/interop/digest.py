"""
Calls whose every request is challenged, and whose nonces are stale after a second.

    python -m tests.interop.digest --calls 1000

umd's SIP backend calls SIPp, Kamailio with SIPp behind it, and Asterisk, alone and behind Kamailio,
a quarter of the calls each. Each call is answered, sends a re-INVITE when its nonce is stale, and
ends by BYE when it is stale again.

SIPp challenges INVITE, re-INVITE and BYE with 401; Kamailio all of them with 407, and the BYE with
401 too. Asterisk challenges INVITE with 401 and nothing in a dialog.

Exit status 0: each call ended as umd asked for, and is down by the far end's own log.
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
"""Seconds until a nonce is certainly stale: Kamailio counts whole seconds."""
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
    """What the calls to one peer came to."""

    calls: int
    ends: Counter[str]
    """How many calls ended how, by umd's account; a good one as `200`."""
    challenges: Counter[str]
    """By status and method: `401 BYE`."""
    stale: int
    """Challenges that said so."""
    down: int
    """Calls that are down by the far end's own log."""

    @property
    def failed(self) -> int:
        """Calls that did not end as asked for, or are not down."""
        return max(self.calls - self.ends["200"], self.calls - self.down)

    def __str__(self) -> str:
        told = ", ".join(f"{number} x {what}" for what, number in sorted(self.challenges.items()))
        return (
            f"{self.calls} calls, ended {dict(self.ends)}; challenges: {told}; {self.stale} stale; "
            f"down at the far end: {self.down}"
        )


class Calls(LegSink):
    """Keeps `at_once` calls up until `calls` have ended."""

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
        """Legs whose re-INVITE has not been answered."""

    def begin(self) -> None:
        """Place the first ones."""
        for _ in range(min(self._at_once, self._to_place)):
            self._place()

    def saw(self, source: Hop, target: Hop, message: Message) -> None:
        """A message has crossed."""
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
        raise AssertionError("it was never down")

    def _place(self) -> None:
        self._to_place -= 1
        self.backend.place(LegId(f"digest-{self._to_place}@{self._number}"), self._number)

    def _reinvite(self, leg: LegId) -> None:
        # The backend itself offers no change of a call: by way of its session.
        assert self.backend._legs is not None and self.backend.port is not None
        dialog = self.backend._legs.dialog_of(leg)
        if dialog is None:
            return  # it has ended
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
    Place and end so many calls.

    Args:
        port: of the peer.
        number: what is dialled.
        down: how many calls are down, by the log of the far end.
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
    for _ in range(50):  # the log of a far end may be written a moment later
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
    """SIPp challenges."""
    far = FarEnd(directory / "far", CHALLENGES)
    try:
        far.start()
        return await run(
            reactor, directory, far.port, "callee", lambda: _byes(far), **keywords
        )
    finally:
        far.stop()


async def with_kamailio(reactor: Any, directory: Path, **keywords: Any) -> Figures:
    """Kamailio challenges; the far end is behind it."""
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
    """Asterisk challenges; "down": it answered the BYE, and has no channel any more."""
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
    """Kamailio and Asterisk behind it challenge."""
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
    return sum(line.what == "BYE" for line in far.log())


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
