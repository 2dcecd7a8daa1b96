"""
Tells in plain words what happens to the calls of the demo: one line for each event of the log.

Each story is a tap of the log (`umd.runtime.log.Tap`), which is given every event.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import click

from umd.cli.terminal_text import shorten_name
from umd.runtime.log import Tap
from umd.trace.ladder import printable

ANOTHER_PORT: Final = "http.listen=tcp:8081:interface=127.0.0.1"

CAUSE_LABELS: Final[Mapping[int, str]] = {
    1: "unallocated number",
    16: "normal clearing",
    17: "user busy",
    21: "call rejected",
    102: "recovery on timer expiry",
}
"""The names of Q.850 for the causes that the demo's far ends can give."""


def text_story(show: Callable[[str], None], replaces_log: bool) -> Tap:
    """
    Return a tap that prints the events of calls as text.

    Args:
        show: prints a line.
        replaces_log: keep out of the log what the story tells, and all of level debug and info.
    """

    def tell(event: Mapping[str, Any]) -> bool:
        describe = _DESCRIPTIONS.get(event["event"])
        if describe is not None:
            show(f"{time.strftime('%H:%M:%S')}  {_call_name(event)}  {describe(event)}")
        return replaces_log and (describe is not None or event["level"] in ("debug", "info"))

    return tell


def json_story(show: Callable[[str], None], replaces_log: bool) -> Tap:
    """Return a tap that prints the events of calls as JSON objects. Args as `text_story`."""

    def tell(event: Mapping[str, Any]) -> bool:
        belongs = event["event"] in _DESCRIPTIONS
        if belongs:
            show(json.dumps({"event": dict(event)}, default=str))
        return replaces_log and (belongs or event["level"] in ("debug", "info"))

    return tell


def _call_name(event: Mapping[str, Any]) -> str:
    """Return the short name of the event's call, padded to eight characters."""
    leg: str = event.get("leg", "")
    if not leg and event["event"] == "soap.answered" and event["status"] == 200:
        leg = _leg_of(event["call"])
    return click.style(f"{printable(shorten_name(leg)):8}", bold=True)


def _leg_of(call_id: str) -> str:
    """Return the leg that a CallId encodes, or its beginning: the log shortens a long CallId."""
    try:
        decoded = base64.b64decode(call_id, validate=True).decode(errors="replace")
    except ValueError:
        return ""
    return decoded.rpartition("@")[0] or decoded


def _alerting(event: Mapping[str, Any]) -> str:
    return click.style("rings", fg="yellow")


def _connected(event: Mapping[str, Any]) -> str:
    return click.style("answered", fg="green")


def _disconnect_requested(event: Mapping[str, Any]) -> str:
    return f"Disconnect asked by {printable(event['principal'])}"


def _disconnect_unconfirmed(event: Mapping[str, Any]) -> str:
    text = f"no answer from the far end in {event['deadline_s']:g} s; still trying"
    return click.style(text, fg="yellow")


def _disconnected(event: Mapping[str, Any]) -> str:
    cause = f"{CAUSE_LABELS.get(event['cause'], 'cause')} ({event['cause']})"
    status = f"{event['sip_status']} " if event["sip_status"] else ""
    took = f"after {event['took_ms']:.0f} ms" if "took_ms" in event else f"by {event['by']}"
    confirmed = event["confirmed"]
    return click.style(
        f"{status}{took}: {event['outcome']}, {cause}", fg="green" if confirmed else "yellow"
    )


def _answered(event: Mapping[str, Any]) -> str:
    colour = "green" if event["status"] == 200 else "red"
    answer = click.style(f"HTTP {event['status']}, {event['outcome']}", fg=colour)
    # Text from a client is shown by `repr`, so that it cannot control the terminal.
    if "why" in event:
        answer += f": {event['why']!r}"
    return f"{event.get('operation', 'request')} of {event['address']} answered {answer}"


def _stopping(event: Mapping[str, Any]) -> str:
    return "stopping"


def _cannot_start(event: Mapping[str, Any]) -> str:
    why = click.style(event["why"], fg="red")
    return f"cannot start: {why}\nTry another port: umd demo -o {ANOTHER_PORT}"


_DESCRIPTIONS: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    "call.alerting": _alerting,
    "call.connected": _connected,
    "call.disconnect-requested": _disconnect_requested,
    "call.disconnect-unconfirmed": _disconnect_unconfirmed,
    "call.disconnected": _disconnected,
    "soap.answered": _answered,
    "daemon.cannot-start": _cannot_start,
    "daemon.stopping": _stopping,
}
"""The events of the story, with the function that describes each."""
