"""The old place of `umd.runtime.clock`, for backends written before it moved."""

from umd.runtime.clock import Alarms

__all__ = ["Alarms"]
