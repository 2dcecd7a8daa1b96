"""A file of names and password hashes, as `htpasswd -B` or argon2 make them."""

from __future__ import annotations

import hmac
import os
import re
from collections.abc import Mapping

from umd.errors import UmdError
from umd.runtime.files import CannotRead, read_file


class WrongPasswordFile(UmdError):
    """The file cannot be used; the text says which line is wrong."""


class PasswordFile:
    """
    Checks passwords; `verify` takes tens of milliseconds, and is to be called in a thread.

    Args:
        hashes: by name.
    """

    def __init__(self, hashes: Mapping[str, bytes]) -> None:
        self._hashes = hashes
        self._of_somebody = list(hashes.values())
        self._key = os.urandom(16)

    @classmethod
    def read(cls, path: str) -> PasswordFile:
        """
        Read a file of lines `name:hash`; empty lines and those that begin with "#" are skipped.

        Raises:
            WrongPasswordFile
        """
        try:
            text = read_file(path, 1 << 24).decode()
        except CannotRead as error:
            raise WrongPasswordFile(f"{path}: {error}") from None
        except UnicodeDecodeError:
            raise WrongPasswordFile(f"{path}: not UTF-8") from None
        hashes: dict[str, bytes] = {}
        for number, line in enumerate(text.splitlines(), 1):
            if not line.strip() or line.startswith("#"):
                continue
            name, colon, hashed = line.strip().partition(":")
            if not (colon and name and _HASH.fullmatch(hashed)):
                why = "expected NAME:HASH, the hash a whole one of argon2 or bcrypt (htpasswd -B)"
                raise WrongPasswordFile(f"{path}:{number}: {why}")
            if name in hashes:
                raise WrongPasswordFile(f"{path}:{number}: the name is there twice")
            hashes[name] = hashed.encode()
        return cls(hashes)

    def knows(self, name: str) -> bool:
        return name in self._hashes

    def verify(self, name: str, password: bytes) -> bool:
        """
        Whether this is the password of somebody who is known; slow, as it must be.

        For a name that nobody has it is as slow: it is compared with somebody's, always the same
        one's for the same name, and wrong whatever comes of it. So who is known cannot be told by
        time, not even where some have one kind of hash and some another.
        """
        hashed = self._hashes.get(name)
        return _fits(password, hashed or self._decoy(name)) and hashed is not None

    def _decoy(self, name: str) -> bytes:
        if not self._of_somebody:
            return b""
        number = int.from_bytes(hmac.digest(self._key, name.encode(), "blake2b")[:8], "big")
        return self._of_somebody[number % len(self._of_somebody)]


def _fits(password: bytes, hashed: bytes) -> bool:
    """Whether a hash is of this password."""
    if hashed.startswith(b"$argon2"):
        import argon2

        try:
            return argon2.PasswordHasher().verify(hashed.decode(), password)
        except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
            return False
    import bcrypt

    try:
        # bcrypt sees 72 octets; htpasswd cuts the rest off as well.
        return bcrypt.checkpw(password[:72], hashed)
    except ValueError:
        return False


# A file that is half written is refused: whoever has the hash that is cut could not log in.
# Of argon2 the salt has 8 octets at least, and the hash 16.
_HASH = re.compile(
    r"\$argon2id?(?:\$v=[0-9]+)?\$m=[0-9]+,t=[0-9]+,p=[0-9]+"
    r"\$[A-Za-z0-9+/]{11,}\$[A-Za-z0-9+/]{22,}"
    r"|\$2[aby]\$[0-9]{2}\$[A-Za-z0-9./]{53}"
)
