"""TLS below HTTP: certificates, versions and ciphers, and the reasons of failed handshakes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

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

from umd.http.handshake import CLOSED, HandshakeFailure

ALPN_PROTOCOLS: Final = (b"http/1.1", b"http/1.0")
"""Protocols that umd speaks, the preferred one first (RFC 7301 section 6)."""
CIPHERS: Final = (
    b"ECDH+AESGCM:ECDH+CHACHA20:DH+AESGCM:DH+CHACHA20:ECDH+AES256:DH+AES256:ECDH+AES128:DH+AES:"
    b"RSA+AESGCM:RSA+AES:!aNULL:!MD5:!DSS"
)
"""For TLS 1.2: forward secrecy and AEAD first; the others for old clients of .NET and Java."""

_CODES: Final = SSL.X509VerificationCodes
_UNKNOWN_CA: Final = "client certificate of unknown ca"
_CLIENT_CERTIFICATE_REASONS: Final = {
    _CODES.ERR_CERT_HAS_EXPIRED: "client certificate expired",
    _CODES.ERR_CERT_NOT_YET_VALID: "client certificate not yet valid",
    _CODES.ERR_DEPTH_ZERO_SELF_SIGNED_CERT: _UNKNOWN_CA,
    _CODES.ERR_SELF_SIGNED_CERT_IN_CHAIN: _UNKNOWN_CA,
    _CODES.ERR_UNABLE_TO_GET_ISSUER_CERT: _UNKNOWN_CA,
    _CODES.ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY: _UNKNOWN_CA,
    _CODES.ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE: _UNKNOWN_CA,
}
"""Reasons by OpenSSL's error code. For other codes the reason has the code itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """The certificate that umd shows, and the certificates that it accepts from clients."""

    chain: tuple[x509.Certificate, ...]
    """umd's own certificate, then the intermediate certificates."""
    key: PrivateKeyTypes
    client_authorities: tuple[x509.Certificate, ...] = ()
    """Authorities of client certificates. Without any, umd asks no client for a certificate."""
    client_required: bool = False
    """Whether the handshake fails without a client certificate."""


class NoApplicationProtocol(SSL.Error):
    """The client offers protocols in ALPN, and umd speaks none of them."""


def make_context(credentials: Credentials) -> SSL.Context:
    """
    Make the context of new connections: TLS 1.2 or 1.3, without session resumption.

    Raises:
        SSL.Error: OpenSSL rejects the certificate or the key.
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
    own, *intermediates = credentials.chain
    context.use_certificate(own)
    context.use_privatekey(credentials.key)  # type: ignore[arg-type]  # it raises for other kinds
    context.check_privatekey()
    for certificate in intermediates:
        context.add_extra_chain_cert(certificate)
    if credentials.client_authorities:
        store = context.get_cert_store()
        assert store is not None
        for authority in credentials.client_authorities:
            store.add_cert(crypto.X509.from_cryptography(authority))
        required = SSL.VERIFY_FAIL_IF_NO_PEER_CERT if credentials.client_required else 0
        # A certificate that the client sends must be valid even if it is not required.
        context.set_verify(SSL.VERIFY_PEER | required, _check_client)
        context.set_session_id(b"umd")
    context.set_alpn_select_callback(_choose_protocol)
    return context


def _choose_protocol(connection: SSL.Connection, offered: Sequence[bytes]) -> bytes:
    """
    Choose a protocol from a client's ALPN offer. OpenSSL does not call this without an offer.

    Raises:
        NoApplicationProtocol: OpenSSL then sends no_application_protocol (RFC 7301 section 3.2).
    """
    for protocol in ALPN_PROTOCOLS:
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
    Return why a handshake failed.

    Args:
        transport: of the connection that is lost.
        reason: the failure that Twisted passes to `connectionLost`.
    """
    error = reason.value
    queue = error.args[0] if isinstance(error, SSL.Error) and error.args else ()
    if not queue:
        return CLOSED
    # Tuples of library, function and reason. The first error is the cause of the others.
    words = queue[0][2]
    _, alert, alert_name = words.partition(" alert ")
    if alert:
        return HandshakeFailure(alert_name, "client")
    if words == "peer did not return a certificate":
        words = "client certificate missing"
    elif words == "certificate verify failed":
        code = transport.getHandle().get_app_data()
        words = _CLIENT_CERTIFICATE_REASONS.get(
            code, f"client certificate not valid, X.509 error {code}"
        )
    return HandshakeFailure(words, "umd")


class TlsTransport(BufferingTLSTransport):
    """A TLS transport that knows whether the client has sent any octet."""

    data_seen = False

    def dataReceived(self, data: bytes) -> None:
        self.data_seen = True
        super().dataReceived(data)


class _TlsFactory(TLSMemoryBIOFactory):
    protocol = TlsTransport


@implementer(IOpenSSLServerConnectionCreator)
class TlsServer:
    """
    Wraps a protocol factory in TLS.

    Args:
        context: from `make_context`. A new one may be set; it holds for new connections.
    """

    def __init__(self, context: SSL.Context) -> None:
        self.context = context

    def serverConnectionForTLS(self, protocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """See `IOpenSSLServerConnectionCreator`."""
        return SSL.Connection(self.context, None)

    def wrap(self, factory: IProtocolFactory) -> TLSMemoryBIOFactory:
        """Return a factory whose connections speak TLS below those of another factory."""
        return _TlsFactory(self, False, factory)
