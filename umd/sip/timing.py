"""How long SIP waits: T1, T2, T4 and the timers A to M of RFC 3261 and RFC 6026."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

TRYING_AFTER: Final = 0.2  # seconds, RFC 3261 §17.2.1: 100 when the user has said nothing by then
PROXY_INVITE_TIMEOUT: Final = 181.0  # seconds, timer C, RFC 3261 §16.6: "larger than 3 minutes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """
    The three base values, in seconds, and every timer that follows from them.

    The table is RFC 3261 table 4 (appendix A), with timers L and M of RFC 6026 section 8. D, I, J
    and K only absorb retransmissions of a transport that loses messages; over a reliable one they
    are zero, which is the caller's choice to make: nothing here knows the transport.
    """

    t1: float = 0.5
    """The estimate of the round-trip time (§17.1.1.1)."""
    t2: float = 4.0
    """The longest wait between retransmissions of a request or a final response (§17.1.2.2)."""
    t4: float = 5.0
    """How long a message may stay in the network (§17.1.2.2)."""

    @property
    def timeout(self) -> float:
        """64*T1: how long to wait for a peer that says nothing."""
        return 64 * self.t1

    @property
    def timer_a(self) -> float:
        """The first wait before an INVITE is sent again; doubles without limit (§17.1.1.2)."""
        return self.t1

    @property
    def timer_b(self) -> float:
        """When an INVITE without any response has failed (§17.1.1.2)."""
        return self.timeout

    @property
    def timer_c(self) -> float:
        """A proxy's limit for a ringing INVITE (§16.6); a user agent does not run it."""
        return PROXY_INVITE_TIMEOUT

    @property
    def timer_d(self) -> float:
        """How long repeated non-2xx finals are acknowledged: "at least 32 seconds" (§17.1.1.2)."""
        return max(32.0, self.timeout)

    @property
    def timer_e(self) -> float:
        """The first wait before another request is sent again; doubles up to T2 (§17.1.2.2)."""
        return self.t1

    @property
    def timer_f(self) -> float:
        """When a request without a final response has failed (§17.1.2.2)."""
        return self.timeout

    @property
    def timer_g(self) -> float:
        """The first wait before a non-2xx final to INVITE is sent again; up to T2 (§17.2.1)."""
        return self.t1

    @property
    def timer_h(self) -> float:
        """When the ACK of a non-2xx final is no longer waited for (§17.2.1)."""
        return self.timeout

    @property
    def timer_i(self) -> float:
        """How long repeated ACKs are absorbed (§17.2.1)."""
        return self.t4

    @property
    def timer_j(self) -> float:
        """How long a repeated request gets its final response again (§17.2.2)."""
        return self.timeout

    @property
    def timer_k(self) -> float:
        """How long repeated finals of a non-INVITE request are absorbed (§17.1.2.2)."""
        return self.t4

    @property
    def timer_l(self) -> float:
        """How long an INVITE that has its 2xx is absorbed, on any transport (RFC 6026 §7.1)."""
        return self.timeout

    @property
    def timer_m(self) -> float:
        """How long further 2xx reach the user (RFC 6026 §7.2), on any transport."""
        return self.timeout


def doubling(first: float, limit: float, end: float) -> Iterator[float]:
    """
    Yield the moments, in seconds from the first sending, at which a message is sent again.

    The wait is `first`, then twice that and so on, never more than `limit`; nothing at `end` or
    after it.
    """
    moment, wait = first, first
    while moment < end:
        yield moment
        wait = min(2 * wait, limit)
        moment += wait


def invite_schedule(timing: Timing) -> tuple[float, ...]:
    """When an INVITE is sent again over UDP: timer A until timer B (§17.1.1.2)."""
    return tuple(doubling(timing.timer_a, timing.timer_b, timing.timer_b))


def request_schedule(timing: Timing) -> tuple[float, ...]:
    """When any other request is sent again over UDP: timer E until timer F (§17.1.2.2)."""
    return tuple(doubling(timing.timer_e, timing.t2, timing.timer_f))


def response_schedule(timing: Timing) -> tuple[float, ...]:
    """
    When a final response to INVITE is sent again until its ACK.

    Timer G until timer H for a non-2xx over UDP (§17.2.1); the same waits for a 2xx, by the session
    and over every transport (§13.3.1.4).
    """
    return tuple(doubling(timing.timer_g, timing.t2, timing.timer_h))
