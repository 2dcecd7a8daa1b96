"""
Backends that break one rule each, and the behaviours of the contract that catch them.

To print which behaviours fail for each, as a table in Markdown:

    python -m tests.backends.mutants
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tests.backends.mutants_following import FOLLOWING_MUTANTS
from tests.backends.mutants_placing import FAKE_MUTANTS, SIM_MUTANTS, SIP_MUTANTS
from tests.backends.pbx import FollowingContract
from umd.backend import (
    CarriesMedia,
    ChecksFiles,
    FollowsPbx,
    LegBackend,
    RestoresLegs,
    ShowsMessages,
)
from umd.backends.sim import SimBackend
from umd.backends.sim.section import SimSection
from umd.backends.sip import SipBackend
from umd.lab.contracts import SimContract, SipContract
from umd.testing import FakeBackend, LegBackendContract
from umd.testing.matrix import Result, run_contract


class FakeContract(LegBackendContract):
    """The contract of `FakeBackend`."""

    kind: type[FakeBackend]
    number_that_answers = "answers"
    number_that_rings = "rings"
    number_that_rejects = "rejects"
    number_that_hangs_up = "hangs up"
    number_silent_to_bye = "silent"
    not_offered = (CarriesMedia, ChecksFiles, FollowsPbx, RestoresLegs, ShowsMessages)

    def make_backend(self) -> LegBackend:
        return self.kind(clock=self.clock)


class SimMutantContract(SimContract):
    """The contract of `sim`, for a backend that is derived from it."""

    kind: type[SimBackend]

    def make_backend(self) -> LegBackend:
        return self.kind("sim", SimSection(), self.clock)


class SipMutantContract(SipContract):
    """The contract of `sip`, for a backend that is derived from it."""

    kind: type[SipBackend]

    def make_backend(self) -> LegBackend:
        return self.kind("sip", self.make_settings(self.kind), self.clock)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """A backend that breaks one rule."""

    name: str
    breaks: str
    """What it does wrong, in words."""
    contract: type[LegBackendContract]
    caught_by: tuple[str, ...]
    """The ids of the behaviours that must fail; others may fail as well."""


def mutants() -> Iterator[Mutant]:
    """Yield all mutants."""
    for base, broken in (
        (FakeContract, FAKE_MUTANTS),
        (SimMutantContract, SIM_MUTANTS),
        (SipMutantContract, SIP_MUTANTS),
        (FollowingContract, FOLLOWING_MUTANTS),
    ):
        for kind, caught_by in broken.items():
            contract = type(kind.__name__, (base,), {"kind": kind})
            yield Mutant(
                name=kind.__name__,
                breaks=(kind.__doc__ or "").strip().partition("\n")[0],
                contract=contract,
                caught_by=caught_by,
            )


def failing(contract: type[LegBackendContract]) -> list[str]:
    """Return the ids of the behaviours that fail."""
    return [row.behaviour.id for row in run_contract(contract) if row.result is Result.FAIL]


def table() -> Iterator[str]:
    """Run the contract against every mutant, and yield the lines of a table in Markdown."""
    yield "| mutant | breaks | behaviours that fail |"
    yield "| --- | --- | --- |"
    for mutant in mutants():
        yield f"| {mutant.name} | {mutant.breaks} | {', '.join(failing(mutant.contract)) or '-'} |"


if __name__ == "__main__":
    for line in table():
        print(line)
