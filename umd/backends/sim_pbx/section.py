"""The keys of a section with `type = "sim-pbx"`, and their values."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from umd.backends.sim_pbx.far_ends import Behaviour, ByeAnswer
from umd.backends.sim_pbx.messages import Lie
from umd.config import Duration, Section
from umd.config.values import Delay


class FarEndKeys(Section):
    """What a far end does."""

    ring_after: Duration | None = None
    answer_after: Duration | None = None
    reject_with: Annotated[int, Field(ge=300, le=699)] | None = None
    hang_up_after: Duration | None = None
    bye: Literal["answers", "silent", "481"] = "answers"
    bye_after: Delay = 0.0

    def as_behaviour(self) -> Behaviour:
        """Return the keys as the model of the PBX takes them."""
        return Behaviour(
            ring_after=self.ring_after,
            answer_after=self.answer_after,
            reject_with=self.reject_with,
            hang_up_after=self.hang_up_after,
            bye=ByeAnswer(self.bye),
            bye_after=self.bye_after,
        )


class OwnCall(Section):
    """Calls that the PBX begins by itself."""

    number: Annotated[str, Field(min_length=1)] = "+15550100"
    bridge: str | None = None
    after: Delay = 0.0
    every: Duration | None = None
    count: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    owner: str = ""
    labels: list[str] = []


class SimPbxSection(Section):
    """A section with `type = "sim-pbx"`."""

    delay: Delay = 0.01
    witness: bool = True
    lists_until_answered: bool = False
    lies: list[Annotated[Lie, Field(strict=False)]] = []
    stale_for: Duration = 5.0
    far_end: dict[str, FarEndKeys] = {}
    call: list[OwnCall] = []

    @field_validator("far_end")
    @classmethod
    def _check_numbers(cls, value: dict[str, FarEndKeys]) -> dict[str, FarEndKeys]:
        for number in value:
            if not (number.isascii() and number.isdigit() and len(number) == 7):
                raise ValueError(f"numbers of seven digits, not {number!r}")
        return value
