"""
Session descriptions of a user agent without media: a stream that neither end sends on.

`a=inactive` says it as it is (RFC 8866 §6.7). The port is 9, discard, for who sends all the same; 0
would refuse the stream, and the call with it.
"""

from __future__ import annotations

from typing import Final

from umd.sip import sdp
from umd.sip.sdp import Direction, SdpError
from umd.sip.session import Session

DISCARD: Final = 9


class Silence:
    """
    Offers and answers.

    Args:
        address: ours, for the c= line; a name stands there as well as a number.
        first_id: of the first description; each has the next one.
    """

    def __init__(self, address: str, first_id: int) -> None:
        self._address = address.strip("[]")
        self._next_id = first_id

    def offer(self) -> bytes:
        """The offer of a new call."""
        self._next_id += 1
        return sdp.offer(
            address=self._address,
            port=DISCARD,
            session_id=self._next_id,
            direction=Direction.INACTIVE,
        ).encode()

    def answer(self, session: Session, offer: bytes) -> bytes | None:
        """The answer to a changed offer; None when there is nothing in it that we could take."""
        if not offer:
            return session.local_body or self.offer()
        try:
            offered = sdp.parse(offer)
            if not session.local_body:
                return self._answer(offered, 0, 1)
            last = sdp.parse(session.local_body)
            return self._answer(offered, last.session_id, last.version + 1)
        except SdpError:
            return None

    def _answer(self, offered: sdp.Description, session_id: int, version: int) -> bytes:
        description, _ = sdp.answer(
            offered,
            address=self._address,
            port=DISCARD,
            session_id=session_id,
            version=version,
            direction=Direction.INACTIVE,
        )
        return description.encode()
