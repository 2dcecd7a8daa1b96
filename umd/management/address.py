"""The path of the control socket: where a daemon makes it, and where a command looks for it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

SOCKET_NAME: Final = "control.sock"
SERVICE_DIRECTORY: Final = "/run/umd"
"""The directory that `RuntimeDirectory=umd` of the systemd unit makes."""


def default_path(environ: Mapping[str, str] = os.environ, uid: int | None = None) -> str:
    """Return the path of the socket that a daemon makes if none is configured."""
    return _candidates(environ, os.geteuid() if uid is None else uid)[0]


def find_path(environ: Mapping[str, str] = os.environ, uid: int | None = None) -> str:
    """Return the path of the first socket that exists: the user's own, then the service's."""
    candidates = _candidates(environ, os.geteuid() if uid is None else uid)
    service = f"{SERVICE_DIRECTORY}/{SOCKET_NAME}"
    return next(filter(os.path.exists, [*candidates, service]), candidates[0])


def _candidates(environ: Mapping[str, str], uid: int) -> list[str]:
    directories = [f"/tmp/umd-{uid}"]
    user_directory = environ.get("XDG_RUNTIME_DIR", "")
    # sudo and su can leave the variable of another user.
    if user_directory.startswith("/") and _owner(user_directory) == uid:
        directories.insert(0, f"{user_directory}/umd")
    # systemd sets this for a service.
    service_directory = environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    if service_directory.startswith("/"):
        directories.insert(0, service_directory)
    return [f"{directory}/{SOCKET_NAME}" for directory in directories]


def _owner(directory: str) -> int | None:
    try:
        return Path(directory).stat().st_uid
    except OSError:
        return None
