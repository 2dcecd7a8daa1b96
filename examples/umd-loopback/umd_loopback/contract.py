"""The contract of the backend: which of its numbers behave how, and what it does not offer."""

from __future__ import annotations

from umd.backend import CarriesMedia, ChecksFiles, FollowsPbx, RestoresLegs, ShowsMessages
from umd.testing import LegBackendContract


class LoopbackContract(LegBackendContract):
    """Tested by `umd backend-contract loopback`, and by the tests of this distribution."""

    backend_type = "loopback"
    number_that_answers = "100"
    number_that_rings = "ringing"
    number_that_rejects = "busy"
    number_that_hangs_up = "short"
    number_silent_to_bye = "mute"
    not_offered = (CarriesMedia, ChecksFiles, FollowsPbx, RestoresLegs, ShowsMessages)
