"""
Keeps the latest SIP messages of all calls in memory, and prepares them to be drawn as a ladder.

A message is stored by reference, and nothing is read from it until a call is traced. So each
message costs the time of making one tuple.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import TypeAlias

from umd.sip.message import Message, MessageError, Request, Response
from umd.sip.transaction import Hop
from umd.trace.ladder import LadderStep

CapturedMessage: TypeAlias = tuple[float, Hop, Hop, Message]
"""`(wall time, source, target, message)`; a bare tuple, since one is made for every message."""


class Capture:
    """
    A ring buffer of messages: a new message replaces the oldest. Pass its `tap` to a backend.

    Args:
        size: how many messages it holds.
        wall: returns the wall time of a message, in seconds since the epoch.
    """

    def __init__(self, size: int, wall: Callable[[], float]) -> None:
        self.size = size
        self._ring: deque[CapturedMessage] = deque(maxlen=size)
        self.tap = _make_tap(self._ring, wall)
        """Call it with source, target and message, for each message that is sent or received."""

    def add(self, captured: CapturedMessage) -> None:
        """Take a message that another observer has captured, with the time of that observer."""
        self._ring.append(captured)

    def messages(self) -> list[CapturedMessage]:
        """Return the messages in a new list, the oldest first."""
        return list(self._ring)


def _make_tap(
    ring: deque[CapturedMessage], wall: Callable[[], float]
) -> Callable[[Hop, Hop, Message], None]:
    append = ring.append

    def tap(source: Hop, target: Hop, message: Message) -> None:
        append((wall(), source, target, message))

    return tap


def sip_call_id(message: Message) -> str:
    """
    Return the Call-ID of a message, "" if it has none.

    Unlike `message.get`, this leaves no parsed header in the message: a search reads thousands.
    """
    for name, value in message.headers:
        if name == "Call-ID":
            return value
    return ""


def ladder_steps(captured: Iterable[CapturedMessage]) -> list[LadderStep]:
    """
    Return the steps of a ladder for the messages of one call, with retransmissions counted.

    A message is a retransmission if an earlier one had the same source and target, branch of the
    topmost Via, CSeq, and method or status (RFC 3261 section 17.1.3), and the same To and body. To
    and body count because several forks answer within one transaction, and because a far end that
    rings may send a new session description.
    """
    seen: dict[tuple[object, ...], int] = {}
    steps = []
    for at, source, target, message in captured:
        request = message if isinstance(message, Request) else None
        response = message if isinstance(message, Response) else None
        kind = request.method if request else response.status if response else ""
        branch, cseq = _branch(message), message.get("CSeq") or ""
        key = (source, target, branch, cseq, kind, message.get("To"), message.body)
        earlier = seen.get(key, 0)
        seen[key] = earlier + 1
        steps.append(
            LadderStep(
                at=at,
                source=end_name(source),
                target=end_name(target),
                transport=source.transport,
                sip_call_id=valid_text(sip_call_id(message)),
                start_line=valid_text(message.start_line),
                method=valid_text(request.method) if request else None,
                status=response.status if response else None,
                reason=valid_text(response.reason) if response else "",
                cseq=valid_text(cseq),
                branch=valid_text(branch),
                sdp=_has_sdp(message),
                retransmission=earlier,
            )
        )
    return steps


def message_octets(message: Message) -> bytes | None:
    """Return the message as it is sent; None if it breaks the protocol and cannot be sent."""
    try:
        return message.octets()
    except MessageError:
        return None


def valid_text(text: str) -> str:
    """Return header text with "?" for each octet that was not UTF-8, since JSON has none."""
    return text.encode("utf-8", "replace").decode()


def _branch(message: Message) -> str:
    try:
        return message.via.branch or ""
    except MessageError:
        return message.get("Via") or ""


def _has_sdp(message: Message) -> bool:
    kind = (message.get("Content-Type") or "").lower()
    if kind.startswith("multipart/"):
        return b"application/sdp" in message.body.lower()
    return bool(message.body) and kind.startswith("application/sdp")


def end_name(hop: Hop) -> str:
    """Return the address of a hop as `host:port`, an IPv6 address in brackets."""
    host = hop.host
    return f"[{host}]:{hop.port}" if ":" in host and host[0] != "[" else f"{host}:{hop.port}"
