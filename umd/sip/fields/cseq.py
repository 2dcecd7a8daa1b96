"""The CSeq header field (RFC 3261 §20.16)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from umd.sip.fields.syntax import FieldError, excerpt
from umd.sip.names import METHODS, TOKEN

MAX_CSEQ: Final = 2**31 - 1  # RFC 3261 §8.1.1.5: "less than 2**31"
_CSEQ: Final = re.compile(rf"0*([0-9]{{1,10}})[ \t]+({TOKEN})").fullmatch


class CSeqError(FieldError):
    """A text is not a CSeq, or its number is out of range."""


@dataclass(frozen=True, slots=True, init=False)
class CSeq:
    """The position of a request among the requests of a dialog, and its method."""

    number: int
    method: str

    def __init__(self, number: int, method: str) -> None:
        # Written out because the generated one takes twice the time; see Via.
        _set_number(self, number)
        _set_method(self, method)

    @classmethod
    def parse(cls, text: str) -> CSeq:
        """Parse a CSeq. Raises: CSeqError."""
        # The form that most senders write.
        digits, _, method = text.partition(" ")
        if method in METHODS and len(digits) < 10 and digits.isascii() and digits.isdecimal():
            return cls(int(digits), method)
        match = _CSEQ(text)
        if match is None:
            raise CSeqError(f"{excerpt(text)} is not a CSeq")
        number = int(match.group(1))
        if number > MAX_CSEQ:
            raise CSeqError(f"{number} is not less than 2**31")
        return cls(number, match.group(2))

    def __str__(self) -> str:
        return f"{self.number} {self.method}"


_set_number, _set_method = (CSeq.__dict__[name].__set__ for name in CSeq.__slots__)
