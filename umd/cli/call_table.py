"""Prints calls as a table."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import click

from umd.cli.terminal_text import (
    STATE_LABELS,
    align_columns,
    distinct_prefixes,
    format_duration,
    shorten_name,
)


def print_calls(calls: Sequence[Mapping[str, Any]]) -> None:
    """Print one line per call, with a head; "!" marks one that is suspect or should be down."""
    from umd.trace.ladder import printable

    names = distinct_prefixes([call["leg"] for call in calls])
    shown = {call["id"]: name for name, call in zip(names, calls, strict=True)}
    columns: list[list[str]] = [
        ["  CALL", *(f"{_mark(call)} {shown[call['id']]}" for call in calls)],
        ["OWNER", *(call["owner"] or "-" for call in calls)],
        ["TO", *(call["to"] for call in calls)],
        ["STATE", *(STATE_LABELS[call["state"]] for call in calls)],
        ["FOR", *(_since(call["began_at"]) for call in calls)],
        ["BACKEND", *(call["backend"] for call in calls)],
    ]
    # Only a PBX has bridges, and few calls have labels. An earlier umd does not send the keys.
    if any(call.get("partners") for call in calls):
        columns.append(["PARTNER", *(_partners(call, shown) for call in calls)])
    if any(call.get("labels") for call in calls):
        columns.append(["LABELS", *(", ".join(call["labels"]) or "-" for call in calls)])
    columns.append(["", *(_note(call, shown) for call in calls)])
    head, *lines = align_columns(
        [[printable(cell) for cell in row] for row in zip(*columns, strict=True)]
    )
    click.echo(click.style(head, bold=True))
    for line in lines:
        click.echo(click.style(line, fg="yellow") if line.startswith("!") else line)


def _mark(call: Mapping[str, Any]) -> str:
    return "!" if call["overdue"] or call.get("suspect") else " "


def _partners(call: Mapping[str, Any], shown: Mapping[str, str]) -> str:
    """Return the partners of a call as the first column shows them."""
    return ", ".join(_name(partner, shown) for partner in call["partners"]) or "-"


def _name(call_id: str, shown: Mapping[str, str]) -> str:
    from umd.call.record import leg_of

    return shown.get(call_id) or shorten_name(leg_of(call_id))


def _note(call: Mapping[str, Any], shown: Mapping[str, str]) -> str:
    """Return what else there is to say of a call, also in a dry run of `umd calls end`."""
    if call.get("protected"):
        return "protected"
    if call.get("ends_with"):
        return f"ends with {_name(call['ends_with'], shown)}"
    if call["overdue"]:
        return f"unconfirmed {_since(call['asked_at'])}"
    # An earlier umd does not send the key.
    return "older than its limit" if call.get("suspect") == "too-old" else ""


def _since(at: str) -> str:
    from datetime import datetime

    return format_duration(time.time() - datetime.fromisoformat(at).timestamp())
