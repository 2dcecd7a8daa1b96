"""Finds the WAV file for a client's entry id or greeting."""

from __future__ import annotations

import base64
import binascii
import wave
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Final
from urllib.parse import quote

from umd.errors import UmdError

TONE: Final = str(files("umd.messaging").joinpath("tone.wav"))
"""The path of the default message: half a second of 425 Hz."""
_MAX_NAME: Final = 200
"""Characters of a file's name, without `.wav`; a file system takes 255 octets."""
_MAX_ENTRY_ID: Final = 4096
"""Characters."""


class NoSuchPrompt(UmdError):
    """No playable file belongs to the entry id or greeting; the text says why."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A playable WAV file."""

    path: str
    duration: float
    """Seconds."""


class Prompts:
    """
    A folder of WAV files (8 kHz, mono, 16 bits).

    Files are looked up at each use, so they may be added and replaced while umd runs.

    Args:
        folder: holds `NAME.wav` for each entry id (see `name_of_entry`) and a folder `greetings`;
            None: no folder is configured.
        default: the path of the file for entry ids without a file of their own; None: such an id is
            an error.
    """

    def __init__(self, folder: str | None = None, default: str | None = TONE) -> None:
        self._folder = None if folder is None else Path(folder)
        self._default = default

    def of_entry(self, entry_id: str) -> Prompt:
        """
        Return the prompt for an entry id.

        Raises:
            NoSuchPrompt: the id is malformed, or there is no playable file for it.
        """
        name = name_of_entry(entry_id)
        if self._folder is not None and (own := self._folder / f"{name}.wav").exists():
            return read_prompt(own)
        if self._default is None:
            raise NoSuchPrompt(f"there is no prompt {name}.wav and no prompts.default")
        return read_prompt(Path(self._default))

    def check_default(self) -> None:
        """
        Check that the default message, if one is configured, exists and can be played.

        Raises:
            NoSuchPrompt: it is missing, or not a WAV file of 8 kHz, mono, 16 bits.
        """
        if self._default is not None:
            read_prompt(Path(self._default))

    def greeting(self, user: str, greeting: str) -> Prompt:
        """
        Return the greeting that a user has recorded, or the tone if there is none yet.

        Raises:
            NoSuchPrompt: the recorded file is not playable.
        """
        path = self.greeting_path(user, greeting)
        return read_prompt(path if path is not None and path.exists() else Path(TONE))

    def greeting_path(self, user: str, greeting: str) -> Path | None:
        """Return the path of a user's greeting; None if no folder is configured."""
        if self._folder is None:
            return None
        # quote() leaves no "/" and no NUL, so the name cannot leave the folder.
        name = quote(user, safe="@", errors="surrogatepass")
        if len(name) > _MAX_NAME:
            name = sha256(user.encode("utf-8", "surrogatepass")).hexdigest()
        return self._folder / "greetings" / f"{greeting}-{name}.wav"


def name_of_entry(entry_id: str) -> str:
    """
    Return the name of an entry id's file, without `.wav`.

    The name is the id in the URL-safe alphabet of base64 (RFC 4648 section 5) without padding. If
    that is longer than 200 characters, it is the SHA-256 of the decoded id in hexadecimal digits.

    Raises:
        NoSuchPrompt: the id is not base64, is empty or too long.
    """
    if len(entry_id) > _MAX_ENTRY_ID:
        raise NoSuchPrompt(f"the entry id is longer than {_MAX_ENTRY_ID} characters")
    try:
        decoded = base64.b64decode(entry_id, validate=True)
    except (binascii.Error, ValueError):
        raise NoSuchPrompt("the entry id is not base64") from None
    if not decoded:
        raise NoSuchPrompt("the entry id is empty")
    name = base64.urlsafe_b64encode(decoded).decode().rstrip("=")
    return name if len(name) <= _MAX_NAME else sha256(decoded).hexdigest()


def read_prompt(path: Path) -> Prompt:
    """
    Check a file's header and return the file as a prompt.

    This reads a few octets of the local disk, so it runs on the reactor's thread.

    Raises:
        NoSuchPrompt: the file cannot be read, or has another format.
    """
    try:
        if path.exists() and not path.is_file():  # opening a FIFO waits for a writer
            raise NoSuchPrompt(f"prompt {path.name} is not a regular file")
        with wave.open(str(path), "rb") as sound:
            rate_channels_width = (
                sound.getframerate(), sound.getnchannels(), sound.getsampwidth()
            )  # fmt: skip
            frames = sound.getnframes()
    except (OSError, EOFError, wave.Error) as error:
        raise NoSuchPrompt(f"prompt {path.name} cannot be read: {error}") from error
    if rate_channels_width != (8000, 1, 2):
        raise NoSuchPrompt(f"prompt {path.name} is not of 8 kHz, mono, 16 bits")
    return Prompt(str(path), frames / 8000)
