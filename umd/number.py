"""The old place of `umd.sip.number`, for backends written before it moved."""

from umd.sip.number import Dialled, Name, NotDialable, SipAddress, Telephone, read_number

__all__ = ["Dialled", "Name", "NotDialable", "SipAddress", "Telephone", "read_number"]
