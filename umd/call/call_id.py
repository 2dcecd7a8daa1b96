"""The id of a call as clients see it: base64 of `<leg name>@<node>`, opaque to them."""

from __future__ import annotations

import base64
import binascii
from typing import NewType

from umd.errors import UmdError

CallId = NewType("CallId", str)
"""The id of a call, unique over all nodes."""


class InvalidCallId(UmdError):
    """The text is not an id that umd can have issued."""


def make_call_id(leg_name: str, node: str) -> CallId:
    """
    Return the id of a call, in the form of the example in MS-OXWUMS section 4.1.

    Args:
        leg_name: the name of the leg, unique on its node: a UUID for a call that umd places, the
            SIP Call-ID for a leg on a PBX. It may contain an "@". Octets that are not UTF-8 are
            decoded with `surrogateescape`.
        node: the name of the node, or of the backend for a leg on a PBX, that can end the call. It
            contains no "@".
    """
    octets = f"{leg_name}@{node}".encode("utf-8", "surrogateescape")
    return CallId(base64.b64encode(octets).decode("ascii"))


def split_call_id(call_id: str) -> tuple[str, str]:
    """
    Return the leg name and the node of an id; the inverse of `make_call_id`.

    Raises:
        InvalidCallId: the text is not base64 of `<leg name>@<node>`.
    """
    try:
        decoded = base64.b64decode(call_id, validate=True).decode("utf-8", "surrogateescape")
    except (binascii.Error, ValueError):
        raise InvalidCallId(f"{call_id!r} is not base64 of <leg name>@<node>") from None
    leg_name, at, node = decoded.rpartition("@")
    if not (leg_name and at and node):
        raise InvalidCallId(f"{call_id!r} decodes to {decoded!r}, which is not <leg name>@<node>")
    return leg_name, node
