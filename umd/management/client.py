"""A synchronous client of the control socket, for commands and scripts; loads no Twisted."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from typing import Any, Final

from umd.errors import UmdError
from umd.management.address import find_path

TIMEOUT: Final = 15
"""Seconds to wait for the next reply before the daemon counts as stuck."""


class Unreachable(UmdError):
    """No umd answers at the socket; the text says what to do about it."""


class Refusal(UmdError):
    """The error reply of umd to a request."""

    def __init__(self, reply: dict[str, Any]) -> None:
        super().__init__(reply["error"])
        self.kind: str = reply.get("kind", "")
        """The reason, for programs, such as "no-such-call"."""
        self.candidates: list[dict[str, Any]] = reply.get("candidates", [])
        """The calls that an ambiguous prefix may mean."""


def ask(
    request: str, path: str | None = None, timeout: float | None = TIMEOUT, **fields: Any
) -> Iterator[dict[str, Any]]:
    """
    Send one request, and yield its replies as they come; `done` is left out.

    Args:
        request: its name in `umd.management.requests.REQUESTS`.
        path: of the socket; None for the default one.
        timeout: seconds to wait for the next reply; None waits without limit.
        fields: of the request.

    Raises:
        Unreachable: no umd answers at the socket.
        Refusal: umd refused the request.
    """
    path = find_path() if path is None else path
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout)
        try:
            connection.connect(path)
            line = json.dumps({"request": request, **_replace_surrogates(fields)})
            connection.sendall(line.encode() + b"\n")
            with connection.makefile("rb") as replies:
                for reply_line in replies:
                    reply: dict[str, Any] = json.loads(reply_line)
                    if "error" in reply:
                        raise Refusal(reply)
                    if "done" in reply:
                        return
                    yield reply
        except (OSError, ValueError) as error:
            raise Unreachable(_explain(path, error)) from error
    raise Unreachable(f"umd at {path} ended in the middle of its answer; is it stopping?")


def _replace_surrogates(fields: dict[str, Any]) -> dict[str, Any]:
    """Put "?" for octets of the command line that were not UTF-8, because JSON has no such text."""
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
    """Return who can connect to a socket, by its owner or, if it is hidden, its directory's."""
    for visible in (path, os.path.dirname(path)):
        try:
            uid = os.stat(visible).st_uid
        except OSError:
            continue
        return f"user {uid} and root" if uid else "root"
    return "its owner and root"
