"""`umd demo`: a daemon with a few calls on the screen, and in plain words what happens to them."""

from __future__ import annotations

import base64
import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from typing import Any, Final, TextIO

import click

from umd import __version__
from umd.backends.sim.directory import Directory
from umd.call.call import Call
from umd.cli.terminal_text import STATE_LABELS, align_columns, shorten_name
from umd.config import Settings, load
from umd.daemon.daemon import Daemon
from umd.daemon.process import run
from umd.runtime.log import Tap
from umd.runtime.log_sinks import LineWriter, nonblocking_sink
from umd.runtime.reactor import install
from umd.runtime.signals import remember_hangups
from umd.soap.envelope import SOAP11, XSD, XSI
from umd.soap.namespaces import MESSAGES
from umd.trace.ladder import printable

ANOTHER_PORT: Final = "http.listen=tcp:8081:interface=127.0.0.1"
DEMO_FILE: Final = str(files("umd.cli") / "demo.toml")

REQUEST: Final = f"""\
<?xml version="1.0" encoding="utf-8"?>
<soap:Envelope xmlns:xsi="{XSI}"
               xmlns:xsd="{XSD}"
               xmlns:soap="{SOAP11}">
  <soap:Body>
    <Disconnect xmlns="{MESSAGES}">
      <CallId>{{call_id}}</CallId>
    </Disconnect>
  </soap:Body>
</soap:Envelope>"""

CAUSES: Final[Mapping[int, str]] = {
    1: "unallocated number",
    16: "normal clearing",
    17: "user busy",
    21: "call rejected",
    102: "recovery on timer expiry",
}
"""The words of Q.850 for the causes that the demo's far ends can give."""


def run_demo(overrides: Sequence[str], as_json: bool = False) -> int:
    """
    Run the demo until it is interrupted.

    Args:
        overrides: of the configuration.
        as_json: whether the screen is for a program: an object for each call, then for each event.

    Returns:
        The exit status.

    Raises:
        ConfigError: an override is wrong.
    """

    def read() -> Settings:
        return load(DEMO_FILE, overrides)

    hangups = remember_hangups()
    reactor = install()
    screen = Screen(LineWriter(nonblocking_sink(sys.stdout), reactor=reactor), sys.stdout)

    def started(daemon: Daemon) -> None:
        for text in _objects(daemon) if as_json else [_screen(daemon)]:
            screen.show(text)

    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        click.get_current_context().color = False
    # On a terminal the story replaces the log; to a pipe the log goes as it always does.
    narrate = reporter if as_json else narrator
    tap = narrate(screen.show, replaces_log=sys.stderr.isatty())
    status = run(read, read(), hangups=hangups, on_started=started, tap=tap)
    screen.lines.finish()
    return status


class Screen:
    """
    Standard output, written to without waiting for who reads it.

    Args:
        lines: to it.
        like: the stream itself: whether it has colours, and which characters.
    """

    def __init__(self, lines: LineWriter, like: TextIO) -> None:
        self.lines = lines
        self._encoding = like.encoding
        self._color = click.get_current_context().color
        if self._color is None:
            self._color = like.isatty()

    def show(self, text: str) -> None:
        if not self._color:
            text = click.unstyle(text)
        self.lines.write(text.encode(self._encoding, "backslashreplace"))


def _screen(daemon: Daemon) -> str:
    calls = list(daemon.control.live_calls())
    title = click.style(f"umd {__version__}", bold=True)
    parts = [f"{title}  simulator on, nothing leaves this machine          Ctrl-C ends it", ""]
    parts += _table(calls)
    url = _url(daemon)
    if calls and url:
        parts += [
            "",
            "End the first call, that of the documentation, from another terminal (or another",
        ]
        parts += ["one, by its CallId):", ""]
        parts += [
            f"  curl -sSi {url} -H 'Content-Type: text/xml' --data-binary @- <<'X'",
            REQUEST.format(call_id=calls[0].id),
            "X",
        ]
    if calls and daemon.control_socket is not None and daemon.capture.size:
        parts += ["", "Then see the SIP messages that did it:", ""]
        parts += [f"  {_command()} trace {shorten_name(calls[0].leg)}{_socket_option(daemon)}"]
    return "\n".join(parts) + "\n"


def _table(calls: Iterable[Call]) -> list[str]:
    directory = Directory()
    rows = [("CALL", "TO", "STATE", "FAR END", "CALLID")]
    for call in calls:
        words = directory.find(call.number).words
        call_id = call.id if len(call.id) <= 20 else "(below)"
        rows.append((shorten_name(call.leg), call.number, STATE_LABELS[call.state], words, call_id))
    return ["  " + line for line in align_columns(rows)]


