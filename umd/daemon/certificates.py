"""Reads the files of `[tls]` and makes the TLS context of new connections from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from typing import TypeAlias, TypeVar

from OpenSSL import SSL

from umd.config import ConfigError, Settings
from umd.config.notation import KeyPath
from umd.config.sections import TlsSection
from umd.daemon.pem import InvalidPem, order_chain, read_certificates, read_private_key
from umd.errors import UmdError
from umd.http.tls import Credentials, make_context

Finding: TypeAlias = tuple[KeyPath, str, str]
"""A configuration key, its value, and what is wrong with the file that it names."""
T = TypeVar("T")


class UnusableFiles(UmdError):
    """Files of `[tls]` that umd cannot use."""

    def __init__(self, findings: list[Finding]) -> None:
        super().__init__("; ".join(f"{path}: {reason}" for _, path, reason in findings))
        self.findings = findings


def open_tls(settings: Settings) -> tuple[SSL.Context, list[str]]:
    """
    Make the TLS context of new connections.

    Returns:
        The context, and a warning for each certificate that has expired or is not valid yet. umd
        uses it all the same: the clock may be wrong, and a client may not check the time.

    Raises:
        ConfigError: with one message for each file that umd cannot use.
    """
    try:
        credentials = read_credentials(settings.tls)
        context = _make_context(credentials, settings.tls)
    except UnusableFiles as error:
        raise ConfigError([settings.mistake(*finding) for finding in error.findings]) from None
    now = datetime.now(timezone.utc)
    warnings = _not_valid(credentials, settings.tls, now)
    return context, [settings.mistake(*finding) for finding in warnings]


def read_credentials(tls: TlsSection) -> Credentials:
    """
    Read the certificates and the key that `[tls]` names.

    Raises:
        UnusableFiles: names all files that umd cannot use, not only the first.
    """
    findings: list[Finding] = []

    def read(key_name: str, read_file: Callable[[str], T]) -> T | None:
        path = getattr(tls, key_name)
        try:
            return read_file(path)
        except InvalidPem as error:
            findings.append((("tls", key_name), path, str(error)))
            return None

    certificates = read("certificate", read_certificates)
    key = read("key", read_private_key)
    authorities = () if tls.client_ca is None else read("client_ca", read_certificates)
    chain = certificates and key and order_chain(certificates, key)
    if chain == ():
        reason = (
            f"not the key of the certificate in {tls.certificate}; name the key it was made for"
        )
        findings.append((("tls", "key"), str(tls.key), reason))
    if findings or not chain or key is None or authorities is None:
        raise UnusableFiles(findings)
    return Credentials(
        chain=chain,
        key=key,
        client_authorities=authorities,
        client_required=tls.client_required,
    )


def _make_context(credentials: Credentials, tls: TlsSection) -> SSL.Context:
    try:
        return make_context(credentials)
    except (SSL.Error, TypeError, ValueError) as error:
        # For example OpenSSL's "ee key too small".
        entries = error.args[0] if isinstance(error, SSL.Error) else [(None, None, error)]
        reasons = ", ".join(str(reason) for _, _, reason in entries)
        text = f"OpenSSL does not accept it: {reasons}; make a new one"
        raise UnusableFiles([(("tls", "certificate"), str(tls.certificate), text)]) from None


def _not_valid(credentials: Credentials, tls: TlsSection, now: datetime) -> Iterator[Finding]:
    """Yield a finding for each certificate that has expired or is not valid yet."""
    for key_name, path, certificates in (
        ("certificate", tls.certificate, credentials.chain),
        ("client_ca", tls.client_ca, credentials.client_authorities),
    ):
        for certificate in certificates:
            subject = certificate.subject.rfc4514_string()
            begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
            if now > ends:
                reason = f"{subject} expired at {_iso(ends)}; renew it"
            elif now < begins:
                reason = f"{subject} is valid only from {_iso(begins)}; is the clock right?"
            else:
                continue
            yield ("tls", key_name), str(path), reason


def _iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
