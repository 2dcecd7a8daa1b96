"""Where the journal is: where a daemon puts it, and where a command looks for it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from umd.runtime.systemd import state_directory

NAME: Final = "journal.db"
OF_THE_SERVICE: Final = "/var/lib/umd"
"""What `StateDirectory=umd` of the systemd unit makes."""


def default_path(environ: Mapping[str, str] = os.environ) -> str | None:
    """The path of the journal where nothing else is configured; None: there is none."""
    given = state_directory(environ)
    return None if given is None else f"{given}/{NAME}"


def find_path(environ: Mapping[str, str] = os.environ) -> str:
    """The journal of the service, for a command that is told no other."""
    return default_path(environ) or f"{OF_THE_SERVICE}/{NAME}"
