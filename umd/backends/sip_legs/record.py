"""What is recorded of an answered SIP leg, so that umd can end it after a restart."""

from __future__ import annotations

from typing import Any, NamedTuple

from umd.errors import UmdError
from umd.sip.dialog import Dialog
from umd.sip.fields import MAX_CSEQ
from umd.sip.transaction import Hop
from umd.text import dump_json, load_json


class UnreadableRecord(UmdError):
    """The record of a leg cannot be read, or no dialog can be restored from it."""


class LegRecord(NamedTuple):
    """What is recorded of an answered leg, in the order in which it is written."""

    local_tag: str
    remote_tag: str
    local: str
    """The From of our requests, a raw value."""
    remote: str
    """The To of our requests, a raw value."""
    invite_hop: Hop
    """The hop that the INVITE went to or came from."""
    target: str
    """The URI of the far end's Contact."""
    routes: tuple[str, ...]
    local_cseq: int
    remote_cseq: int
    body: bytes
    """Our last session description."""
    answers_options: bool = False
    """Whether the far end answers OPTIONS; not in the records of older versions of umd."""


def read_record(record: bytes) -> LegRecord:
    """
    Read a record that `write_record` has written.

    Raises:
        UnreadableRecord: `record` is nothing that `write_record` writes.
    """
    try:
        fields = load_json(record)
        (
            local_tag, remote_tag, local, remote, invite_hop, target, routes,
            local_cseq, remote_cseq, body,
        ) = fields[:10]  # fmt: skip
        answers_options = fields[10] is True if len(fields) > 10 else False
        texts = (local_tag, remote_tag, local, remote, target, body, *routes)
        if not all(isinstance(text, str) for text in texts):
            raise ValueError("a value is no text")
        if not (_is_cseq(local_cseq, 0) and _is_cseq(remote_cseq, -1)):
            raise ValueError("a CSeq is out of range")
        return LegRecord(
            local_tag, remote_tag, local, remote, _read_hop(*invite_hop), target, tuple(routes),
            local_cseq, remote_cseq, body.encode("latin-1"), answers_options,
        )  # fmt: skip
    except (ValueError, TypeError) as error:
        raise UnreadableRecord(f"the record cannot be read: {error}") from None


def _is_cseq(number: Any, minimum: int) -> bool:
    # Below the maximum: the request that ends the call needs a number too.
    return isinstance(number, int) and minimum <= number < MAX_CSEQ


def _read_hop(host: Any, port: Any, transport: Any = "UDP", flow: Any = 0) -> Hop:
    numbers = isinstance(port, int) and 0 < port < 65536 and isinstance(flow, int)
    if not (numbers and isinstance(host, str) and isinstance(transport, str)):
        raise ValueError("the next hop is malformed")
    return Hop(host, port, transport, flow)


def write_record(dialog: Dialog, body: bytes, *, answers_options: bool) -> bytes:
    """Write the record of a leg; the arguments have the meaning of the fields of `LegRecord`."""
    return dump_json(
        [
            dialog.id.local_tag,
            dialog.id.remote_tag,
            dialog.local,
            dialog.remote,
            list(dialog.invite_hop),
            dialog.target,
            dialog.routes,
            dialog.local_cseq,
            dialog.remote_cseq,
            body.decode("latin-1"),
            answers_options,
        ]
    )
