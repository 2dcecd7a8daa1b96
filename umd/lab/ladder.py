"""Draws the log of a run as plain text: acts and events with their times, messages as a ladder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from umd.backends.sim.directory import Directory
from umd.call.call import CallState
from umd.call.events import (
    Alerting,
    Changed,
    Connected,
    Disconnected,
    DisconnectRequested,
    Forgotten,
    Found,
    LeaseRenewed,
    LifecycleEvent,
    Lost,
    Placed,
    Resumed,
)
from umd.control.outcome import Outcome
from umd.lab.choices import FAR, REST
from umd.lab.rules import Violation
from umd.lab.run import Result
from umd.lab.scenario import Scenario
from umd.lab.testbed import LogLine

WIRE_COLUMNS: Final = 34
"""Width of the ladder, between umd and the far end."""
UMD_COLUMNS: Final = 42
"""Width of the part for clients and umd."""


def ladder(result: Result) -> Iterator[str]:
    """Yield the lines of a drawing, each violation at its place."""
    violations = sorted(result.violations, key=lambda each: each.at)
    yield f"{'s':>10}  {'clients and umd':{UMD_COLUMNS}} umd{' ' * (WIRE_COLUMNS - 6)}far end"
    for line in result.run_log:
        while violations and violations[0].at < line.at:
            yield _violated(violations.pop(0))
        yield f"{line.at:10.4f}  {_row(line)}".rstrip()
    yield from map(_violated, violations)


def _violated(violation: Violation) -> str:
    return f"{violation.at:10.4f}  !! {violation.rule}: {violation.text}"


def _row(line: LogLine) -> str:
    kind, _, rest = line.marker.partition(" ")
    match kind:
        case "sent" | "got":
            return " " * (UMD_COLUMNS + 1) + _arrow(kind, rest, line.detail)
        case "told":
            return _beside(f"call: {_event(line.detail)}")
        case "answered":
            outcome = line.detail
            words = outcome.value if isinstance(outcome, Outcome) else repr(outcome)
            return _beside(f"{rest} is answered: {words}")
        case _ if kind == FAR:
            return _beside("") + f"  {line.marker}"
        case _ if line.marker == REST:
            return "-- nothing is under way --"
        case _:
            return _beside(line.marker)


def _beside(words: str) -> str:
    return f"{words:{UMD_COLUMNS}} |{' ' * WIRE_COLUMNS}|"


def _arrow(kind: str, label: str, detail: Any) -> str:
    before, _, message = label.rpartition("> " if "> " in label else "< ")
    right = "> " in label
    name = f" {before}{message} "
    note = _fate(detail) if kind == "sent" else ""
    lost = kind == "sent" and not (detail and isinstance(detail, tuple))
    length = WIRE_COLUMNS - len(name)
    head = ("x" if lost else ">") if right else ("x" if lost else "<")
    if kind == "sent":
        shaft = "-" * max(2, (length - 2) // 2)
        body = f"-{name}{shaft}{head}" if right else f"{head}{shaft}{name}-"
        wire = body.ljust(WIRE_COLUMNS) if right else body.rjust(WIRE_COLUMNS)
    else:
        shaft = "-" * max(2, (length - 2) // 3)
        arrow = f"{shaft}>{name}" if right else f"{name}<{shaft}"
        wire = arrow.rjust(WIRE_COLUMNS) if right else arrow.ljust(WIRE_COLUMNS)
    return f"|{wire}|{note}"


def _fate(detail: Any) -> str:
    if detail == "refused":
        return " refused: nothing listens there"
    if not detail:
        return " lost"
    if len(detail) > 1:
        return " copies after " + ", ".join(f"{delay:.2f} s" for delay in detail)
    return "" if detail[0] < 0.04 else f" takes {detail[0]:.2f} s"


def _event(event: LifecycleEvent) -> str:
    match event:
        case Placed():
            return f"placed to {event.number}"
        case Found():
            return "found"
        case Resumed():
            return "resumed"
        case Alerting():
            return CallState.ALERTING.value
        case Connected():
            return CallState.CONNECTED.value
        case DisconnectRequested():
            return CallState.DISCONNECTING.value
        case Disconnected():
            how = "confirmed" if event.confirmed else "unconfirmed"
            status = f" {event.cause.sip_status}" if event.cause.sip_status else ""
            return f"ended by {event.cause.by},{status} {how}"
        case Lost():
            return f"lost: {event.reason}"
        case Forgotten():
            return f"forgotten: {event.reason}"
        case Changed():
            return "changed"
        case LeaseRenewed():
            return "lease renewed"


def heading(scenario: Scenario, choices: Iterable[object]) -> Iterator[str]:
    """Yield the lines above a drawing: the title, the far ends, and the choices."""
    directory = Directory(scenario.far_end)
    if scenario.title:
        yield scenario.title
    for step in scenario.step:
        if step.do is None and step.number is not None:
            yield f"far end   {step.number}: {directory.find(step.number).words}"
    for choice in choices:
        yield f"choice    {choice}"
