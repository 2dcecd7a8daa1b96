"""
Hides the Upgrade field of a request from llhttp.

umd ignores an offer to upgrade to another protocol, as RFC 9110 section 7.8 allows. llhttp cannot:
it stops at the end of such a head and treats the body as octets of the other protocol. An attacker
could so hide a second request in a body (request smuggling).
"""

from __future__ import annotations

import re
from typing import Final

STAND_IN: Final = "~~~~~~~"
"""The field name that llhttp sees in place of Upgrade; it has the same length."""
_UPGRADE: Final = re.compile(rb"(?<=\n)upgrade(?=:)", re.IGNORECASE)


def safe_end(octets: bytes) -> int:
    """Return up to where llhttp may see an unfinished head: not a part of the name Upgrade."""
    line = octets.rfind(b"\n") + 1
    return line if b"upgrade:".startswith(octets[line : line + 9].lower()) else len(octets)


def without_upgrade(octets: bytes, start: int) -> bytes:
    """
    Return a part of a head in which each Upgrade field has the name `STAND_IN`.

    Args:
        octets: the head up to the end of the part, as `safe_end` gives it.
        start: index in `octets` at which the part begins.
    """
    # Include the octet before the part, which may be a line feed: a field name begins after one.
    before = max(0, start - 1)
    part = octets[before:] if before else octets
    if b"upgrade:" in part.lower():
        part = _UPGRADE.sub(STAND_IN.encode(), part)
    return part[start - before :]
