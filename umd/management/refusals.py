"""The reasons to refuse a request of the control socket, and the error replies for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from umd.backend import BackendUnavailable, CannotPlace
from umd.call.alias import InvalidAlias
from umd.control.bulk_end import CountChanged, TooMany
from umd.control.errors import JournalUnavailable, NoSuchBackend, NoSuchCall, Stopping
from umd.control.forgetting import InvalidReason
from umd.control.selection import InvalidSelection
from umd.errors import UmdError
from umd.sip.number import NotDialable
from umd.trace.capture import valid_text

Reply: TypeAlias = Mapping[str, Any]
"""One reply of the control socket: a JSON object."""

MAX_CANDIDATES: Final = 10
"""Calls that the refusal of an ambiguous prefix lists."""


class Refused(UmdError):
    """A request that is not carried out; the text is for people, the kind for programs."""

    kind = "bad-request"
    more: Mapping[str, Any] = {}
    """Further keys of the error reply."""


class NoMessages(Refused):
    """umd knows the call, but has none of its SIP messages."""

    kind = "no-messages"


class NoJournal(Refused):
    """This umd keeps no journal, or none that is a file."""

    kind = "no-journal"


class JournalChanged(Refused):
    """umd deleted old records while it copied the journal, so the copy would be inconsistent."""

    kind = "unavailable"


class JournalDamaged(Refused):
    """SQLite cannot read the journal file."""

    kind = "damaged"


class Ambiguous(Refused):
    """A prefix, or a label, that several calls have."""

    kind = "ambiguous"

    def __init__(
        self, text: str, candidates: Sequence[Reply], they: str = "begin with"
    ) -> None:
        super().__init__(f"{len(candidates)} calls {they} {text!r}")
        self.more = {"candidates": candidates[:MAX_CANDIDATES]}


class NotComplete(Refused):
    """A prefix of an id, in a request that changes something and so needs the complete id."""

    kind = "no-such-call"

    def __init__(self, text: str, candidates: Sequence[Reply]) -> None:
        number = len(candidates)
        begin = "1 call begins" if number == 1 else f"{number} calls begin"
        super().__init__(f"no call has the id {text!r}; {begin} with it: give a complete id")
        self.more = {"candidates": candidates[:MAX_CANDIDATES]}


def no_such_call(text: str) -> NoSuchCall:
    """Make the error for an id or prefix that no call has."""
    return NoSuchCall(f"no call begins with {text!r}")


def error_reply(error: Exception) -> Reply | None:
    """Return the last reply to a request that failed; None if the error is a fault in umd."""
    if isinstance(error, Refused):
        return {"error": valid_text(str(error)), "kind": error.kind, **error.more}
    for error_type, kind in _KINDS.items():
        if isinstance(error, error_type):
            return {"error": valid_text(str(error)), "kind": kind}
    return None


_KINDS: Final[Mapping[type[Exception], str]] = {
    NoSuchCall: "no-such-call",
    BackendUnavailable: "unavailable",
    CannotPlace: "cannot-place",
    InvalidReason: "bad-request",
    JournalUnavailable: "unavailable",
    Stopping: "unavailable",
    NotDialable: "not-dialable",
    NoSuchBackend: "bad-request",
    InvalidSelection: "bad-request",
    InvalidAlias: "bad-request",
    TooMany: "too-many",
    CountChanged: "count-changed",
}
"""The `kind` of the error reply for each error of the use cases."""
