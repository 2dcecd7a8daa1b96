"""The contract as a whole: all groups of behaviours in one class."""

from __future__ import annotations

from umd.testing.contract.ending import EndingRules
from umd.testing.contract.outage import OutageRules
from umd.testing.contract.placing import PlacingRules
from umd.testing.contract.restart import RestartRules
from umd.testing.contract.stopping import StoppingRules


class LegBackendContract(PlacingRules, EndingRules, StoppingRules, RestartRules, OutageRules):
    """
    Tests a backend by the rules of `umd.backend`; mix it into a trial TestCase.

    The class attributes say which numbers of the backend behave how. What a backend offers besides
    (`ShowsMessages`, `CarriesMedia`, `RestoresLegs`, `FollowsPbx`) is tested if it offers it; else
    the test is skipped, or passes if `not_offered` names the option. The hooks (`pbx_call` and
    others) let a PBX do what umd did not request; a behaviour whose hook is missing is skipped. One
    rule cannot be tested here: that no method blocks.

    Time is a Clock that the tests advance. For a backend that needs real time there is
    `RealTimeContract`.
    """
