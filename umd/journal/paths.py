"""Where the journal is, and the names of the files beside it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from umd.runtime.systemd import state_directory

FILE_NAME: Final = "journal.db"
SERVICE_STATE_DIRECTORY: Final = "/var/lib/umd"
"""The directory that systemd makes for `StateDirectory=umd` of the unit."""

COMPACTING_SUFFIX: Final = ".compacting"
"""A copy that replaces the journal when its compaction is complete."""
LOCK_SUFFIX: Final = ".lock"
"""A lock file; it stays when umd ends, as a sign that there was a journal."""
SQLITE_SUFFIXES: Final = ("-wal", "-shm", "-journal")
"""Files that SQLite takes for parts of the database beside them."""


def default_path(environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the journal's path if the configuration names none; None: umd keeps no journal."""
    directory = state_directory(environ)
    return None if directory is None else f"{directory}/{FILE_NAME}"


def find_path(environ: Mapping[str, str] = os.environ) -> str:
    """Return the path of the service's journal, for commands without `--journal`."""
    return default_path(environ) or f"{SERVICE_STATE_DIRECTORY}/{FILE_NAME}"
