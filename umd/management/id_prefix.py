"""Matches a prefix of a CallId, or of the name of the leg that the CallId encodes."""

from __future__ import annotations

import base64


def encoded_prefixes(prefix: str) -> list[str]:
    """
    Return the prefixes that a CallId may have: the text itself, and its encoding as a leg.

    A CallId is base64 of LEG@NODE, so every three octets of the leg are four characters of it. The
    encoding may be shorter than the prefix; check what it finds with `has_prefix`.
    """
    octets = prefix.encode(errors="replace")
    return [prefix, base64.b64encode(octets[: len(octets) // 3 * 3]).decode()]


def has_prefix(call_id: str, prefix: str) -> bool:
    """Return whether a CallId, or the leg in it, begins with a prefix."""
    if call_id.startswith(prefix):
        return True
    try:
        return base64.b64decode(call_id, validate=True).startswith(prefix.encode(errors="replace"))
    except ValueError:
        return False
