"""A run as people read it: who did what when, with the messages as a ladder, in plain text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from umd.backends.sim.directory import Directory
from umd.call.call import CallState
from umd.call.events import (
    Alerting,
    Connected,
    Disconnected,
    DisconnectRequested,
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
from umd.lab.world import Line

WIDE: Final = 34
"""Columns between umd and the far end."""
LEFT: Final = 42
"""Columns for what happens at umd."""


def ladder(result: Result) -> Iterator[str]:
    """The lines of a run's story, the violations where they happened."""
    violations = sorted(result.violations, key=lambda each: each.at)
    yield f"{'s':>10}  {'clients and umd':{LEFT}} umd{' ' * (WIDE - 6)}far end"
    for line in result.story:
        while violations and violations[0].at < line.at:
            yield _violated(violations.pop(0))
        yield f"{line.at:10.4f}  {_row(line)}".rstrip()
    yield from map(_violated, violations)


def _violated(violation: Violation) -> str:
    return f"{violation.at:10.4f}  !! {violation.rule}: {violation.said}"


def _row(line: Line) -> str:
    kind, _, rest = line.marker.partition(" ")
    match kind:
        case "sent" | "got":
            return " " * (LEFT + 1) + _arrow(kind, rest, line.detail)
        case "told":
            return _beside(f"call: {_event(line.detail)}")
        case "answered":
            outcome = line.detail
            words = outcome.value if isinstance(outcome, Outcome) else repr(outcome)
            return _beside(f"{rest} is answered: {words}")
        case _ if kind == FAR:
            return _beside("") + f"  {line.marker}"
        case _ if line.marker == REST:
            return "-- all is at rest --"
        case _:
            return _beside(line.marker)


def _beside(words: str) -> str:
    return f"{words:{LEFT}} |{' ' * WIDE}|"


def _arrow(kind: str, label: str, detail: Any) -> str:
    before, _, message = label.rpartition("> " if "> " in label else "< ")
    right = "> " in label
    name = f" {before}{message} "
    note = _fate(detail) if kind == "sent" else ""
    lost = kind == "sent" and not (detail and isinstance(detail, tuple))
    length = WIDE - len(name)
    head = ("x" if lost else ">") if right else ("x" if lost else "<")
    if kind == "sent":
        shaft = "-" * max(2, (length - 2) // 2)
        body = f"-{name}{shaft}{head}" if right else f"{head}{shaft}{name}-"
        wire = body.ljust(WIDE) if right else body.rjust(WIDE)
    else:
        shaft = "-" * max(2, (length - 2) // 3)
        wire = f"{shaft}>{name}".rjust(WIDE) if right else f"{name}<{shaft}".ljust(WIDE)
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


def heading(scenario: Scenario, choices: Iterable[object]) -> Iterator[str]:
    """What a run is about."""
    directory = Directory(scenario.far_end)
    if scenario.title:
        yield scenario.title
    for step in scenario.step:
        if step.do is None and step.number is not None:
            yield f"far end   {step.number}: {directory.find(step.number).words}"
    for choice in choices:
        yield f"choice    {choice}"
