"""The keys by which a reply describes a call: of a running umd, and of a journal."""

from __future__ import annotations

from typing import Any

from umd.call.call import Call
from umd.text import iso_time


def call_summary(call: Call) -> dict[str, Any]:
    """Return the keys by which a reply names a call."""
    return {
        "id": call.id,
        "leg": call.leg,
        "to": call.number,
        "state": call.state.value,
        "backend": call.backend,
    }


def describe_call(
    call: Call, *, overdue: bool, suspect: str | None = None
) -> dict[str, Any]:
    """
    Return all keys of a call, which docs/control-socket.md lists.

    Args:
        overdue: whether the call should have ended by now.
        suspect: why the call may be one that nothing ends any more; None: it is not suspect.
    """
    return {
        **call_summary(call),
        "owner": call.owner,
        "began_at": iso_time(call.began_at),
        "asked_at": iso_time(call.asked_at) if call.asked_at else None,
        "ended_at": iso_time(call.ended_at) if call.ended_at else None,
        "overdue": overdue,
        "suspect": suspect,
        "aliases": dict(call.aliases),
        "labels": call.labels,
        "partners": call.partners,
        "direction": None if call.direction is None else call.direction.value,
        "shown_by": None if call.shown_by is None else call.shown_by.value,
        "caused_by": call.caused_by,
        "lease_s": call.lease,
        "lease_ends_at": iso_time(call.leased_at + call.lease) if call.lease else None,
    }
