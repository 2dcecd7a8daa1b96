"""The settings of control, section `[call]` of the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlSettings:
    """Limits of calls and of requests to end them; durations in seconds."""

    deadline: float = 6.5
    """How long a request to end a call waits for the far end before the answer is unconfirmed."""
    retention: float = 86400.0
    """How long an ended call is remembered."""
    retained_calls: int = 200_000
    """How many ended calls are remembered at most; the oldest are forgotten first."""
    max_age: float | None = None
    """How long a call may last, None for ever. Applies to calls that begin later."""
    ring_time: float | None = None
    """How long a call may ring unanswered, None for ever. Applies to calls that begin later."""
    reconcile: float | None = 60.0
    """How often the calls of a backend that follows a PBX are compared with it; None: never."""
    suspect_age: float | None = None
    """How long a call may last before it is suspect, None for ever."""
    owners: Mapping[str, str] | None = None
    """
    The principal that owns a found leg, by the owner that its backend reports. Legs
    with another owner belong to no principal.

    None: the backend reports the name of the principal itself.
    """
    protected_labels: tuple[str, ...] = ()
    """Patterns (fnmatch) of labels; the end of many calls leaves out the calls that have one."""
    ended_is_success: bool = True
    """Whether to end an ended call succeeds. If not, the CallId is treated as unknown."""
