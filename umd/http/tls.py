"""TLS below HTTP: what umd shows and accepts, and why a handshake failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from OpenSSL import SSL, crypto
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, IProtocolFactory
from twisted.protocols.tls import (
    BufferingTLSTransport,
    TLSMemoryBIOFactory,
    TLSMemoryBIOProtocol,
)
from twisted.python.failure import Failure
from zope.interface import implementer

PROTOCOLS: Final = (b"http/1.1", b"http/1.0")
"""What umd speaks, in the words of ALPN, the better first (RFC 7301 section 6)."""
CIPHERS: Final = (
    b"ECDH+AESGCM:ECDH+CHACHA20:DH+AESGCM:DH+CHACHA20:ECDH+AES256:DH+AES256:ECDH+AES128:DH+AES:"
    b"RSA+AESGCM:RSA+AES:!aNULL:!MD5:!DSS"
)
"""For TLS 1.2: forward secrecy and AEAD first; the others for old clients of .NET and Java."""


_CODES: Final = SSL.X509VerificationCodes
_UNKNOWN_CA: Final = "client certificate of unknown ca"
_CLIENT_CERTIFICATE: Final = {
    _CODES.ERR_CERT_HAS_EXPIRED: "client certificate expired",
    _CODES.ERR_CERT_NOT_YET_VALID: "client certificate not yet valid",
    _CODES.ERR_DEPTH_ZERO_SELF_SIGNED_CERT: _UNKNOWN_CA,
    _CODES.ERR_SELF_SIGNED_CERT_IN_CHAIN: _UNKNOWN_CA,
    _CODES.ERR_UNABLE_TO_GET_ISSUER_CERT: _UNKNOWN_CA,
    _CODES.ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY: _UNKNOWN_CA,
    _CODES.ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE: _UNKNOWN_CA,
}
"""Reasons by the code of OpenSSL; of the others the code itself is told."""
_UNTRUSTED: Final = "the client does not trust tls.certificate; does its file hold the whole chain?"
_HINTS: Final = {
    "http request": "use https://",
    "bad certificate": _UNTRUSTED,
    "certificate unknown": _UNTRUSTED,
    "unknown ca": _UNTRUSTED,
}


@dataclass(frozen=True, slots=True)
class HandshakeFailure:
    """Why a client got no TLS."""

    reason: str
    """In a few words that stay the same: those of OpenSSL, or umd's own."""
    by: Literal["client", "umd"]
    """Who gave up."""

    @property
    def hint(self) -> str:
        """What to do about it, where that is known."""
        return _HINTS.get(self.reason, "")


TIMED_OUT: Final = HandshakeFailure("timed out", "umd")
CLOSED: Final = HandshakeFailure("closed during handshake", "client")


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What umd shows to clients, and what it wants to see of them."""

    chain: tuple[x509.Certificate, ...]
    """Its own certificate, then those that lead to an authority."""
    key: PrivateKeyTypes
    client_authorities: tuple[x509.Certificate, ...] = ()
    """Who signs the certificates of clients; without any, no client is asked for one."""
    client_required: bool = False


class NoApplicationProtocol(SSL.Error):
    """The client offers protocols by ALPN, and umd speaks none of them."""


def make_context(credentials: Credentials) -> SSL.Context:
    """
    Everything that new connections have in common. TLS 1.2 is the least, and nothing is resumed.

    Raises:
        SSL.Error: OpenSSL does not take the certificate or the key.
    """
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(
        SSL.OP_NO_COMPRESSION
        | SSL.OP_CIPHER_SERVER_PREFERENCE
        | SSL.OP_NO_TICKET
        | SSL.OP_NO_RENEGOTIATION
    )
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_cipher_list(CIPHERS)
    own, *others = credentials.chain
    context.use_certificate(own)
    context.use_privatekey(credentials.key)  # type: ignore[arg-type]  # it refuses other kinds
    context.check_privatekey()
    for certificate in others:
        context.add_extra_chain_cert(certificate)
    if credentials.client_authorities:
        store = context.get_cert_store()
        assert store is not None
        for authority in credentials.client_authorities:
            store.add_cert(crypto.X509.from_cryptography(authority))
        required = SSL.VERIFY_FAIL_IF_NO_PEER_CERT if credentials.client_required else 0
        # One that is shown must be good, whether it is demanded or not.
        context.set_verify(SSL.VERIFY_PEER | required, _check_client)
        context.set_session_id(b"umd")
    context.set_alpn_select_callback(_choose_protocol)
    return context


def _choose_protocol(connection: SSL.Connection, offered: Sequence[bytes]) -> bytes:
    """
    Answer a client's ALPN offer; a client that makes none is not asked about here.

    Raises:
        NoApplicationProtocol: OpenSSL then sends the alert of this name (RFC 7301 section 3.2).
    """
    for protocol in PROTOCOLS:
        if protocol in offered:
            return protocol
    raise NoApplicationProtocol([("", "", "no application protocol")])


def _check_client(
    connection: SSL.Connection, certificate: crypto.X509, error: int, depth: int, good: int
) -> bool:
    if not good:
        connection.set_app_data(error)  # for `handshake_failure`
    return bool(good)


def handshake_failure(transport: TlsTransport, reason: Failure) -> HandshakeFailure:
    """
    Find out why a handshake failed.

    Args:
        reason: that Twisted gives for the loss of the connection.
    """
    error = reason.value
    queue = error.args[0] if isinstance(error, SSL.Error) and error.args else ()
    if not queue:
        return CLOSED
    # Tuples of library, function and reason, that which came first in front.
    words = queue[0][2]
    _, alert, told = words.partition(" alert ")
    if alert:
        return HandshakeFailure(told, "client")
    if words == "peer did not return a certificate":
        words = "client certificate missing"
    elif words == "certificate verify failed":
        code = transport.getHandle().get_app_data()
        words = _CLIENT_CERTIFICATE.get(code, f"client certificate not valid, X.509 error {code}")
    return HandshakeFailure(words, "umd")


class TlsTransport(BufferingTLSTransport):
    """TLS that knows whether the client has sent anything at all."""

    heard = False

    def dataReceived(self, data: bytes) -> None:
        self.heard = True
        super().dataReceived(data)


class _TlsFactory(TLSMemoryBIOFactory):
    protocol = TlsTransport


@implementer(IOpenSSLServerConnectionCreator)
class TlsServer:
    """
    Makes the TLS side of connections.

    Args:
        context: by `make_context`; may be replaced, which is for connections to come.
    """

    def __init__(self, context: SSL.Context) -> None:
        self.context = context

    def serverConnectionForTLS(self, protocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """See `IOpenSSLServerConnectionCreator`."""
        return SSL.Connection(self.context, None)

    def wrap(self, factory: IProtocolFactory) -> TLSMemoryBIOFactory:
        """A factory that speaks TLS below another."""
        return _TlsFactory(self, False, factory)
