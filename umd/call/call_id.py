"""The identifier a client holds: base64 of `<leg name>@<node>`, opaque to the client."""

from __future__ import annotations

import base64
import binascii
from typing import NewType

from umd.errors import UmdError

CallId = NewType("CallId", str)


class InvalidCallId(UmdError):
    """The text is not an identifier that umd could have issued."""


def make_call_id(leg_name: str, node: str) -> CallId:
    """
    Name a call in the form of the published examples (reference um-web-service, 3.7).

    Args:
        leg_name: unique on its node: a UUID for a call umd places, the SIP Call-ID for a leg that
            lives on a PBX. It may hold an "@" itself, and octets that are no UTF-8, as
            `surrogateescape` has them.
        node: who can end the call: the node's name, or the backend's for a leg on a PBX; no "@".
    """
    octets = f"{leg_name}@{node}".encode("utf-8", "surrogateescape")
    return CallId(base64.b64encode(octets).decode("ascii"))


def split_call_id(call_id: str) -> tuple[str, str]:
    """
    Give back `(leg name, node)`; the inverse of `make_call_id`.

    Raises:
        InvalidCallId: when the text is not base64 of `<leg name>@<node>`.
    """
    try:
        decoded = base64.b64decode(call_id, validate=True).decode("utf-8", "surrogateescape")
    except (binascii.Error, ValueError):
        raise InvalidCallId(f"{call_id!r} is not base64 of <leg name>@<node>") from None
    leg_name, at, node = decoded.rpartition("@")
    if not (leg_name and at and node):
        raise InvalidCallId(f"{call_id!r} decodes to {decoded!r}, which is not <leg name>@<node>")
    return leg_name, node
