"""The keys of `[backend.sim]` and their values."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator

from umd.call.call_id import InvalidCallId, split_call_id
from umd.config import Duration, Section
from umd.config.values import Delay


class Behaviour(Section):
    """How a far end behaves. docs/far-ends.md explains the keys."""

    words: str = "as configured"
    reachable: Literal["yes", "dead", "refuses"] = "yes"
    ring_after: Duration | None = None
    forks: Annotated[int, Field(ge=1, le=10)] = 1
    answer_after: Duration | None = None
    answer_spread: Duration | None = None
    reject_with: Annotated[int, Field(ge=300, le=699)] | None = None
    redirect_to: Annotated[str, Field(pattern=r"^[ -~]+$")] | None = None
    hang_up_after: Duration | None = None
    cancel: Literal["obeys", "answers first"] = "obeys"
    bye: Literal["answers", "silent", "481", "500", "408", "crosses"] = "answers"


def _check_call_id(value: str) -> str:
    try:
        split_call_id(value)
    except InvalidCallId as error:
        raise ValueError(f"base64 of NAME@NODE: {error}") from None
    return value


class Seed(Section):
    """Calls that exist when umd starts."""

    number: Annotated[str, Field(min_length=1)] = "+15550100"
    state: Literal["connecting", "alerting", "connected"] = "connected"
    call_id: Annotated[str, AfterValidator(_check_call_id)] | None = None
    count: Annotated[int, Field(ge=1, le=1_000_000)] = 1


class SimSection(Section):
    """`[backend.sim]`."""

    delay: Delay = 0.001
    jitter: Duration | None = None
    loss: Annotated[float, Field(ge=0, lt=1)] = 0.0
    duplicate: Annotated[float, Field(ge=0, lt=1)] = 0.0
    octets: bool = False
    check_every: Annotated[int, Field(ge=0)] = 1000
    random_seed: int | None = None
    far_end: dict[str, Behaviour] = {}
    seed: list[Seed] = []

    @field_validator("far_end")
    @classmethod
    def _check_numbers(cls, value: dict[str, Behaviour]) -> dict[str, Behaviour]:
        for number in value:
            if not (number.isascii() and number.isdigit() and len(number) <= 7):
                raise ValueError(f"numbers of one to seven digits, not {number!r}")
        return value

    @field_validator("seed")
    @classmethod
    def _check_seeds(cls, value: list[Seed]) -> list[Seed]:
        names = [split_call_id(seed.call_id)[0] for seed in value if seed.call_id is not None]
        if len(set(names)) < len(names):
            raise ValueError("a call_id with a name of its own for each call")
        if any(seed.count > 1 for seed in value if seed.call_id is not None):
            raise ValueError("count = 1 where a call_id is given")
        return value