def _objects(daemon: Daemon) -> Iterator[str]:
    """The same for a program: how to reach the demo, and each call."""
    socket = daemon.control_socket
    reached = {"url": _url(daemon), "control": None if socket is None else socket.path}
    yield json.dumps({"demo": {"version": __version__, **reached}})
    directory = Directory()
    for call in daemon.control.live_calls():
        told = {"id": call.id, "leg": call.leg, "to": call.number, "state": call.state.value}
        yield json.dumps({"call": {**told, "far_end": directory.find(call.number).words}})


def _command() -> str:
    """What this umd was called as."""
    called = sys.argv[0]
    return f"{sys.executable} -m umd" if called.endswith("__main__.py") else called


def _socket_option(daemon: Daemon) -> str:
    configured = daemon.settings.control.socket
    return "" if configured == "auto" else f" --socket {shlex.quote(configured)}"


def _url(daemon: Daemon) -> str | None:
    scheme = "http" if daemon.settings.http.listen else "https"
    for port in daemon.ports:
        host: Any = port.getHost()
        if hasattr(host, "port"):
            name = f"[{host.host}]" if ":" in host.host else host.host
            return f"{scheme}://{name}:{host.port}/EWS/UM2007Legacy.asmx"
    return None


# -- the story


def narrator(show: Callable[[str], None], replaces_log: bool) -> Tap:
    """
    Make what tells the story.

    Args:
        show: takes a line.
        replaces_log: whether what is told, and what is only for the log, needs no line there.
    """

    def tell(event: Mapping[str, Any]) -> bool:
        write = _STORY.get(event["event"])
        if write is not None:
            show(f"{time.strftime('%H:%M:%S')}  {_name_of(event)}  {write(event)}")
        told = write is not None or event["level"] in ("debug", "info")
        return replaces_log and told

    return tell


def reporter(show: Callable[[str], None], replaces_log: bool) -> Tap:
    """The same for a program: each event of the story as an object. Args as of `narrator`."""

    def tell(event: Mapping[str, Any]) -> bool:
        if event["event"] in _STORY:
            show(json.dumps({"event": dict(event)}, default=str))
        told = event["event"] in _STORY or event["level"] in ("debug", "info")
        return replaces_log and told

    return tell


def _name_of(event: Mapping[str, Any]) -> str:
    """The short name of the call an event is about, eight characters."""
    leg: str = event.get("leg", "")
    if not leg and event["event"] == "soap.answered" and event["status"] == 200:
        leg = _leg_of(event["call"])
    return click.style(f"{printable(shorten_name(leg)):8}", bold=True)


def _leg_of(call_id: str) -> str:
    """The leg that a call id names, or its beginning: the log cuts a long one."""
    try:
        named = base64.b64decode(call_id, validate=True).decode(errors="replace")
    except ValueError:
        return ""
    return named.rpartition("@")[0] or named


def _alerting(event: Mapping[str, Any]) -> str:
    return click.style("rings", fg="yellow")


def _connected(event: Mapping[str, Any]) -> str:
    return click.style("answered", fg="green")


def _asked(event: Mapping[str, Any]) -> str:
    return f"Disconnect asked by {printable(event['principal'])}"


def _unconfirmed(event: Mapping[str, Any]) -> str:
    words = f"no answer from the far end in {event['deadline_s']:g} s; still trying"
    return click.style(words, fg="yellow")


def _disconnected(event: Mapping[str, Any]) -> str:
    cause = f"{CAUSES.get(event['cause'], 'cause')} ({event['cause']})"
    status = f"{event['sip_status']} " if event["sip_status"] else ""
    took = f"after {event['took_ms']:.0f} ms" if "took_ms" in event else f"by {event['by']}"
    confirmed = event["confirmed"]
    return click.style(
        f"{status}{took}: {event['outcome']}, {cause}", fg="green" if confirmed else "yellow"
    )


def _answered(event: Mapping[str, Any]) -> str:
    colour = "green" if event["status"] == 200 else "red"
    words = click.style(f"HTTP {event['status']}, {event['outcome']}", fg=colour)
    # What a client sent is shown as its repr, so that it cannot drive the terminal.
    if "why" in event:
        words += f": {event['why']!r}"
    return f"{event.get('operation', 'request')} of {event['address']} answered {words}"


def _stopping(event: Mapping[str, Any]) -> str:
    return "stopping"


def _cannot_start(event: Mapping[str, Any]) -> str:
    words = click.style(event["why"], fg="red")
    return f"cannot start: {words}\nTry another port: umd demo -o {ANOTHER_PORT}"


_STORY: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    "call.alerting": _alerting,
    "call.connected": _connected,
    "call.disconnect-requested": _asked,
    "call.disconnect-unconfirmed": _unconfirmed,
    "call.disconnected": _disconnected,
    "soap.answered": _answered,
    "daemon.cannot-start": _cannot_start,
    "daemon.stopping": _stopping,
}
