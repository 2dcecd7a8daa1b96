"""Password files with argon2 or bcrypt hashes, as `htpasswd -B` writes them."""

from __future__ import annotations

import hmac
import os
import re
from collections.abc import Mapping
from typing import Final

from umd.errors import UmdError
from umd.runtime.files import CannotRead, read_file

MAX_FILE_OCTETS: Final = 1 << 24


class InvalidPasswordFile(UmdError):
    """A password file that cannot be used; the text names the line."""


class PasswordFile:
    """
    The users and password hashes of a file.

    Args:
        hashes: by user name.
    """

    def __init__(self, hashes: Mapping[str, bytes]) -> None:
        self._hashes = hashes
        self._decoys = list(hashes.values())
        self._key = os.urandom(16)

    @classmethod
    def read(cls, path: str) -> PasswordFile:
        """
        Read a file of lines `NAME:HASH`. Empty lines and lines that begin with "#" are skipped.

        Raises:
            InvalidPasswordFile
        """
        try:
            text = read_file(path, MAX_FILE_OCTETS).decode()
        except CannotRead as error:
            raise InvalidPasswordFile(f"{path}: {error}") from None
        except UnicodeDecodeError:
            raise InvalidPasswordFile(f"{path}: not UTF-8") from None
        hashes: dict[str, bytes] = {}
        for number, line in enumerate(text.splitlines(), 1):
            if not line.strip() or line.startswith("#"):
                continue
            name, colon, hashed = line.strip().partition(":")
            if not (colon and name and _HASH.fullmatch(hashed)):
                why = "expected NAME:HASH with a complete argon2 or bcrypt hash (htpasswd -B)"
                raise InvalidPasswordFile(f"{path}:{number}: {why}")
            if name in hashes:
                raise InvalidPasswordFile(f"{path}:{number}: the name is in the file twice")
            hashes[name] = hashed.encode()
        return cls(hashes)

    def knows(self, name: str) -> bool:
        """Return whether the file has this user."""
        return name in self._hashes

    def verify(self, name: str, password: bytes) -> bool:
        """
        Return whether this is the user's password. Takes tens of milliseconds: call it in a thread.

        For an unknown name it takes as long: the password is compared with the hash of a user, and
        the result is False. An unknown name always uses the same hash, so that its time tells
        nothing even if the file has argon2 and bcrypt hashes.
        """
        hashed = self._hashes.get(name)
        return _matches(password, hashed or self._decoy(name)) and hashed is not None

    def _decoy(self, name: str) -> bytes:
        """Return the hash of some user, always the same one for the same name."""
        if not self._decoys:
            return b""
        number = int.from_bytes(hmac.digest(self._key, name.encode(), "blake2b")[:8], "big")
        return self._decoys[number % len(self._decoys)]


def _matches(password: bytes, hashed: bytes) -> bool:
    """Return whether a hash belongs to a password."""
    if hashed.startswith(b"$argon2"):
        import argon2

        try:
            return argon2.PasswordHasher().verify(hashed.decode(), password)
        except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
            return False
    import bcrypt

    try:
        # bcrypt uses 72 octets; htpasswd cuts off the rest too.
        return bcrypt.checkpw(password[:72], hashed)
    except ValueError:
        return False


# Only complete hashes match, so that a half-written file is refused: the user of its last line
# could not log in. An argon2 salt has at least 8 octets, an argon2 hash at least 16.
_HASH = re.compile(
    r"\$argon2id?(?:\$v=[0-9]+)?\$m=[0-9]+,t=[0-9]+,p=[0-9]+"
    r"\$[A-Za-z0-9+/]{11,}\$[A-Za-z0-9+/]{22,}"
    r"|\$2[aby]\$[0-9]{2}\$[A-Za-z0-9./]{53}"
)
