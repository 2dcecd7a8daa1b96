"""The directory: which simulated far end a number reaches."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache, lru_cache
from importlib.resources import files
from typing import Final

from umd.backends.sim.section import Behaviour

DEFAULT_NUMBER: Final = "5550100"
"""The number whose far end also answers every number that is not in the directory."""


@cache
def built_in_far_ends() -> Mapping[str, Behaviour]:
    """Return the far ends of `far_ends.toml` by the last seven digits of their numbers."""
    text = (files("umd.backends.sim") / "far_ends.toml").read_text()
    return {
        number: Behaviour.model_validate(keys) for number, keys in tomllib.loads(text).items()
    }


@lru_cache(4096)
def last_digits(number: str) -> str:
    """Return the last seven digits of a number, without those of an extension or a host."""
    user = number.partition("@")[0].partition(";")[0]
    return "".join(filter(str.isdecimal, user))[-7:]


class Directory:
    """
    The far ends by number.

    Args:
        configured: far ends by the last seven digits. They replace built-in ones.
    """

    def __init__(self, configured: Mapping[str, Behaviour] | None = None) -> None:
        self._far_ends = {**built_in_far_ends(), **(configured or {})}

    def find(self, number: str) -> Behaviour:
        """Return the far end of a number as dialled, or of the user part of a SIP URI."""
        return self._far_ends.get(last_digits(number)) or self._far_ends[DEFAULT_NUMBER]
