"""When a message is sent again, in seconds from the first sending, by the words of RFC 3261."""

from __future__ import annotations

from collections.abc import Iterator

from umd.sip.timing import Timing


def invite_schedule(timing: Timing) -> tuple[float, ...]:
    """An INVITE over UDP: timer A, which doubles without limit, until timer B (§17.1.1.2)."""
    return tuple(_doubling(timing.t1, timing.timeout, timing.timeout))


def request_schedule(timing: Timing) -> tuple[float, ...]:
    """Any other request over UDP: timer E, which doubles up to T2, until timer F (§17.1.2.2)."""
    return tuple(_doubling(timing.t1, timing.t2, timing.timeout))


def response_schedule(timing: Timing) -> tuple[float, ...]:
    """
    A final response to INVITE, until its ACK.

    A 300-699 over UDP is sent again by timer G until timer H (§17.2.1), and a 2xx in the same way
    by the session, over every transport (§13.3.1.4).
    """
    return tuple(_doubling(timing.t1, timing.t2, timing.timeout))


def _doubling(first: float, limit: float, end: float) -> Iterator[float]:
    moment = wait = first
    while moment < end:
        yield moment
        wait = min(2 * wait, limit)
        moment += wait
