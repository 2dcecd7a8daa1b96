"""Reads certificates and private keys from PEM files, and says what is wrong with a file."""

from __future__ import annotations

import re
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from umd.errors import UmdError
from umd.runtime.files import CannotRead, read_file

MAX_FILE_OCTETS: Final = 1024**2
_BLOCK: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----(.*?)-----END \1-----", re.DOTALL)
"""One block of a PEM file. Text between blocks is ignored (RFC 7468 section 2)."""
_CERTIFICATE_LABELS: Final = ("CERTIFICATE", "X509 CERTIFICATE")
_ASN1_SEQUENCE: Final = 0x30
"""The first octet of a certificate or a key in DER."""


class InvalidPem(UmdError):
    """A file without the certificate or key that is needed; says what is wrong and what to do."""


def read_certificates(path: str) -> tuple[x509.Certificate, ...]:
    """
    Read all certificates of a file, in the order of the file.

    Raises:
        InvalidPem: one certificate is damaged, or there is none.
    """
    blocks = _read_blocks(path, "openssl x509 -inform DER")
    certificates: list[x509.Certificate] = []
    for label, block in blocks:
        if label in _CERTIFICATE_LABELS:
            try:
                certificates.append(x509.load_pem_x509_certificate(block))
            except ValueError:
                number = len(certificates) + 1
                raise InvalidPem(
                    f"certificate {number} in the file is damaged; copy it again"
                ) from None
    if not certificates:
        raise InvalidPem(
            f"the file has no certificate, only {_labels(blocks)}; name a file that has one"
        )
    return tuple(certificates)


def read_private_key(path: str) -> PrivateKeyTypes:
    """
    Read the first private key of a file.

    Raises:
        InvalidPem: there is none, it is encrypted, or it is damaged.
    """
    blocks = _read_blocks(path, "openssl pkey -inform DER")
    block = next((block for label, block in blocks if label.endswith("PRIVATE KEY")), None)
    if block is None:
        raise InvalidPem(
            f"the file has no private key, only {_labels(blocks)}; name a file that has one"
        )
    try:
        # Without a pass phrase, cryptography does not ask for one on the terminal either.
        return load_pem_private_key(block, None)
    except TypeError:
        advice = "store it without one: openssl pkey -in FILE -out NEW"
        raise InvalidPem(f"encrypted, and umd has no pass phrase for it; {advice}") from None
    except (ValueError, UnsupportedAlgorithm):
        raise InvalidPem("the private key is damaged or of an unknown kind") from None


def order_chain(
    certificates: tuple[x509.Certificate, ...], key: PrivateKeyTypes
) -> tuple[x509.Certificate, ...]:
    """
    Return the certificate of the key, then each issuer, then all other certificates.

    TLS requires this order (RFC 8446 section 4.4.2), but files have any.

    Returns:
        Empty if no certificate belongs to the key.
    """
    rest = list(certificates)
    public_key = _encode(key.public_key())
    certificate = next((item for item in rest if _public_key(item) == public_key), None)
    chain = []
    while certificate is not None:
        rest.remove(certificate)
        chain.append(certificate)
        issuer = certificate.issuer
        certificate = next((item for item in rest if item.subject == issuer), None)
    return (*chain, *rest) if chain else ()


def _read_blocks(path: str, conversion: str) -> list[tuple[str, bytes]]:
    """
    Return the label and the text of each block, without the blanks that editors leave in lines.

    Args:
        path: of the file.
        conversion: the command that converts such a file from DER, for the error.
    """
    try:
        octets = read_file(path, MAX_FILE_OCTETS)
    except CannotRead as error:
        raise InvalidPem(f"{error}; name a PEM file that umd's user may read") from None
    if not octets.strip():
        raise InvalidPem("the file is empty; name a PEM file")
    blocks = [
        (match[1].decode(), b"\n".join(line.strip() for line in match[0].splitlines()) + b"\n")
        for match in _BLOCK.finditer(octets)
    ]
    if not blocks and octets[0] == _ASN1_SEQUENCE:
        raise InvalidPem(f"DER, and not PEM; convert it: {conversion} -in FILE -out NEW")
    if not blocks:
        raise InvalidPem("text, and not PEM; name a PEM file")
    return blocks


def _labels(blocks: list[tuple[str, bytes]]) -> str:
    return ", ".join(dict.fromkeys(label for label, _ in blocks))


def _public_key(certificate: x509.Certificate) -> bytes:
    """Return the encoded public key; empty for a key of an unknown kind."""
    try:
        return _encode(certificate.public_key())
    except (ValueError, UnsupportedAlgorithm):
        return b""


def _encode(public_key: object) -> bytes:
    return public_key.public_bytes(  # type: ignore[attr-defined, no-any-return]
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )
