"""The words of SIP: header fields (canonical, compact, lists, single values) and methods."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

TOKEN: Final = r"[A-Za-z0-9\-.!%*_+`'~]+"
"""`token` of RFC 3261 §25.1, as a pattern."""

_is_token: Final = re.compile(TOKEN).fullmatch


class HeaderName(NamedTuple):
    """One row of the table."""

    name: str
    """As umd writes it."""
    compact: str = ""
    """The one-letter form (RFC 3261 §7.3.3 and the IANA registry), or nothing."""
    listed: bool = False
    """Whether `name: a, b` is the same as `name: a` and `name: b` (RFC 3261 §7.3.1)."""
    single: bool = False
    """Whether a message may hold one value at most."""


TABLE: Final = (
    HeaderName("Accept", listed=True),
    HeaderName("Accept-Contact", "a", listed=True),
    HeaderName("Accept-Encoding", listed=True),
    HeaderName("Accept-Language", listed=True),
    HeaderName("Alert-Info", listed=True),
    HeaderName("Allow", listed=True),
    HeaderName("Allow-Events", "u", listed=True),
    HeaderName("Authentication-Info"),
    # The commas of a challenge or of credentials are its own (RFC 3261 §7.3.1).
    HeaderName("Authorization"),
    HeaderName("Call-ID", "i", single=True),
    HeaderName("Call-Info", listed=True),
    HeaderName("Contact", "m", listed=True),
    HeaderName("Content-Disposition", single=True),
    HeaderName("Content-Encoding", "e", listed=True),
    HeaderName("Content-Language", listed=True),
    HeaderName("Content-Length", "l", single=True),
    HeaderName("Content-Type", "c", single=True),
    HeaderName("CSeq", single=True),
    HeaderName("Date", single=True),
    HeaderName("Error-Info", listed=True),
    HeaderName("Event", "o", single=True),
    HeaderName("Expires", single=True),
    HeaderName("From", "f", single=True),
    HeaderName("History-Info", listed=True),
    HeaderName("Identity", "y"),
    HeaderName("In-Reply-To", listed=True),
    HeaderName("Max-Forwards", single=True),
    HeaderName("MIME-Version", single=True),
    HeaderName("Min-Expires", single=True),
    HeaderName("Min-SE", single=True),
    HeaderName("Organization", single=True),
    HeaderName("P-Asserted-Identity", listed=True),
    HeaderName("P-Preferred-Identity", listed=True),
    HeaderName("Path", listed=True),
    HeaderName("Priority", single=True),
    HeaderName("Privacy"),
    HeaderName("Proxy-Authenticate"),
    HeaderName("Proxy-Authorization"),
    HeaderName("Proxy-Require", listed=True),
    HeaderName("RAck", single=True),
    HeaderName("Reason", listed=True),
    HeaderName("Record-Route", listed=True),
    HeaderName("Refer-To", "r", single=True),
    HeaderName("Referred-By", "b", single=True),
    HeaderName("Reject-Contact", "j", listed=True),
    HeaderName("Replaces", single=True),
    HeaderName("Reply-To", single=True),
    HeaderName("Request-Disposition", "d", listed=True),
    HeaderName("Require", listed=True),
    HeaderName("Retry-After", single=True),
    HeaderName("Route", listed=True),
    HeaderName("RSeq", single=True),
    HeaderName("Server", single=True),
    HeaderName("Service-Route", listed=True),
    HeaderName("Session-Expires", "x", single=True),
    HeaderName("Subject", "s", single=True),
    HeaderName("Subscription-State", single=True),
    HeaderName("Supported", "k", listed=True),
    HeaderName("Timestamp", single=True),
    HeaderName("To", "t", single=True),
    HeaderName("Unsupported", listed=True),
    HeaderName("User-Agent", single=True),
    HeaderName("Via", "v", listed=True),
    HeaderName("Warning", listed=True),
    HeaderName("WWW-Authenticate"),
)

METHODS: Final = frozenset(
    "ACK BYE CANCEL INFO INVITE MESSAGE NOTIFY OPTIONS PRACK "
    "PUBLISH REFER REGISTER SUBSCRIBE UPDATE".split()
)
"""Every method in the IANA registry; a server may know fewer."""

KNOWN: Final = frozenset(row.name for row in TABLE)
LISTED: Final = frozenset(row.name for row in TABLE if row.listed)
SINGLE: Final = frozenset(row.name for row in TABLE if row.single)

_BY_LOWER: Final = {row.name.lower(): row.name for row in TABLE} | {
    row.compact: row.name for row in TABLE if row.compact
}
SPELLINGS: Final = (
    _BY_LOWER
    | {lower.upper(): name for lower, name in _BY_LOWER.items()}
    | {row.name: row.name for row in TABLE}
)
"""The spellings seen most, so that nearly every name costs one look-up."""


def canonical(spelling: str) -> str | None:
    """
    The name in the spelling of the table; an unknown one unchanged; None when it is no token.

    `spelling` may still have the blanks that RFC 3261 §25.1 (HCOLON) allows before the colon.
    """
    name = spelling.rstrip(" \t")
    if _is_token(name) is None:  # before lower(): U+212A, the Kelvin sign, is "k" in lower case
        return None
    return _BY_LOWER.get(name.lower(), name)
