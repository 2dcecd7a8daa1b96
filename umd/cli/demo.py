"""`umd demo`: runs the daemon with simulated calls, and prints how to end one."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from importlib.resources import files
from typing import Any, Final, TextIO

import click

from umd import __version__
from umd.backends.sim.directory import Directory
from umd.call.call import Call
from umd.cli.demo_story import json_story, text_story
from umd.cli.terminal_text import STATE_LABELS, align_columns, shorten_name
from umd.config import Settings, load
from umd.daemon.daemon import Daemon
from umd.daemon.process import run
from umd.runtime.log_sinks import LineWriter, nonblocking_sink
from umd.runtime.reactor import install
from umd.runtime.signals import remember_hangups
from umd.soap.envelope import SOAP11, XSD, XSI
from umd.soap.namespaces import MESSAGES

DEMO_FILE: Final = str(files("umd.cli") / "demo.toml")
MAX_CALL_ID_CHARACTERS: Final = 20
"""A longer CallId is not shown in the table of calls, but only in the request below it."""

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
"""The request that ends a call of the demo."""


def run_demo(overrides: Sequence[str], as_json: bool = False) -> int:
    """
    Run the demo until a signal ends it.

    Args:
        overrides: of the demo's configuration, as `KEY=VALUE`.
        as_json: print a JSON object for each call and each event, instead of text.

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
        for text in _json_lines(daemon) if as_json else [_first_screen(daemon)]:
            screen.show(text)

    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        click.get_current_context().color = False
    # On a terminal the story replaces the log. A log that goes to a file or pipe is complete.
    make_tap = json_story if as_json else text_story
    tap = make_tap(screen.show, replaces_log=sys.stderr.isatty())
    exit_status = run(read, read(), hangups=hangups, on_started=started, tap=tap)
    screen.writer.finish()
    return exit_status


class Screen:
    """
    Standard output of the demo, which never waits for a slow reader.

    Args:
        writer: writes the lines.
        stream: standard output itself, for its encoding and whether it is a terminal.
    """

    def __init__(self, writer: LineWriter, stream: TextIO) -> None:
        self.writer = writer
        self._encoding = stream.encoding
        self._color = click.get_current_context().color
        if self._color is None:
            self._color = stream.isatty()

    def show(self, text: str) -> None:
        """Print a text, without colours unless standard output shows them."""
        if not self._color:
            text = click.unstyle(text)
        self.writer.write(text.encode(self._encoding, "backslashreplace"))


def _first_screen(daemon: Daemon) -> str:
    calls = list(daemon.control.live_calls())
    title = click.style(f"umd {__version__}", bold=True)
    parts = [f"{title}  simulator on, nothing leaves this machine          Ctrl-C ends it", ""]
    parts += _call_table(calls)
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


def _call_table(calls: Iterable[Call]) -> list[str]:
    directory = Directory()
    rows = [("CALL", "TO", "STATE", "FAR END", "CALLID")]
    for call in calls:
        far_end = directory.find(call.number).words
        call_id = call.id if len(call.id) <= MAX_CALL_ID_CHARACTERS else "(below)"
        name, state = shorten_name(call.leg), STATE_LABELS[call.state]
        rows.append((name, call.number, state, far_end, call_id))
    return ["  " + line for line in align_columns(rows)]


def _json_lines(daemon: Daemon) -> Iterator[str]:
    """Yield for programs how to reach the demo, and each call."""
    socket = daemon.control_socket
    addresses = {"url": _url(daemon), "control": None if socket is None else socket.path}
    yield json.dumps({"demo": {"version": __version__, **addresses}})
    directory = Directory()
    for call in daemon.control.live_calls():
        fields = {"id": call.id, "leg": call.leg, "to": call.number, "state": call.state.value}
        yield json.dumps({"call": {**fields, "far_end": directory.find(call.number).words}})


def _command() -> str:
    """Return the command line that runs this umd."""
    program = sys.argv[0]
    return f"{sys.executable} -m umd" if program.endswith("__main__.py") else program


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
