"""Legs carried by SIP sessions: the backend door's words to the session's verbs, and back."""

from umd.backends.sip_legs.legs import (
    SipLegs,
    UnreadableRecord,
    cause_of,
    read_record,
)

__all__ = [
    "SipLegs",
    "UnreadableRecord",
    "cause_of",
    "read_record",
]
