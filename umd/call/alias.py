"""The other ids of a call: which kinds there are, and which values are valid."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, TypeAlias

from umd.errors import UmdError

Aliases: TypeAlias = Mapping[str, str]
"""The ids of a call on its PBX and on the wire: from their kind to their value."""

SIP_CALL_ID: Final = "sip-call-id"
"""The kind of the Call-ID of the SIP dialog with the far end (RFC 3261 section 8.1.1.4)."""
SIP_CALLER_TAG: Final = "sip-caller-tag"
"""The kind of the tag of the far end that sent the INVITE, of a call through a proxy."""
SIP_CALLEE_TAG: Final = "sip-callee-tag"
"""The kind of the tag of the far end that answered it."""
FAR_END_TAGS: Final = (SIP_CALLER_TAG, SIP_CALLEE_TAG)
"""
A backend reports both for a call that has two far ends under one SIP Call-ID, as a proxy has.

Then a witness must see that both are down.
"""
NO_ALIASES: Final[Aliases] = MappingProxyType({})
"""What all calls share that have no alias."""
MAX_ALIASES: Final = 8
"""Aliases of one call."""
MAX_LABELS: Final = 16
"""Labels of one call."""
MAX_VALUE_LENGTH: Final = 255
"""Characters in an alias or a label."""
_KIND: Final = re.compile(r"[a-z0-9-]{1,32}\Z")


class InvalidAlias(UmdError):
    """A text cannot be an alias or a label of a call."""


def no_aliases() -> Aliases:
    """Return the mapping that all calls share that have no alias."""
    return NO_ALIASES


def check_aliases(aliases: object) -> Aliases:
    """
    Return aliases that a backend reports, as a mapping of umd's own.

    Raises:
        InvalidAlias: the text says which alias is wrong, and why.
    """
    if not isinstance(aliases, Mapping):
        raise InvalidAlias(f"aliases are a mapping, not {type(aliases).__name__}")
    if not aliases:
        return NO_ALIASES
    if len(aliases) > MAX_ALIASES:
        raise InvalidAlias(f"a call has at most {MAX_ALIASES} aliases, not {len(aliases)}")
    for kind, value in aliases.items():
        if not isinstance(kind, str) or _KIND.match(kind) is None:
            raise InvalidAlias(f"{kind!r:.60} is not a kind of alias, such as {SIP_CALL_ID!r}")
        _check_value(value, f"the alias {kind}")
    return dict(aliases)


def check_labels(labels: object) -> tuple[str, ...]:
    """
    Return labels without repetitions, in their order.

    Raises:
        InvalidAlias: the text says which label is wrong, and why.
    """
    if isinstance(labels, str) or not isinstance(labels, (tuple, list, set, frozenset)):
        raise InvalidAlias(f"labels are a tuple of texts, not {type(labels).__name__}")
    for label in labels:
        _check_value(label, "a label")
    unique = tuple(dict.fromkeys(labels))
    if len(unique) > MAX_LABELS:
        raise InvalidAlias(f"a call has at most {MAX_LABELS} labels, not {len(unique)}")
    return unique


def _check_value(value: object, name: str) -> None:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_VALUE_LENGTH:
        raise InvalidAlias(f"{name} is not a text of 1 to {MAX_VALUE_LENGTH} characters")
    if not value.isprintable():
        raise InvalidAlias(f"{name} has a character that cannot be printed: {value!r:.80}")
