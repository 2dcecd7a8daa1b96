"""Where the journal, the control socket and the store of users are: a setting, or its default."""

from __future__ import annotations

import os
from typing import Final

from umd.config.sections import ControlSection, JournalSection, UsersSection
from umd.journal.paths import default_path as default_journal_path
from umd.management.address import default_path as default_socket_path
from umd.messaging.users import MEMORY
from umd.runtime.systemd import state_directory

AUTO: Final = "auto"
NONE: Final = "none"


def journal_path(journal: JournalSection) -> str | None:
    """Return the path of the journal, or None if umd keeps no journal."""
    path = default_journal_path() if journal.path == AUTO else journal.path
    return None if path == NONE or journal.durability == "off" else path


def control_socket_path(control: ControlSection) -> str | None:
    """Return the path of the control socket, or None if there is to be none."""
    if control.socket == NONE:
        return None
    return default_socket_path() if control.socket == AUTO else control.socket


def users_path(users: UsersSection) -> str:
    """Return the path of the store of users, or `MEMORY` for a store without a file."""
    if users.store != AUTO:
        return MEMORY if users.store == "memory" else users.store
    directory = state_directory(os.environ)
    return MEMORY if directory is None else f"{directory}/users.sqlite"
