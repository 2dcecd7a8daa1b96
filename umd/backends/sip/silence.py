"""
Session descriptions of a user agent without media: one stream on which neither end sends.

The stream is `a=inactive` (RFC 8866 §6.7). Its port is 9 (discard), for a far end that sends in
spite of that. Port 0 would refuse the stream, and a far end may then refuse the call.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from umd.sip import sdp
from umd.sip.sdp import Direction, SdpError
from umd.sip.session import Session

DISCARD_PORT: Final = 9


def session_id_of(call_id: str) -> int:
    """
    Return the session id of an o= line (RFC 8866 §5.2), always the same for a SIP Call-ID.

    It has 31 bits, since some peers store it in a signed 32-bit integer.
    """
    digest = blake2b(call_id.encode("utf-8", "surrogateescape"), digest_size=4).digest()
    return int.from_bytes(digest, "big") >> 1


class Silence:
    """
    Offers and answers with one inactive stream.

    Args:
        address: the address or host name for the c= line.
    """

    def __init__(self, address: str) -> None:
        self._address = address.strip("[]")

    def offer(self, call_id: str) -> bytes:
        """Return the offer of a call, always the same one, so that an INVITE can be sent again."""
        return sdp.offer(
            address=self._address,
            port=DISCARD_PORT,
            session_id=session_id_of(call_id),
            direction=Direction.INACTIVE,
        ).encode()

    def answer(self, session: Session, offer: bytes) -> bytes | None:
        """Return the answer to an offer in a call; None if the offer cannot be accepted."""
        if not offer:
            return session.local_body or self.offer(session.call_id)
        try:
            offered = sdp.parse(offer)
            if not session.local_body:
                return self._answer(offered, session_id_of(session.call_id), 1)
            current = sdp.parse(session.local_body)
            return self._answer(offered, current.session_id, current.version + 1)
        except SdpError:
            return None

    def _answer(self, offered: sdp.Description, session_id: int, version: int) -> bytes:
        empty = sdp.without_streams(
            offered, address=self._address, session_id=session_id, version=version
        )
        if empty is not None:
            return empty.encode()
        description = sdp.answer(
            offered,
            address=self._address,
            port=DISCARD_PORT,
            session_id=session_id,
            version=version,
            direction=Direction.INACTIVE,
        )
        return description.encode()
