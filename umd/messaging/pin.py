"""Makes PINs under a policy, hashes them, and sends them to their owner."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from pathlib import Path
from typing import Any, Final, Protocol

from twisted.internet.defer import CancelledError
from twisted.internet.threads import deferToThread

from umd.errors import UmdError
from umd.text import is_mail_address

SCRYPT_N: Final = 2**14
SCRYPT_R: Final = 8
SCRYPT_P: Final = 1
"""
Cost parameters of scrypt (RFC 7914 section 2): about 16 MiB and 50 ms for a hash.

All PINs of a few digits can be tried against a stolen hash. The cost slows that down.
"""
SMTP_TIMEOUT: Final = 30.0
"""Seconds that a mail server has to take one message."""
_RUNS_OF_DIGITS: Final = ("01234567890", "09876543210")


class PinNotSent(UmdError):
    """A PIN could not be sent; the old one stays valid."""


def make_pin(length: int, old_hash: str = "") -> str:
    """
    Return a new random PIN that is hard to guess.

    It has more than two different digits, is no run such as 3456 or 6543, does not repeat its first
    half, and is not the old PIN.

    Args:
        length: digits.
        old_hash: the old PIN as `hash_pin` returned it; empty if there is none.
    """
    while True:
        pin = "".join(secrets.choice("0123456789") for _ in range(length))
        if not _is_weak(pin) and not (old_hash and verify_pin(pin, old_hash)):
            return pin


def hash_pin(pin: str) -> str:
    """Return `scrypt$N$R$P$SALT$HASH`, salt and hash in hexadecimal digits."""
    salt = os.urandom(16)
    digest = _scrypt(pin, salt, SCRYPT_N, SCRYPT_R, SCRYPT_P)
    return f"scrypt${SCRYPT_N}${SCRYPT_R}${SCRYPT_P}${salt.hex()}${digest.hex()}"


def verify_pin(pin: str, hashed: str) -> bool:
    """Return whether `hash_pin` made `hashed` from this PIN."""
    algorithm, n, r, p, salt, digest = hashed.split("$")
    assert algorithm == "scrypt"
    computed = _scrypt(pin, bytes.fromhex(salt), int(n), int(r), int(p))
    return hmac.compare_digest(computed, bytes.fromhex(digest))


def _scrypt(pin: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(pin.encode(), salt=salt, n=n, r=r, p=p, dklen=32)


def _is_weak(pin: str) -> bool:
    half = len(pin) // 2
    is_run = any(pin in run for run in _RUNS_OF_DIGITS)
    return len(set(pin)) <= 2 or is_run or pin[:half] == pin[half:]


# -- delivery


class PinDelivery(Protocol):
    """Sends a new PIN to its owner."""

    async def deliver(self, address: str, pin: str) -> None:
        """
        Send the PIN.

        Args:
            address: the owner's mail address.

        Raises:
            PinNotSent
        """


class NoDelivery(PinDelivery):
    """Sends nothing: no delivery is configured."""

    async def deliver(self, address: str, pin: str) -> None:
        raise PinNotSent("no pin.delivery is configured")


@dataclass(frozen=True, slots=True)
class SpoolDelivery(PinDelivery):
    """Writes each message to a file `*.eml` (mode 0600), for another program to send."""

    folder: str
    sender: str

    async def deliver(self, address: str, pin: str) -> None:
        message = _message(self.sender, address, pin)
        try:
            await deferToThread(_write_new, Path(self.folder), bytes(message))
        except OSError as error:
            raise PinNotSent(f"pin.spool {self.folder}: {error.strerror}") from error


@dataclass(frozen=True, slots=True)
class SmtpDelivery(PinDelivery):
    """Sends each message to a mail server by SMTP."""

    host: str
    port: int
    sender: str
    reactor: Any
    tls: bool = True
    """Whether the server must offer STARTTLS; otherwise the PIN may cross the network in clear."""

    def __post_init__(self) -> None:
        # Importing twisted.mail installs Twisted's default reactor. So this module does not import
        # it: umd.runtime.reactor must install its own first. The first PIN must not wait for the
        # import either.
        import twisted.mail.smtp  # noqa: F401

    async def deliver(self, address: str, pin: str) -> None:
        from twisted.mail.smtp import sendmail

        message = _message(self.sender, address, pin)
        try:
            await sendmail(
                self.host.strip("[]"),
                self.sender,
                [address],
                bytes(message),
                port=self.port,
                reactor=self.reactor,
                requireTransportSecurity=self.tls,
            ).addTimeout(SMTP_TIMEOUT, self.reactor)
        except CancelledError:
            raise
        except Exception as error:
            raise PinNotSent(f"pin.smtp {self.host}:{self.port}: {error}") from error


def _message(sender: str, address: str, pin: str) -> EmailMessage:
    if not is_mail_address(address):
        raise PinNotSent(f"{address!r} is not a mail address")
    message = EmailMessage()
    message["From"], message["To"] = sender, address
    message["Subject"] = "Your new PIN"
    message["Date"] = formatdate()
    message["Message-ID"] = make_msgid(domain=sender.rpartition("@")[2] or "umd")
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834
    message.set_content(f"Your PIN for the telephone was reset. The new one is:\n\n{pin}\n")
    return message


def _write_new(folder: Path, octets: bytes) -> None:
    """Write a file that appears complete or not at all."""
    name = secrets.token_hex(16)
    unfinished = folder / f".{name}.tmp"
    opened = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(opened, "wb") as file:
        file.write(octets)
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(folder / f"{name}.eml")
