"""Asks a running umd over its control socket; small and synchronous, for the command line."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from typing import Any, Final

from umd.errors import UmdError
from umd.management.address import find_path

TIMEOUT: Final = 15
"""Seconds without a word after which the daemon is taken to be stuck."""


class Unreachable(UmdError):
    """No umd answers at the socket; the text says what to do."""


class Refusal(UmdError):
    """umd answered that it cannot be done."""

    def __init__(self, reply: dict[str, Any]) -> None:
        super().__init__(reply["error"])
        self.kind: str = reply.get("kind", "")
        self.candidates: list[dict[str, Any]] = reply.get("candidates", [])


def ask(
    request: str, path: str | None = None, patience: float | None = TIMEOUT, **fields: Any
) -> Iterator[dict[str, Any]]:
    """
    Send one request; gives its replies as they come, but the last one.

    Args:
        request: its name in `umd.management.requests.REQUESTS`.
        path: of the socket; the one that is there by default.
        patience: seconds to wait for the next reply; None: as long as it takes.
        fields: of the request.

    Raises:
        Unreachable, Refusal
    """
    path = find_path() if path is None else path
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(patience)
        try:
            connection.connect(path)
            connection.sendall(json.dumps({"request": request, **_texts(fields)}).encode() + b"\n")
            with connection.makefile("rb") as replies:
                for line in replies:
                    reply: dict[str, Any] = json.loads(line)
                    if "error" in reply:
                        raise Refusal(reply)
                    if "done" in reply:
                        return
                    yield reply
        except (OSError, ValueError) as error:
            raise Unreachable(_explain(path, error)) from error
    raise Unreachable(f"umd at {path} ended in the middle of its answer; is it stopping?")


def _texts(fields: dict[str, Any]) -> dict[str, Any]:
    """The same with "?" for what was no UTF-8 on the command line: JSON has no way to say it."""
    return {
        name: value.encode(errors="replace").decode() if isinstance(value, str) else value
        for name, value in fields.items()
    }


def _explain(path: str, error: Exception) -> str:
    match error:
        case FileNotFoundError() | NotADirectoryError():
            why = "there is no such socket"
        case ConnectionRefusedError():
            why = "the umd it belonged to has ended"
        case PermissionError():
            return f"umd cannot be reached at {path}: only {_owner(path)} can connect to it."
        case TimeoutError():
            return f"umd at {path} did not answer in {TIMEOUT} s; its log may tell why."
        case _:
            why = getattr(error, "strerror", None) or str(error)
    return (
        f"umd cannot be reached at {path}: {why}.\n"
        "Start one with `umd serve` or `umd demo`, or name its socket with --socket PATH."
    )


def _owner(path: str) -> str:
    """Whose socket it is, as far as that can be seen: that of its directory is."""
    for place in (path, os.path.dirname(path)):
        try:
            uid = os.stat(place).st_uid
        except OSError:
            continue
        return f"user {uid} and root" if uid else "root"
    return "its owner and root"
