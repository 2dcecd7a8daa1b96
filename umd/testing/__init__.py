"""
Tools for the tests of backend authors and of users of umd.

`LegBackendContract` tests a backend by the rules of the door, `RealTimeContract` in real time.
`FakeBackend` and `RecordingSink` stand in for either side of the door. `UmdProcess` runs umd as a
process on a free port.
"""

from umd.testing.contract import LegBackendContract, RealTimeContract
from umd.testing.fakes import FakeBackend, RecordingSink
from umd.testing.process import UmdProcess

__all__ = [
    "FakeBackend",
    "LegBackendContract",
    "RealTimeContract",
    "RecordingSink",
    "UmdProcess",
]
