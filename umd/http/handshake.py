"""Why a TLS handshake failed: the words for it, without OpenSSL, which only TLS itself loads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

_UNTRUSTED: Final = "the client does not trust tls.certificate; does its file hold the whole chain?"
_HINTS: Final = {
    "http request": "use https://",
    "bad certificate": _UNTRUSTED,
    "certificate unknown": _UNTRUSTED,
    "unknown ca": _UNTRUSTED,
}


@dataclass(frozen=True, slots=True)
class HandshakeFailure:
    """Why a TLS handshake failed."""

    reason: str
    """A fixed phrase, OpenSSL's or umd's own."""
    by: Literal["client", "umd"]
    """The side that ended the handshake."""

    @property
    def hint(self) -> str:
        """What the operator or the client can do; empty if umd has no advice."""
        return _HINTS.get(self.reason, "")


TIMED_OUT: Final = HandshakeFailure("timed out", "umd")
CLOSED: Final = HandshakeFailure("closed during handshake", "client")
