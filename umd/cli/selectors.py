"""The options that select calls, for `umd calls` and `umd calls end`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import click

from umd.cli.options import Decorator
from umd.cli.terminal_text import STATE_LABELS

_STATES: Final = {
    name: state
    for state, label in STATE_LABELS.items()
    if state != "disconnected"
    for name in (state, label)
}
"""The states of live calls as programs and as people call them."""


def _read_state(_: object, __: object, value: str | None) -> str | None:
    return None if value is None else _STATES[value]


def _read_age(_: object, __: object, value: str | None) -> float | None:
    if value is None:
        return None
    from umd.config.values import parse_delay

    try:
        return parse_delay(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r}: expected {error}.") from None


_OPTIONS: Final[tuple[Decorator, ...]] = (
    click.option("--backend", metavar="NAME", help="Only calls that this backend carries."),
    click.option(
        "--state",
        metavar="STATE",
        type=click.Choice(list(_STATES)),
        callback=_read_state,
        help="Only calls in this state: connecting, ringing, connected, ending.",
    ),
    click.option("--owner", metavar="NAME", help='Only calls of this owner; "" for calls of none.'),
    click.option("--label", metavar="TEXT", help="Only calls with this label."),
    click.option(
        "--number",
        metavar="PATTERN",
        help='Only calls whose number fits the pattern, such as "+1555*".',
    ),
    click.option(
        "--older-than",
        metavar="DURATION",
        callback=_read_age,
        help="Only calls that began longer ago, such as 90s, 5m or 12h.",
    ),
    click.option("--suspect", is_flag=True, default=None, help="Only suspect calls."),
    click.option("--id", metavar="ID", help="Only the call with this id: CallId, leg or alias."),
)
NAMES: Final = (
    "backend", "state", "owner", "label", "number", "older_than", "suspect", "id"
)  # fmt: skip
"""The selectors, by the names of the control socket."""


def selector_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a command, which gets them as keywords."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def given(options: dict[str, Any]) -> dict[str, Any]:
    """Return the selectors that are given, as fields of a request."""
    return {name: options[name] for name in NAMES if options.get(name) is not None}
