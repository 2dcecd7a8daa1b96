"""The timers of SIP in seconds: T1, T2, T4, and A to M of RFC 3261 and RFC 6026."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

TRYING_AFTER: Final = 0.2  # seconds without a response until a 100, RFC 3261 §17.2.1
PROXY_INVITE_TIMEOUT: Final = 181.0  # seconds, timer C, RFC 3261 §16.6: "larger than 3 minutes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """
    The three base values, and the timers that follow from them.

    The table is RFC 3261 table 4 (appendix A), with timers L and M of RFC 6026 section 8. Timers A,
    E and G start at T1, and timers B, F and H are the `timeout`. Over a reliable transport timers
    D, I, J and K are zero: the transaction layer skips them, since nothing is retransmitted.
    """

    t1: float = 0.5
    """The estimate of the round-trip time, and the first wait for a retransmission (§17.1.1.1)."""
    t2: float = 4.0
    """The longest wait between retransmissions of a request or a final response (§17.1.2.2)."""
    t4: float = 5.0
    """How long a message may stay in the network (§17.1.2.2)."""

    @property
    def timeout(self) -> float:
        """How long to wait for a peer that does not answer: 64*T1 (timers B, F and H)."""
        return 64 * self.t1

    @property
    def timer_c(self) -> float:
        """How long a proxy lets an INVITE ring (§16.6)."""
        return PROXY_INVITE_TIMEOUT

    @property
    def timer_d(self) -> float:
        """How long repeated 300-699 get their ACK: "at least 32 seconds" (§17.1.1.2)."""
        return max(32.0, self.timeout)

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
        """How long repetitions of an answered INVITE are absorbed (RFC 6026 §7.1)."""
        return self.timeout

    @property
    def timer_m(self) -> float:
        """How long further 2xx to an INVITE reach its session (RFC 6026 §7.2)."""
        return self.timeout
