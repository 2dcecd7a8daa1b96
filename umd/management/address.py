"""Where the control socket is: where a daemon puts it, and where a command looks for it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

NAME: Final = "control.sock"
OF_THE_SERVICE: Final = "/run/umd"
"""What `RuntimeDirectory=umd` of the systemd unit makes."""


def default_path(environ: Mapping[str, str] = os.environ, uid: int | None = None) -> str:
    """The path of the socket where nothing else is configured."""
    return _candidates(environ, os.geteuid() if uid is None else uid)[0]


def find_path(environ: Mapping[str, str] = os.environ, uid: int | None = None) -> str:
    """The socket that is there: the user's own before that of the service."""
    candidates = _candidates(environ, os.geteuid() if uid is None else uid)
    service = f"{OF_THE_SERVICE}/{NAME}"
    return next(filter(os.path.exists, [*candidates, service]), candidates[0])


def _candidates(environ: Mapping[str, str], uid: int) -> list[str]:
    directories = [f"/tmp/umd-{uid}"]
    user = environ.get("XDG_RUNTIME_DIR", "")
    # sudo and su can leave that of somebody else.
    if user.startswith("/") and _owner(user) == uid:
        directories.insert(0, f"{user}/umd")
    given = environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]  # by systemd, to a service
    if given.startswith("/"):
        directories.insert(0, given)
    return [f"{directory}/{NAME}" for directory in directories]


def _owner(directory: str) -> int | None:
    try:
        return Path(directory).stat().st_uid
    except OSError:
        return None
