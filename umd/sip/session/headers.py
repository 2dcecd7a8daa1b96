"""Header fields that sessions write and read: Allow, Accept, Retry-After and Reason."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

from umd.sip.fields import MAX_VALUES, FieldError, split_list
from umd.sip.message import Message

Headers: TypeAlias = tuple[tuple[str, str], ...]

KNOWN_METHODS: Final = frozenset(
    "ACK BYE CANCEL INFO INVITE MESSAGE NOTIFY OPTIONS PRACK PUBLISH REFER REGISTER SUBSCRIBE "
    "UPDATE".split()
)
"""Methods with an RFC: umd refuses those that it does not support with 405, all others with 501."""
ALLOW: Final[Headers] = (("Allow", "INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE"),)
ACCEPT: Final[Headers] = (("Accept", "application/sdp"),)
CAPABILITIES: Final[Headers] = (*ALLOW, *ACCEPT)
RETRY_AFTER: Final[Headers] = (("Retry-After", "2"),)
"""Seconds, for a 500 to a re-INVITE that crosses another one (§14.2)."""


def reasons_of(message: Message) -> tuple[str, ...]:
    """Return the raw Reason values of a message (RFC 3326), and keep the malformed ones too."""
    if message.get("Reason") is None:
        return ()
    reasons: list[str] = []
    for line in message.all("Reason"):
        try:
            values = split_list(line)
        except FieldError as error:
            message.note_flaw(f"Reason: {error}")
            values = [value.strip(" \t") for value in line.split(",", MAX_VALUES)]
        reasons += [value for value in values if value]
    return tuple(reasons[:MAX_VALUES])


def reason_headers(reasons: Sequence[str]) -> Headers:
    """Return one Reason header field for each value."""
    return tuple(("Reason", value) for value in reasons)
