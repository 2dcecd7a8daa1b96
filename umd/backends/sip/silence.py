"""
Session descriptions of a user agent without media: a stream that neither end sends on.

`a=inactive` says it as it is (RFC 8866 §6.7). The port is 9, discard, for who sends all the same; 0
would refuse the stream, and the call with it.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from umd.sip import sdp
from umd.sip.sdp import Direction, SdpError
from umd.sip.session import Session

DISCARD: Final = 9


def session_id_of(call_id: str) -> int:
    """
    The session id of an o= line (RFC 8866 §5.2), the same for a SIP Call-ID at all times.

    31 bits, since some peers read it into a signed word.
    """
    digest = blake2b(call_id.encode("utf-8", "surrogateescape"), digest_size=4).digest()
    return int.from_bytes(digest, "big") >> 1


class Silence:
    """
    Offers and answers.

    Args:
        address: ours, for the c= line; a name stands there as well as a number.
    """

    def __init__(self, address: str) -> None:
        self._address = address.strip("[]")

    def offer(self, call_id: str) -> bytes:
        """The offer of a call; after a restart the same again, for the same INVITE again."""
        return sdp.offer(
            address=self._address,
            port=DISCARD,
            session_id=session_id_of(call_id),
            direction=Direction.INACTIVE,
        ).encode()

    def answer(self, session: Session, offer: bytes) -> bytes | None:
        """The answer to a changed offer; None when there is nothing in it that we could take."""
        if not offer:
            return session.local_body or self.offer(session.call_id)
        try:
            offered = sdp.parse(offer)
            if not session.local_body:
                return self._answer(offered, session_id_of(session.call_id), 1)
            last = sdp.parse(session.local_body)
            return self._answer(offered, last.session_id, last.version + 1)
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
            port=DISCARD,
            session_id=session_id,
            version=version,
            direction=Direction.INACTIVE,
        )
        return description.encode()
