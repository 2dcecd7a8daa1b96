"""Runs the contract of the backend as tests of trial."""

from twisted.trial.unittest import TestCase
from umd_loopback.contract import LoopbackContract


class LoopbackContractTests(LoopbackContract, TestCase):
    """Each behaviour of the contract is a test."""
