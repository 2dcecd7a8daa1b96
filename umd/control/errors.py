"""Why control refuses a request, or cannot start."""

from __future__ import annotations

from umd.errors import UmdError


class NoSuchCall(UmdError):
    """umd never issued this CallId, or forgot the call after its retention."""


class Forbidden(NoSuchCall):
    """The principal may not touch this call. To the client it looks like an unknown CallId."""


class MayNotPlace(UmdError):
    """The principal may not place calls."""


class Stopping(UmdError):
    """The daemon is stopping and takes no new calls."""


class NoSuchBackend(UmdError):
    """No backend of this name is configured."""


class BackendFailed(UmdError):
    """A backend cannot be started."""


class JournalUnavailable(UmdError):
    """The journal cannot record the request, so it is not carried out."""
