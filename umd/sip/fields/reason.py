"""The Reason header field: why a request was sent (RFC 3326)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from umd.sip.fields.params import MAX_PARAMS, PARAMS, Params, join_params, param, split_params
from umd.sip.fields.syntax import (
    FieldError,
    check_effort,
    excerpt,
    quote,
    remove_blanks,
    remove_empty_params,
)
from umd.sip.names import TOKEN

_REASON: Final = re.compile(rf"({TOKEN})({PARAMS})", re.DOTALL).fullmatch
_PROTOCOL_AND_CAUSE: Final = re.compile(
    rf'[ \t]*({TOKEN})[ \t]*;[ \t;]*cause[ \t]*=[ \t]*"?([0-9]{{1,6}})"?[ \t]*(?:[;, \t].*)?',
    re.IGNORECASE | re.DOTALL,
).fullmatch


class ReasonError(FieldError):
    """A text is not a Reason."""


@dataclass(frozen=True, slots=True)
class Reason:
    """One value of a Reason header field: `Q.850;cause=16;text="Normal call clearing"`."""

    protocol: str
    params: Params = ()

    @classmethod
    def parse(cls, text: str) -> Reason:
        """Parse one value of a Reason. Raises: ReasonError."""
        check_effort(text, ReasonError)
        match = _REASON(text)
        if match is None:
            text = remove_blanks(text, ";=")
            match = _REASON(text) or _REASON(remove_empty_params(text))
        if match is None or match.group(2).count(";") > MAX_PARAMS:
            raise ReasonError(f"{excerpt(text)} is not a Reason")
        return cls(match.group(1), split_params(match.group(2)))

    @classmethod
    def make(cls, protocol: str, cause: int, text: str = "") -> Reason:
        """Return a Reason with a cause, and with a text if that is not empty."""
        params: Params = (("cause", str(cause)),)
        return cls(protocol, (*params, ("text", quote(text))) if text else params)

    def __str__(self) -> str:
        return self.protocol + join_params(self.params)

    @property
    def cause(self) -> int | None:
        """The cause; None if it is absent or is not a number of at most six digits."""
        value = param(self.params, "cause")
        if value is None or not (value.isascii() and value.isdecimal() and len(value) <= 6):
            return None
        return int(value)

    @property
    def text(self) -> str | None:
        """The text for people, or None."""
        return param(self.params, "text")


def find_reason(text: str) -> Reason | None:
    """
    Return the Reason in a text that may be malformed, or None if it names no protocol and cause.

    Some senders write the text parameter without its quotes, or without the closing one.
    """
    try:
        return Reason.parse(text)
    except ReasonError:
        match = _PROTOCOL_AND_CAUSE(text)
        return Reason(match.group(1), (("cause", match.group(2)),)) if match else None
