"""What a session reports to its user."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Side: TypeAlias = Literal["local", "remote"]


@dataclass(frozen=True, slots=True)
class Incoming:
    """An INVITE has arrived; the session is in state OFFERED."""


@dataclass(frozen=True, slots=True)
class Progressed:
    """The far end has sent a provisional response: it rings, for example."""

    status: int
    """101 to 199. A 100 comes from the next hop, not from the far end, and is not reported."""


@dataclass(frozen=True, slots=True)
class Answered:
    """
    The call is answered: the caller has received the 2xx, or the callee the ACK.

    A caller that has hung up meanwhile reports it too, because the dialog now needs a BYE.
    """


@dataclass(frozen=True, slots=True)
class Probed:
    """The outcome of `Session.probe`, while the call is up."""

    answered: bool
    """Whether the far end itself answered; 408, 502, 503 and 504 come from a proxy."""


@dataclass(frozen=True, slots=True)
class Gone:
    """
    The far end answered 481 to a probe; the last event of its session.

    The call has ended there, and how is unknown: the far end restarted, or its BYE got lost.
    """


@dataclass(frozen=True, slots=True)
class Ended:
    """The call is over; the last event of its session, unless that is `Gone`."""

    status: int
    """
    The final status of the INVITE: 200 if a BYE ended the call, 300 to 699 if it failed, 487 if it
    was cancelled, 408 if no response or no ACK came, 503 if it could not be sent. If our BYE was
    refused, the status of that refusal.
    """
    reasons: tuple[str, ...]
    """The values of the Reason headers (RFC 3326) of the message that ended it, as received."""
    by: Side
    """The end that hung up. Local if both hung up at once."""
    confirmed: bool
    """
    Whether the far end has shown that the call is down there: by its own final response, CANCEL or
    BYE, by the ACK of our rejection, or by 2xx or 481 to our BYE. False after silence, after any
    other response to BYE (a 408 comes from a proxy), and if a phone may ring on although the
    cancelled INVITE has a final response (see `CallerSession._may_ring_on`).
    """


Event: TypeAlias = Incoming | Progressed | Answered | Probed | Gone | Ended
