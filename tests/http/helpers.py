"""Helpers for the tests of HTTP: requests, a reader that is fed in pieces, certificates."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID

from umd.http.limits import Limits
from umd.http.reader import HeadCache, Reader

SPLITS = (1_000_000, 1, 3)
"""Octets per read: all at once, one by one, and three, which crosses every boundary."""


def request(
    *headers: str, method: str = "POST", target: str = "/x", version: str = "1.1", body: bytes = b""
) -> bytes:
    """Return a request with Host, Content-Length for a POST, and further header fields."""
    lines = [f"{method} {target} HTTP/{version}", "Host: h", *headers]
    if method == "POST" and not any(line.lower().startswith("transfer-enc") for line in headers):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def chunked(*chunks: bytes, trailers: bytes = b"") -> bytes:
    """Return a body with chunked transfer coding."""
    framed = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return framed + b"0\r\n" + trailers + b"\r\n"


def pieces(octets: bytes, size: int) -> Iterator[bytes]:
    """Yield the octets in pieces of this size."""
    for start in range(0, len(octets), size):
        yield octets[start : start + size]


def read(octets: bytes, size: int = SPLITS[0], limits: Limits | None = None) -> Reader:
    """Return a reader that has received these octets."""
    reader = Reader(HeadCache(limits or Limits()))
    for piece in pieces(octets, size):
        reader.receive(piece)
    return reader


Key: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


def _der(tag: int, content: bytes) -> bytes:
    length = len(content)
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([tag, *([length] if length < 128 else [0x80 + len(octets), *octets])]) + content


def _key_usage(ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=ca,
        crl_sign=ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


class Authority:
    """A certificate authority for a test."""

    def __init__(self, name: str) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = self.sign(name, self.key, ca=True)

    def sign(
        self, name: str, key: Key, ca: bool = False, days: tuple[float, float] = (-1, 1)
    ) -> x509.Certificate:
        """Return a certificate; `days` are the start and the end of its validity, from now."""
        now = datetime.datetime.now(datetime.timezone.utc)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + datetime.timedelta(days=days[0]))
            .not_valid_after(now + datetime.timedelta(days=days[1]))
            .add_extension(x509.BasicConstraints(ca, None), True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), False)
            # Clients of Python 3.13 demand what RFC 5280 section 4.2.1 does.
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), False
            )
            .add_extension(_key_usage(ca), True)
        )
        return builder.sign(self.key, hashes.SHA256())

    def sign_octets(self, name: bytes, key: Key, kind: int) -> bytes:
        """Return a certificate in DER with any octets as its name, of a string type of X.680."""
        stand_in = b"x" * len(name)
        usual = self.sign(stand_in.decode(), key)
        length = bytes([len(name)])
        body = usual.tbs_certificate_bytes.replace(
            b"\x0c" + length + stand_in, bytes([kind]) + length + name
        )
        signature = self.key.sign(body, ec.ECDSA(hashes.SHA256()))
        ecdsa_with_sha256 = bytes.fromhex("300a06082a8648ce3d040302")  # RFC 5758 section 3.2
        return _der(0x30, body + ecdsa_with_sha256 + _der(0x03, b"\0" + signature))

    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    def write(
        self,
        name: str,
        directory: Path,
        key: Key | None = None,
        days: tuple[float, float] = (-1, 1),
    ) -> tuple[str, str]:
        """Write a certificate and its key to files, and return their paths."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        directory.mkdir(exist_ok=True)
        certificate = self.sign(name, key, days=days).public_bytes(serialization.Encoding.PEM)
        (directory / "certificate.pem").write_bytes(certificate)
        (directory / "key.pem").write_bytes(key_pem(key))
        return str(directory / "certificate.pem"), str(directory / "key.pem")


def key_pem(key: Key, passphrase: bytes | None = None) -> bytes:
    """Return a key in PKCS #8, encrypted if there is a pass phrase."""
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase is not None:
        encryption = serialization.BestAvailableEncryption(passphrase)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )
