"""Legs carried by SIP sessions: what the backends `sim` and `sip` have in common."""

from umd.backends.sip_legs.cause import cause_of
from umd.backends.sip_legs.legs import SipLegs
from umd.backends.sip_legs.record import UnreadableRecord, read_record

__all__ = [
    "SipLegs",
    "UnreadableRecord",
    "cause_of",
    "read_record",
]
