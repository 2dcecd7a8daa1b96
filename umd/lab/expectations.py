"""What a scenario expects of a call, compared with what has become of it."""

from __future__ import annotations

from collections.abc import Sequence

from umd.call.call import Call
from umd.call.events import Disconnected, DisconnectRequested, LifecycleEvent
from umd.control.outcome import Outcome
from umd.lab.choices import Verb
from umd.lab.scenario import Expectation
from umd.lab.testbed import LogLine, Testbed


def unmet_of(testbed: Testbed, expect: Expectation, run_log: Sequence[LogLine]) -> list[str]:
    """Return the parts of an expectation that are not met, as text."""
    call = testbed.calls.get(expect.call)
    if call is None:
        return ["was never placed"]
    events: list[tuple[float, LifecycleEvent]] = [
        (line.at, line.detail)
        for line in run_log
        if line.marker.startswith("told ") and line.detail.call == call.id
    ]
    found: list[str] = []

    def compare(name: str, expected: object, actual: object) -> None:
        if expected is not None and expected != actual:
            found.append(f"expected {name} {_text(expected)}, found {_text(actual)}")

    on_record = testbed.checker.calls[call.leg].events
    compare("events", expect.events, [type(event).__name__ for event in on_record])
    for client, outcome in expect.answers.items():
        compare(f"the answer to {client}", outcome.value, _last_answer(run_log, client))
    cause = call.cause if call.ended else None
    compare("by", expect.by and expect.by.value, cause and cause.by.value)
    compare("confirmed", expect.confirmed, call.confirmed if call.ended else None)
    compare("q850", expect.q850, cause and cause.q850)
    compare("sip_status", expect.sip_status, cause and cause.sip_status)
    found += _late(call, expect, events, run_log)
    return found


def _late(
    call: Call,
    expect: Expectation,
    events: list[tuple[float, LifecycleEvent]],
    run_log: Sequence[LogLine],
) -> list[str]:
    found = []
    begun = next((at for at, e in events if isinstance(e, DisconnectRequested)), events[0][0])
    end = next((at for at, event in events if isinstance(event, Disconnected)), None)
    if expect.within is not None and (end is None or end - begun > expect.within):
        took = "never ended" if end is None else f"ended after {end - begun:.3f} s"
        found.append(f"expected the end within {expect.within:g} s: {took}")
    if expect.answered_within is not None:
        asked_at: dict[str, float] = {}
        for line in run_log:
            client, _, verb = line.marker.partition(" ")
            if verb.split(" (")[0] in (Verb.DISCONNECT, Verb.INSIST):
                asked_at[client] = line.at
            elif client == "answered" and verb in asked_at:
                took_s = line.at - asked_at.pop(verb)
                if took_s > expect.answered_within + 1e-6:
                    found.append(f"{verb} was answered after {took_s:.3f} s")
        found += [f"{client} was never answered" for client in asked_at]
    return found


def _last_answer(run_log: Sequence[LogLine], client: str) -> str | None:
    answers = [line.detail for line in run_log if line.marker == f"answered {client}"]
    last = answers[-1] if answers else None
    return last.value if isinstance(last, Outcome) else last and repr(last)


def _text(value: object) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value)
