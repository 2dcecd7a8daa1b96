"""The names of SIP header fields and methods."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

TOKEN: Final = r"[A-Za-z0-9\-.!%*_+`'~]+"
"""`token` of RFC 3261 §25.1, as a pattern."""

_is_token: Final = re.compile(TOKEN).fullmatch


class HeaderName(NamedTuple):
    """One header field of `TABLE`."""

    name: str
    """The canonical spelling, which umd writes."""
    compact: str = ""
    """The one-letter form (RFC 3261 §7.3.3 and the IANA registry); empty if there is none."""
    listed: bool = False
    """Whether the value is a comma-separated list (RFC 3261 §7.3.1)."""
    single: bool = False
    """Whether a message may have this header field only once."""


TABLE: Final = (
    HeaderName("Accept", listed=True),
    HeaderName("Accept-Contact", "a", listed=True),
    HeaderName("Accept-Encoding", listed=True),
    HeaderName("Accept-Language", listed=True),
    HeaderName("Alert-Info", listed=True),
    HeaderName("Allow", listed=True),
    HeaderName("Allow-Events", "u", listed=True),
    HeaderName("Authentication-Info"),
    # The commas in challenges and credentials do not separate values (RFC 3261 §7.3.1).
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
"""All methods in the IANA registry. A user agent may support fewer."""

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
"""Canonical name by the most frequent spellings: canonical, compact, all lower or upper case."""


def canonical(spelling: str) -> str | None:
    """
    Return the canonical spelling of a header field name.

    Args:
        spelling: the name as received. It may end in blanks, which are allowed before the colon
            (HCOLON, RFC 3261 §25.1).

    Returns:
        The canonical name, an unknown name unchanged, or None if it is not a token.
    """
    name = spelling.rstrip(" \t")
    if _is_token(name) is None:  # before lower(), which turns the Kelvin sign (U+212A) into "k"
        return None
    return _BY_LOWER.get(name.lower(), name)
