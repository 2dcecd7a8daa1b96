"""The prompt store: which WAV file a client's entry id or greeting stands for."""

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
"""Half a second of 425 Hz, which comes with umd."""
_LONGEST_NAME: Final = 200
_LONGEST_ID: Final = 4096


class NoSuchPrompt(UmdError):
    """The entry id names no message that can be played; the text says why."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A file that can be played."""

    path: str
    duration: float
    """Seconds."""


class Prompts:
    """
    A folder of WAV files (8 kHz, mono, 16 bits), read anew each time: it may change at any time.

    Args:
        folder: holds `NAME.wav` for each entry id, named by `name_of_entry`, and `greetings/`;
            None: there is none.
        default: the path of what is played where there is no file of its own; None: nothing is.
    """

    def __init__(self, folder: str | None = None, default: str | None = TONE) -> None:
        self._folder = None if folder is None else Path(folder)
        self._default = default

    def of_entry(self, entry_id: str) -> Prompt:
        """
        The prompt of an entry id.

        Raises:
            NoSuchPrompt
        """
        name = name_of_entry(entry_id)
        if self._folder is not None and (own := self._folder / f"{name}.wav").exists():
            return read_prompt(own)
        if self._default is None:
            raise NoSuchPrompt(f"there is no prompt {name}.wav, and no prompts.default")
        return read_prompt(Path(self._default))

    def check_default(self) -> None:
        """
        See that the default can be played, where there is one.

        Raises:
            NoSuchPrompt
        """
        if self._default is not None:
            read_prompt(Path(self._default))

    def greeting(self, user: str, greeting: str) -> Prompt:
        """
        The greeting that a user has recorded; the tone for one who has recorded none yet.

        Raises:
            NoSuchPrompt: the one that there is cannot be read.
        """
        path = self.greeting_path(user, greeting)
        return read_prompt(path if path is not None and path.exists() else Path(TONE))

    def greeting_path(self, user: str, greeting: str) -> Path | None:
        """Where a greeting is kept and recorded to; None where there is no folder."""
        if self._folder is None:
            return None
        # quote leaves no "/" and no NUL, and the name does not begin with the user's.
        name = quote(user, safe="@", errors="surrogatepass")
        if len(name) > _LONGEST_NAME:
            name = sha256(user.encode("utf-8", "surrogatepass")).hexdigest()
        return self._folder / "greetings" / f"{greeting}-{name}.wav"


def name_of_entry(entry_id: str) -> str:
    """
    The name of the file, without `.wav`, that an entry id stands for.

    It is the id with `-` and `_` for `+` and `/`, without the `=` at its end (RFC 4648 section 5);
    the SHA-256 of what it encodes, in hexadecimal digits, where that is longer than 200 characters.

    Raises:
        NoSuchPrompt: it is not base64, or empty.
    """
    if len(entry_id) > _LONGEST_ID:
        raise NoSuchPrompt(f"an entry id of {len(entry_id)} characters")
    try:
        decoded = base64.b64decode(entry_id, validate=True)
    except (binascii.Error, ValueError):
        raise NoSuchPrompt("the entry id is not base64") from None
    if not decoded:
        raise NoSuchPrompt("the entry id is empty")
    name = base64.urlsafe_b64encode(decoded).decode().rstrip("=")
    return name if len(name) <= _LONGEST_NAME else sha256(decoded).hexdigest()


def read_prompt(path: Path) -> Prompt:
    """
    Look at the head of a file: a few octets of the local disk, on the reactor's thread.

    Raises:
        NoSuchPrompt
    """
    try:
        if path.exists() and not path.is_file():  # to open a FIFO would wait for a writer
            raise NoSuchPrompt(f"prompt {path.name} is not a regular file")
        with wave.open(str(path), "rb") as sound:
            shape = (sound.getframerate(), sound.getnchannels(), sound.getsampwidth())
            frames = sound.getnframes()
    except (OSError, EOFError, wave.Error) as error:
        raise NoSuchPrompt(f"prompt {path.name} cannot be read: {error}") from error
    if shape != (8000, 1, 2):
        raise NoSuchPrompt(f"prompt {path.name} is not of 8 kHz, mono, 16 bits")
    return Prompt(str(path), frames / 8000)
