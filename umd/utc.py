"""Wall time as everything that umd writes has it."""

from __future__ import annotations

from datetime import datetime, timezone
from functools import lru_cache


def iso(at: float) -> str:
    """
    A time in ISO 8601, UTC, with milliseconds.

    Args:
        at: seconds since the epoch.
    """
    second = int(at)
    micro = round((at - second) * 1e6)
    if micro == 1_000_000:
        second, micro = second + 1, 0
    return f"{_second(second)}.{micro // 1000:03d}Z"


@lru_cache(maxsize=8)
def _second(second: int) -> str:
    """What all times of a second begin with: what is written has happened now, most of it."""
    return datetime.fromtimestamp(second, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
