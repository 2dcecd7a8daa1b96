"""PINs: made under a policy, kept as a salted hash, and handed to their owner in person."""

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

# RFC 7914 section 2: these cost about 16 MiB and 50 ms. A PIN has few digits: the hash alone does
# not hide it from whoever has the file, it only makes each guess dear.
_N, _R, _P = 2**14, 8, 1
SMTP_TIMEOUT: Final = 30.0
"""Seconds that a mail server has for a whole message."""
_RUNS: Final = ("01234567890", "09876543210")


class PinNotSent(UmdError):
    """A PIN could not be handed over; the one before remains."""


def make_pin(length: int, old_hash: str = "") -> str:
    """
    A PIN that is not easily guessed: no digit alone, no run up or down, no repeated half, and not
    the one before.
    """
    while True:
        pin = "".join(secrets.choice("0123456789") for _ in range(length))
        if not _is_weak(pin) and not (old_hash and verify_pin(pin, old_hash)):
            return pin


def hash_pin(pin: str) -> str:
    """`scrypt$N$R$P$SALT$HASH`, salt and hash in hexadecimal digits."""
    salt = os.urandom(16)
    return f"scrypt${_N}${_R}${_P}${salt.hex()}${_scrypt(pin, salt, _N, _R, _P).hex()}"


def verify_pin(pin: str, hashed: str) -> bool:
    """Whether a PIN is the one of which `hash_pin` made this."""
    kind, n, r, p, salt, digest = hashed.split("$")
    assert kind == "scrypt"
    made = _scrypt(pin, bytes.fromhex(salt), int(n), int(r), int(p))
    return hmac.compare_digest(made, bytes.fromhex(digest))


def _scrypt(pin: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(pin.encode(), salt=salt, n=n, r=r, p=p, dklen=32)


def _is_weak(pin: str) -> bool:
    half = len(pin) // 2
    return len(set(pin)) <= 2 or any(pin in run for run in _RUNS) or pin[:half] == pin[half:]


# -- handing it over


class PinDelivery(Protocol):
    """How a new PIN reaches its owner."""

    async def deliver(self, address: str, pin: str) -> None:
        """
        Hand it over.

        Args:
            address: of the owner's mail.

        Raises:
            PinNotSent
        """


class NoDelivery(PinDelivery):
    """There is no way to hand over a PIN."""

    async def deliver(self, address: str, pin: str) -> None:
        raise PinNotSent("no pin.delivery is configured")


@dataclass(frozen=True, slots=True)
class SpoolDelivery(PinDelivery):
    """Writes each message into a folder, for another program to send: `*.eml`, for umd's user."""

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
    """Sends each message to a mail server."""

    host: str
    port: int
    sender: str
    reactor: Any
    tls: bool = True
    """Whether STARTTLS is required; without, a PIN crosses the network for all to read."""

    def __post_init__(self) -> None:
        # Here, so that the first PIN need not wait for it, and not with this module: it asks
        # Twisted for its reactor, and that would not be `umd.runtime.reactor`'s yet.
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
        raise PinNotSent(f"{address!r} is no mail address")
    message = EmailMessage()
    message["From"], message["To"] = sender, address
    message["Subject"] = "Your new PIN"
    message["Date"] = formatdate()
    message["Message-ID"] = make_msgid(domain=sender.rpartition("@")[2] or "umd")
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834
    message.set_content(f"Your PIN for the telephone was reset. The new one is:\n\n{pin}\n")
    return message


def _write_new(folder: Path, octets: bytes) -> None:
    """A file appears with all that is in it, or not at all."""
    name = secrets.token_hex(16)
    unfinished = folder / f".{name}.tmp"
    opened = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(opened, "wb") as file:
        file.write(octets)
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(folder / f"{name}.eml")
