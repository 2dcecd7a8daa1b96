"""From the settings `[auth]` and `[tls]` to what the HTTP front asks: files are read here."""

from __future__ import annotations

from ipaddress import ip_network

from OpenSSL import SSL, crypto
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, IProtocolFactory
from twisted.internet.ssl import (
    Certificate,
    CertificateOptions,
    PrivateCertificate,
    TLSVersion,
    trustRootFromCertificates,
)
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from zope.interface import implementer

from umd.config import AuthSection, TlsSection, TokenSection
from umd.errors import UmdError
from umd.files import CannotRead, read_file
from umd.http.identity import Rules
from umd.http.passwords import PasswordFile
from umd.http.tokens import Tokens, WrongKey
from umd.principal import Scope


class CannotIdentify(UmdError):
    """A file that tells who is who cannot be used."""


def make_rules(auth: AuthSection) -> Rules:
    """
    Read what `[auth]` names.

    Raises:
        UmdError: a file cannot be used.
    """
    return Rules(
        realm=auth.realm,
        passwords=None if auth.password_file is None else PasswordFile.read(auth.password_file),
        verified_for=auth.verified_for,
        tokens=None if auth.token.key_file is None else _tokens(auth.token, auth.token.key_file),
        subjects=auth.subjects,
        proxies=tuple(ip_network(one) for one in auth.trusted_proxies),
        user_header=auth.user_header.lower(),
        scopes={name: frozenset(map(Scope, scopes)) for name, scopes in auth.scopes.items()},
        default_scopes=frozenset(map(Scope, auth.default_scopes)),
    )


def _tokens(token: TokenSection, key_file: str) -> Tokens:
    issuer = token.issuer or ""  # which goes with key_file
    try:
        return Tokens(
            _read(key_file), token.algorithms, token.audience, issuer, token.name_claim
        )
    except WrongKey as error:
        raise CannotIdentify(f"{key_file}: {error}") from None


def _read(path: str) -> bytes:
    try:
        return read_file(path, 1 << 20)
    except CannotRead as error:
        raise CannotIdentify(f"{path}: {error}") from None


@implementer(IOpenSSLServerConnectionCreator)
class TlsServer:
    """
    Makes the TLS side of connections; a certificate that is read again is for those to come.

    TLS 1.2 is the least; Twisted's choice of ciphers is that of Mozilla's intermediate list.
    """

    def __init__(self, tls: TlsSection) -> None:
        self.read_again(tls)

    def read_again(self, tls: TlsSection) -> None:
        """
        Take over a certificate and its key.

        Raises:
            CannotIdentify: one of the files cannot be used, and nothing has changed.
        """
        assert tls.certificate is not None and tls.key is not None
        pem = _read(tls.certificate)
        try:
            certificate = PrivateCertificate.loadPEM(_read(tls.key) + b"\n" + pem)
            chain = _certificates(pem)[1:]
            options = CertificateOptions(
                privateKey=certificate.privateKey.original,
                certificate=certificate.original,
                extraCertChain=[one.original for one in chain],
                raiseMinimumTo=TLSVersion.TLSv1_2,
                trustRoot=None
                if tls.client_ca is None
                else trustRootFromCertificates(_certificates(_read(tls.client_ca))),
            )
            context = options.getContext()
            context.check_privatekey()
        except (SSL.Error, crypto.Error, ValueError, KeyError) as error:
            raise CannotIdentify(f"{tls.certificate}, {tls.key}: {error!r}"[:300]) from None
        if tls.client_ca is not None and not tls.client_required:
            # Asked for, not demanded; one that is shown must still be good.
            context.set_verify(SSL.VERIFY_PEER, lambda connection, cert, error, depth, ok: bool(ok))
        self._context = context

    def serverConnectionForTLS(self, protocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """See `IOpenSSLServerConnectionCreator`."""
        return SSL.Connection(self._context, None)

    def wrap(self, factory: IProtocolFactory) -> TLSMemoryBIOFactory:
        """A factory that speaks TLS below another."""
        return TLSMemoryBIOFactory(self, False, factory)


def _certificates(pem: bytes) -> list[Certificate]:
    end = b"-----END CERTIFICATE-----"
    blocks = [block + end for block in pem.split(end)[:-1]]
    if not blocks:
        raise ValueError("no certificate in PEM")
    return [Certificate.loadPEM(block[block.index(b"-----BEGIN CERT") :]) for block in blocks]
