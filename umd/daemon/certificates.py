"""Reads the files of `[tls]`, and tells what is wrong with them and what to do."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from typing import Final, TypeAlias, TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from OpenSSL import SSL

from umd.config import ConfigError, Settings
from umd.config.notation import KeyPath
from umd.config.sections import TlsSection
from umd.errors import UmdError
from umd.http.tls import Credentials, make_context
from umd.runtime.files import CannotRead, read_file

Told: TypeAlias = tuple[KeyPath, str, str]
"""A key, its value, and what there is to say."""
T = TypeVar("T")

_MOST: Final = 1024**2
_BLOCK: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----(.*?)-----END \1-----", re.DOTALL)
"""RFC 7468; what stands between the blocks is for people."""
_CERTIFICATE: Final = ("CERTIFICATE", "X509 CERTIFICATE")


class WrongFiles(UmdError):
    """Files that cannot be used."""

    def __init__(self, mistakes: list[Told]) -> None:
        super().__init__("; ".join(f"{value}: {said}" for _, value, said in mistakes))
        self.mistakes = mistakes


class _Wrong(UmdError):
    """What is wrong with one file, and what to do."""


def open_tls(settings: Settings) -> tuple[SSL.Context, list[str]]:
    """
    Make from the files of `[tls]` what TLS connections are made from.

    Returns:
        It, and a line for each thing for which clients may refuse umd all the same.

    Raises:
        ConfigError: with a line for each file that cannot be used.
    """
    try:
        credentials = read_credentials(settings.tls)
        context = _context(credentials, settings.tls)
    except WrongFiles as error:
        raise ConfigError([settings.mistake(*mistake) for mistake in error.mistakes]) from None
    now = datetime.now(timezone.utc)
    return context, [settings.mistake(*told) for told in _not_valid(credentials, settings.tls, now)]


def read_credentials(tls: TlsSection) -> Credentials:
    """
    Raises:
        WrongFiles
    """
    mistakes: list[Told] = []

    def read(name: str, read_one: Callable[[str], T]) -> T | None:
        path = getattr(tls, name)
        try:
            return read_one(path)
        except _Wrong as error:
            mistakes.append((("tls", name), path, str(error)))
            return None

    certificates = read("certificate", _certificates)
    key = read("key", _key)
    authorities = () if tls.client_ca is None else read("client_ca", _certificates)
    chain = certificates and key and _chain(certificates, key)
    if chain == ():
        said = f"not the key of the certificate in {tls.certificate}; name the key it was made for"
        mistakes.append((("tls", "key"), str(tls.key), said))
    if mistakes or not chain or key is None or authorities is None:
        raise WrongFiles(mistakes)
    return Credentials(
        chain=chain,
        key=key,
        client_authorities=authorities,
        client_required=tls.client_required,
    )


def _context(credentials: Credentials, tls: TlsSection) -> SSL.Context:
    try:
        return make_context(credentials)
    except (SSL.Error, TypeError, ValueError) as error:
        # Such as "ee key too small".
        reasons = [one[2] for one in error.args[0]] if isinstance(error, SSL.Error) else [error]
        said = f"OpenSSL does not take it: {', '.join(map(str, reasons))}; make a new one"
        raise WrongFiles([(("tls", "certificate"), str(tls.certificate), said)]) from None


def _not_valid(credentials: Credentials, tls: TlsSection, now: datetime) -> Iterator[Told]:
    """Certificates that are not valid yet, or not any more."""
    for name, path, certificates in (
        ("certificate", tls.certificate, credentials.chain),
        ("client_ca", tls.client_ca, credentials.client_authorities),
    ):
        for certificate in certificates:
            subject = certificate.subject.rfc4514_string()
            begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
            if now > ends:
                said = f"{subject} expired at {_written(ends)}; renew it"
            elif now < begins:
                said = f"{subject} is valid only from {_written(begins)}; is the clock right?"
            else:
                continue
            yield ("tls", name), str(path), said


def _written(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


# -- one file


def _certificates(path: str) -> tuple[x509.Certificate, ...]:
    blocks = _blocks(path, "openssl x509 -inform DER")
    found = []
    for label, block in blocks:
        if label in _CERTIFICATE:
            try:
                found.append(x509.load_pem_x509_certificate(block))
            except ValueError:
                which = len(found) + 1
                raise _Wrong(f"certificate {which} in it is damaged; copy it anew") from None
    if not found:
        raise _Wrong(f"no certificate in it, but {_labels(blocks)}; name a file that has one")
    return tuple(found)


def _key(path: str) -> PrivateKeyTypes:
    blocks = _blocks(path, "openssl pkey -inform DER")
    block = next((block for label, block in blocks if label.endswith("PRIVATE KEY")), None)
    if block is None:
        raise _Wrong(f"no private key in it, but {_labels(blocks)}; name a file that has one")
    try:
        # Without a pass phrase nobody is asked for one either.
        return load_pem_private_key(block, None)
    except TypeError:
        way_out = "store it without one: openssl pkey -in FILE -out NEW"
        raise _Wrong(f"encrypted, and umd has no pass phrase for it; {way_out}") from None
    except (ValueError, UnsupportedAlgorithm):
        raise _Wrong("the private key in it is damaged or of an unknown kind") from None


def _blocks(path: str, convert: str) -> list[tuple[str, bytes]]:
    """The blocks of a PEM file, each with its label, cleaned of what editors do to lines."""
    try:
        octets = read_file(path, _MOST)
    except CannotRead as error:
        raise _Wrong(f"{error}; name a PEM file that umd's user may read") from None
    if not octets.strip():
        raise _Wrong("the file is empty; name a PEM file")
    blocks = [
        (match[1].decode(), b"\n".join(line.strip() for line in match[0].splitlines()) + b"\n")
        for match in _BLOCK.finditer(octets)
    ]
    if not blocks:
        binary = octets[0] == 0x30  # an ASN.1 SEQUENCE
        way_out = f"convert it: {convert} -in FILE -out NEW" if binary else "name a PEM file"
        raise _Wrong(f"{'DER' if binary else 'text'}, and not PEM; {way_out}")
    return blocks


def _labels(blocks: list[tuple[str, bytes]]) -> str:
    return ", ".join(dict.fromkeys(label for label, _ in blocks))


# -- the chain


def _chain(
    certificates: tuple[x509.Certificate, ...], key: PrivateKeyTypes
) -> tuple[x509.Certificate, ...]:
    """
    The certificate of the key, then each issuer, then the others, however the file has them.

    Empty: none is that of the key.
    """
    left = list(certificates)
    public = _octets(key.public_key())
    own = next((one for one in left if _public(one) == public), None)
    chain = []
    while own is not None:
        left.remove(own)
        chain.append(own)
        issuer = own.issuer
        own = next((one for one in left if one.subject == issuer), None)
    return (*chain, *left) if chain else ()


def _public(certificate: x509.Certificate) -> bytes:
    try:
        return _octets(certificate.public_key())
    except (ValueError, UnsupportedAlgorithm):
        return b""


def _octets(public_key: object) -> bytes:
    return public_key.public_bytes(  # type: ignore[attr-defined, no-any-return]
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )
