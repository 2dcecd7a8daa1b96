"""Why control refuses a request, or cannot start."""

from __future__ import annotations

from collections.abc import Sequence

from umd.call.call_id import CallId
from umd.errors import UmdError


class NoSuchCall(UmdError):
    """umd never issued this CallId, or forgot the call after its retention."""


class AmbiguousId(NoSuchCall):
    """
    Several calls have this alias or label, so it names none of them.

    Attributes:
        candidates: the CallIds, the oldest call first.
    """

    def __init__(self, text: str, candidates: Sequence[CallId]) -> None:
        super().__init__(f"{len(candidates)} calls have the id {text!r}; name one by its CallId")
        self.candidates = candidates


class Forbidden(NoSuchCall):
    """The principal may not touch this call. To the client it looks like an unknown CallId."""


class MayNotPlace(UmdError):
    """The principal may not place calls."""


class MayNotOperate(UmdError):
    """The principal may not operate umd."""


class Stopping(UmdError):
    """The daemon is stopping and takes no new calls."""


class NoSuchBackend(UmdError):
    """No backend of this name is configured."""


class BackendFailed(UmdError):
    """A backend cannot be started."""


class JournalUnavailable(UmdError):
    """The journal cannot record the request, so it is not carried out."""
