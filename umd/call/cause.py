"""Why a leg or a call ended, in the terms of Q.850, SIP, the UM web service and EWS."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

NORMAL_CLEARING: Final = 16  # Q.850
NO_USER_RESPONDING: Final = 18  # Q.850
NO_ANSWER: Final = 19  # Q.850: the phone rang and was not answered
INVALID_NUMBER_FORMAT: Final = 28  # Q.850
INTERWORKING: Final = 127  # Q.850: unspecified
NETWORK_OUT_OF_ORDER: Final = 38  # Q.850
RECOVERY_ON_TIMER_EXPIRY: Final = 102  # Q.850


class EndedBy(StrEnum):
    """Which side ended the call first."""

    CLIENT = "client"
    FAR_END = "far-end"
    OPERATOR = "operator"
    DAEMON = "daemon"
    PARTNER = "partner"
    """The other leg of a bridge ended, and this one with it."""


class EventCause(StrEnum):
    """
    The five causes that clients know.

    They are the values of `EventCause` in the UM web service (MS-OXWUMS section 3.1.4.3.3.1) and of
    `ConnectionFailureCause` in Exchange Web Services.
    """

    NONE = "None"
    USER_BUSY = "UserBusy"
    NO_ANSWER = "NoAnswer"
    UNAVAILABLE = "Unavailable"
    OTHER = "Other"


Q850_OF_STATUS: Final[Mapping[int, int]] = {
    400: 41, 401: 21, 402: 21, 403: 21, 404: 1, 405: 63, 406: 79, 407: 21, 408: 102, 410: 22,
    413: 127, 414: 127, 415: 79, 416: 127, 420: 127, 421: 127, 423: 127, 480: 18, 481: 41, 482: 25,
    483: 25, 484: 28, 485: 1, 486: 17, 487: 16, 488: 65, 500: 41, 501: 79, 502: 38, 503: 41,
    504: 102, 505: 127, 513: 127, 600: 17, 603: 21, 604: 1, 606: 65,
}  # fmt: skip
"""The Q.850 cause of a SIP status (RFC 3398 section 8.2.6.1)."""

EVENT_CAUSE_OF_Q850: Final[Mapping[int, EventCause]] = {
    1: EventCause.UNAVAILABLE,  # unallocated number
    16: EventCause.NONE,  # normal clearing
    17: EventCause.USER_BUSY,
    18: EventCause.NO_ANSWER,  # no user responding
    19: EventCause.NO_ANSWER,  # no answer, user alerted
    20: EventCause.UNAVAILABLE,  # subscriber absent
    22: EventCause.UNAVAILABLE,  # number changed
    28: EventCause.UNAVAILABLE,  # invalid number format
}
"""The cause that clients know of a Q.850 cause; every other one is `OTHER`."""


@dataclass(slots=True, kw_only=True)
class Cause:
    """Which side ended a leg, and why. Treat it as immutable."""

    by: EndedBy
    q850: int = NORMAL_CLEARING
    """The cause value of ITU-T Q.850."""
    sip_status: int | None = None
    """Status of the final response that ended the leg; None: a request did, such as a BYE."""
    reasons: tuple[str, ...] = ()
    """The values of the Reason headers as received (RFC 3326)."""

    @property
    def event_cause(self) -> EventCause:
        """The cause in the terms that clients know."""
        return EVENT_CAUSE_OF_Q850.get(self.q850, EventCause.OTHER)


def rejection(sip_status: int, *, by: EndedBy = EndedBy.FAR_END) -> Cause:
    """Return the cause of a leg that a final response from 300 to 699 ended."""
    return Cause(by=by, sip_status=sip_status, q850=Q850_OF_STATUS.get(sip_status, INTERWORKING))
