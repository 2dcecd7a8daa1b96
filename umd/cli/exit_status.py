"""The exit statuses of the commands; docs/commands.md has the table of all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

DONE: Final = 0
NEGATIVE: Final = 1
"""The command worked and its answer is no: no such call, a damaged journal, wrong counts."""
USAGE_ERROR: Final = 2
"""Wrong usage, a wrong configuration, or a file that cannot be read or written."""
UNREACHABLE: Final = 3
"""The daemon or the backend of the call cannot be reached."""
UNCONFIRMED: Final = 4
"""`umd call end`: the far end has not confirmed that the call is down."""
VIOLATED: Final = 4
"""`umd lab`: an invariant is violated."""
OUTPUT_LOST: Final = 74
"""Standard output cannot be written, because its disk is full (EX_IOERR of sysexits.h)."""
INTERRUPTED: Final = 130
"""SIGINT ended the command, as a shell reports it."""
READER_GONE: Final = 141
"""The reader of standard output is gone; a shell reports the same for SIGPIPE."""

STATUS_BY_ERROR_KIND: Final[Mapping[str, int]] = {
    **dict.fromkeys(("no-such-call", "ambiguous", "no-messages", "no-journal"), NEGATIVE),
    **dict.fromkeys(("too-many", "count-changed"), NEGATIVE),
    **dict.fromkeys(("bad-request", "not-dialable", "cannot-place"), USAGE_ERROR),
    **dict.fromkeys(("unavailable", "busy", "internal"), UNREACHABLE),
}
"""The exit status for each `kind` of error that the control socket replies."""
