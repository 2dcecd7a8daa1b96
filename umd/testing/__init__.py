"""
What authors of backends and users of umd import in their own tests.

`LegBackendContract` is what any backend must pass; `FakeBackend` and `RecordingSink` stand in for
either side of the backend door; `UmdProcess` is a whole umd on a free port.
"""

from umd.testing.contract import LegBackendContract
from umd.testing.fakes import FakeBackend, RecordingSink
from umd.testing.process import UmdProcess

__all__ = ["FakeBackend", "LegBackendContract", "RecordingSink", "UmdProcess"]
