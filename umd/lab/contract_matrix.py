"""What `umd backend-contract` does: finds the contract of a backend type, and runs it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.metadata import entry_points
from typing import Any, Final

from pydantic import ValidationError

from umd.backend import UnknownBackendType, load_backend_type
from umd.config import ConfigError
from umd.config.mistakes import Mistakes
from umd.config.notation import dotted
from umd.config.places import Places
from umd.config.source import Tree, apply_override
from umd.errors import UmdError
from umd.testing.contract import LegBackendContract, RealTimeContract
from umd.testing.matrix import Result, Row, chosen_behaviours, run_contract, write_junit

__all__ = ["NoContract", "Result", "Row", "load_contract", "run_matrix", "write_junit"]

ENTRY_POINT_GROUP: Final = "umd.backend_contracts"
ROLES: Final = {
    "answers": "number_that_answers",
    "rings": "number_that_rings",
    "rejects": "number_that_rejects",
    "hangs-up": "number_that_hangs_up",
    "silent": "number_silent_to_bye",
}
"""The attribute of a contract for each role of a number."""


class NoContract(UmdError):
    """There is no such backend, or its distribution ships no contract that can be used."""


def load_contract(type_name: str) -> type[LegBackendContract]:
    """
    Load the contract class of a backend type.

    Raises:
        NoContract: no installed distribution provides the backend, or none its contract.
    """
    _check_type(type_name)
    for point in entry_points(group=ENTRY_POINT_GROUP, name=type_name):
        try:
            loaded = point.load()
        except Exception as error:
            raise NoContract(f"{point.value} cannot be loaded: {error}") from error
        if not (isinstance(loaded, type) and issubclass(loaded, LegBackendContract)):
            raise NoContract(f"{point.value} is no class derived from LegBackendContract")
        return loaded
    raise NoContract(
        f"the distribution of the backend {type_name!r} has no contract: name a class derived from "
        f"umd.testing.LegBackendContract in an entry point {type_name} of {ENTRY_POINT_GROUP}"
    )


def _check_type(type_name: str) -> None:
    try:
        load_backend_type(type_name)
    except UnknownBackendType as error:
        raise NoContract(str(error)) from error


def run_matrix(
    type_name: str,
    overrides: Sequence[str] = (),
    numbers: Sequence[str] = (),
    only: Sequence[str] = (),
) -> Iterator[Row]:
    """
    Run the contract of a backend type.

    Args:
        type_name: the type.
        overrides: `key=value` pairs for the section of the backend.
        numbers: `role=number` pairs. If there are any, the backend is tested in real time against
            its own peer, instead of the peer that its contract brings.
        only: beginnings of the ids of the behaviours to test; empty: all.

    Raises:
        NoContract: as `load_contract`, or nothing can be tested as asked.
        ConfigError: an override is wrong.
    """
    contract = _real_time_contract(type_name, numbers) if numbers else load_contract(type_name)
    keys = _read_overrides(contract, type_name, overrides)
    for beginning in only:
        if not chosen_behaviours(contract, [beginning]):
            raise NoContract(f"the id of no behaviour begins with {beginning!r}")
    return run_contract(contract, keys, only)


def _real_time_contract(type_name: str, numbers: Sequence[str]) -> type[LegBackendContract]:
    """Return a contract whose far ends are those of a real peer."""
    attributes: dict[str, Any] = {"backend_type": type_name, **dict.fromkeys(ROLES.values())}
    attributes["odd_numbers"] = ()  # a real PBX may have a far end for any of them
    for pair in numbers:
        role, equals, number = pair.partition("=")
        if role not in ROLES or not equals:
            raise NoContract(f"--number {pair}: expected ROLE=NUMBER; roles: {', '.join(ROLES)}")
        attributes[ROLES[role]] = number
    _check_type(type_name)
    return type("RealTime", (RealTimeContract,), attributes)


def _read_overrides(
    contract: type[LegBackendContract], type_name: str, overrides: Sequence[str]
) -> dict[str, Any]:
    """Return the keys that `overrides` set, checked as those of a section of the backend."""
    if not overrides:
        return {}
    if contract.make_backend is not LegBackendContract.make_backend and (
        contract.make_settings is LegBackendContract.make_settings and not contract.backend_type
    ):
        raise NoContract(
            f"the contract of {type_name!r} makes its own settings, so -o has no effect: let it "
            "set backend_type, or call make_settings"
        )
    path = ("backend", type_name)
    tree: Tree = {}
    overridden = []
    for override in overrides:
        full = f"{dotted(path)}.{override}"
        overridden.append((apply_override(tree, full), full))
    keys: dict[str, Any] = tree["backend"][type_name]
    fixed = [key for key in keys if key in contract.fixed_keys]
    if fixed:
        raise NoContract(
            f"-o {fixed[0]}: the contract of {type_name!r} brings its own peer; to test with "
            "another one, say by --number which number there answers"
        )
    settings = load_backend_type(type_name).Settings
    try:
        settings.model_validate({**contract.section, **keys})
    except ValidationError as error:
        mistakes = Mistakes(Places(None, "", overridden))
        mistakes.add_all(error, settings, path)
        raise ConfigError(mistakes.lines) from None
    return keys
