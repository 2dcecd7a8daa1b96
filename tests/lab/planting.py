"""Plants faults in umd, for tests that check whether the lab finds them."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from umd.sip import compiled


class PlantingCase(SynchronousTestCase):
    def patch(self, obj: Any, attribute: str, value: Any) -> Any:
        if compiled():
            raise SkipTest("compiled code does not let its parts be replaced")
        return super().patch(obj, attribute, value)
