"""Runs the contract tests that umd provides for the authors of backends."""

from twisted.trial.unittest import TestCase
from umd_loopback import LoopbackBackend, LoopbackSection

from umd.backend import (
    CarriesMedia,
    ChecksFiles,
    FollowsPbx,
    LegBackend,
    RestoresLegs,
    ShowsMessages,
)
from umd.testing import LegBackendContract


class LoopbackContractTests(LegBackendContract, TestCase):
    number_that_answers = "100"
    number_that_rings = "ringing"
    number_that_rejects = "busy"
    number_that_hangs_up = "short"
    number_silent_to_bye = "mute"
    not_offered = (CarriesMedia, ChecksFiles, FollowsPbx, RestoresLegs, ShowsMessages)

    def make_backend(self) -> LegBackend:
        return LoopbackBackend("loopback", LoopbackSection(), self.clock)
