"""What a command leaves to a script: its exit status, and errors as text or as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import click

DONE: Final = 0
NOT_SO: Final = 1
"""What was asked for is not so: there is no such call, the counts do not agree."""
WRONG_USAGE: Final = 2
"""Wrong usage, a wrong configuration, or a file that cannot be read or written."""
UNREACHABLE: Final = 3
"""The daemon, or what carries the call, cannot be reached."""
UNCONFIRMED: Final = 4
"""The end of the call was not confirmed."""
VIOLATED: Final = 4
"""`umd lab`: an invariant was violated."""
OUTPUT_LOST: Final = 74
"""Standard output cannot be written, as its disk is full (EX_IOERR of sysexits.h)."""
BY_KIND: Final[Mapping[str, int]] = {
    **dict.fromkeys(("no-such-call", "ambiguous", "no-messages", "no-journal"), NOT_SO),
    **dict.fromkeys(("bad-request", "not-dialable"), WRONG_USAGE),
    **dict.fromkeys(("unavailable", "busy", "internal"), UNREACHABLE),
}
"""The status for each kind of refusal of a running umd."""
INTERRUPTED: Final = 130
"""By SIGINT, as a shell tells it."""
READER_GONE: Final = 141
"""Nobody reads standard output any more; what a shell tells of SIGPIPE."""


def tell_error(text: str, kind: str, **more: Any) -> None:
    """
    Write an error of the running command to standard error: a JSON object with `--json`.

    Args:
        text: for people; may have several lines.
        kind: for programs, such as "no-such-call".
        more: further keys of the object.
    """
    context = click.get_current_context(silent=True)
    if context is not None and context.params.get("as_json"):
        text = json.dumps({"error": text, "kind": kind, **more})
    click.echo(text, err=True)
