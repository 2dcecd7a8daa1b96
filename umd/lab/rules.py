"""The invariants that must hold in every run, and a violation of one."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from umd.lab.observed import ObservedCall


class Rule(StrEnum):
    """An invariant that must hold in every run."""

    ONE_END = "one end"
    """Each leg and each call ends exactly once, and no event follows."""
    ANSWERED_ONCE = "answered once"
    """Each Disconnect is answered once: when the call has ended or the deadline has passed."""
    TRUTHFUL = "truthful"
    """A call that is reported as ended and confirmed is down at the far end."""
    CAUSE = "cause"
    """The cause names the party that ended the call first."""
    HEARD = "heard"
    """When the far end has ended the call, the call is over; both ends agree when all is done."""
    DEAD_DIALOG = "dead dialog"
    """No request goes into a dialog whose end its sender knows."""
    PROTOCOL = "protocol"
    """CANCEL after a provisional response, BYE after the ACK, an ACK for each 2xx."""
    DURABLE = "durable first"
    """Nothing is acknowledged, to a client or on the wire, before its record is durable."""
    RECOVERED = "recovered"
    """
    After a crash every acknowledged call is known, every acknowledged end is on record once, and
    every end that was requested on record is carried out.
    """
    NOTHING_LEFT = "nothing left"
    """After the end no call, leg, session, dialog, transaction or timer is left, at neither end."""
    LEGAL = "legal"
    """No backend reports to control what cannot happen."""
    RAISED = "raised"
    """No exception is raised."""


@dataclass(frozen=True, slots=True)
class Violation:
    """An invariant was violated."""

    rule: Rule
    text: str
    """What happened, for a person to read."""
    at: float
    """Seconds on the virtual clock."""
    leg: str = ""
    """The leg of the call; empty where no single call is to blame."""


class TakesViolations(Protocol):
    """Keeps the violations of a run."""

    def report(self, rule: Rule, text: str, now: float, call: ObservedCall | None = None) -> None:
        """Keep a violation, by one call or by none in particular."""
