"""The old place of `umd.sip.number`, for backends written before it moved."""

from umd.sip.number import read_number

__all__ = ["read_number"]
