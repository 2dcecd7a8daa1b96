"""INVITE sessions: one leg of a call, from the first INVITE to the last BYE (RFC 3261 §13-15)."""

from umd.sip.session.callee import (
    CalleeSession,
)
from umd.sip.session.caller import (
    MAX_FORKS,
    CallerSession,
)
from umd.sip.session.events import (
    Answered,
    Ended,
    Event,
    Gone,
    Incoming,
    Probed,
    Progressed,
    Side,
)
from umd.sip.session.headers import (
    Headers,
    reasons_of,
)
from umd.sip.session.rejoined import (
    RejoinedSession,
)
from umd.sip.session.session import (
    Agent,
    Alarm,
    Session,
)
from umd.sip.session.states import (
    TRANSITIONS,
    IllegalInput,
    Input,
    State,
)

__all__ = [
    "Agent",
    "Alarm",
    "Answered",
    "CalleeSession",
    "CallerSession",
    "Ended",
    "Event",
    "Gone",
    "Headers",
    "IllegalInput",
    "Incoming",
    "Input",
    "MAX_FORKS",
    "Probed",
    "Progressed",
    "RejoinedSession",
    "Session",
    "Side",
    "State",
    "TRANSITIONS",
    "reasons_of",
]
