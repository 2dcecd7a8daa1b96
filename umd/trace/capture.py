"""
The last SIP messages that crossed, for whoever asks: a ring that forgets the oldest.

What crosses is only remembered, by reference; it is looked into, and becomes octets, when somebody
asks. So the ring costs each message the time of one tuple, and the memory that the message has.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import TypeAlias

from umd.sip.message import Message, MessageError, Request, Response
from umd.sip.transaction import Hop
from umd.trace.ladder import Step

Captured: TypeAlias = tuple[float, Hop, Hop, Message]
"""`(wall time, source, target, message)`; a bare tuple, since one is made for every message."""


class Capture:
    """
    Remembers messages; hand its `tap` to whoever carries them.

    Args:
        size: how many.
        wall: the time they are stamped with, seconds since the epoch.
    """

    def __init__(self, size: int, wall: Callable[[], float]) -> None:
        self.size = size
        self._ring: deque[Captured] = deque(maxlen=size)
        self.tap = _tap(self._ring, wall)
        """Call it with the source, the target and the message, as the message crosses."""

    def messages(self) -> list[Captured]:
        """What is remembered, in the order it crossed; the list is the caller's."""
        return list(self._ring)


def _tap(
    ring: deque[Captured], wall: Callable[[], float]
) -> Callable[[Hop, Hop, Message], None]:
    append = ring.append

    def tap(source: Hop, target: Hop, message: Message) -> None:
        append((wall(), source, target, message))

    return tap


def sip_call_id(message: Message) -> str:
    """
    The Call-ID of a message, "" where it has none.

    It leaves nothing behind in the message, which `message.get` does: thousands are asked here.
    """
    for name, value in message.headers:
        if name == "Call-ID":
            return value
    return ""


def steps(captured: Iterable[Captured]) -> list[Step]:
    """
    The messages of a call in the words of a ladder, retransmissions counted.

    A message is one when the same went the same way before: same branch of the topmost Via, same
    CSeq, same method or status (RFC 3261 §17.1.3); and the same To tag and body, as forks answer
    in one transaction, and a far end that rings may describe its session anew.
    """
    seen: dict[tuple[object, ...], int] = {}
    found = []
    for at, source, target, message in captured:
        request = message if isinstance(message, Request) else None
        response = message if isinstance(message, Response) else None
        what = request.method if request else response.status if response else ""
        branch, cseq = _branch(message), message.get("CSeq") or ""
        key = (source, target, branch, cseq, what, message.get("To"), message.body)
        before = seen.get(key, 0)
        seen[key] = before + 1
        found.append(
            Step(
                at=at,
                source=end_name(source),
                target=end_name(target),
                transport=source.transport,
                sip_call_id=clean(sip_call_id(message)),
                start_line=clean(message.start_line),
                method=clean(request.method) if request else None,
                status=response.status if response else None,
                reason=clean(response.reason) if response else "",
                cseq=clean(cseq),
                branch=clean(branch),
                sdp=_has_sdp(message),
                retransmission=before,
            )
        )
    return found


def octets(message: Message) -> bytes | None:
    """The message as it is on a wire; None when it cannot be written there."""
    try:
        return message.octets()
    except MessageError:
        return None


def clean(text: str) -> str:
    """Header text without the octets that were no UTF-8, as JSON can have it."""
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
    """An end of a message, as `host:port`."""
    host = hop.host
    return f"[{host}]:{hop.port}" if ":" in host and host[0] != "[" else f"{host}:{hop.port}"
