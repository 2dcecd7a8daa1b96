"""
The rules of the backend door as tests: a mixin for trial, run against every backend.

::

    class MyBackendTests(LegBackendContract, TestCase):
        backend_type = "mine"
        number_that_answers = "100"
        number_that_rings = "101"
        number_that_rejects = "102"

`umd backend-contract TYPE` runs it as well, if the distribution of the backend names the class in
an entry point of the group `umd.backend_contracts`. docs/backends.md explains both.
"""

from umd.testing.contract.contract import LegBackendContract
from umd.testing.contract.real_time import RealTimeContract

__all__ = ["LegBackendContract", "RealTimeContract"]
