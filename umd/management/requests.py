"""
The table of requests of the control socket, with the fields of each; reads a request from a line.

docs/control-socket.md describes the protocol. A test compares that page with this table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from umd.call.alias import MAX_VALUE_LENGTH
from umd.control.selection import Selection
from umd.management.refusals import Refused
from umd.text import load_json

CallName: TypeAlias = Annotated[str, Field(min_length=1, max_length=1024)]
"""A CallId, the name of a leg, a SIP Call-ID, another alias, or a label."""
MAX_LEASE: Final = 10 * 365 * 86400.0
"""Seconds of the longest lease, which is as long as the longest duration of the configuration."""


class ControlRequest(BaseModel):
    """Base of all requests; a field that is not declared is refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class SelectingRequest(ControlRequest):
    """Base of requests about the calls that all of the given selectors fit."""

    backend: str | None = None
    state: str | None = None
    owner: str | None = None
    label: str | None = None
    number: str | None = None
    """A pattern (fnmatch)."""
    older_than: float | None = None
    """Seconds since the beginning of the call."""
    suspect: bool | None = None
    id: str | None = None

    def selection(self) -> Selection:
        """
        Return the selectors.

        Raises:
            InvalidSelection
        """
        return Selection(**{name: getattr(self, name) for name in SELECTORS})


SELECTORS: Final = tuple(SelectingRequest.model_fields)


class CallsRequest(SelectingRequest):
    """`calls`: the live calls, or those that are selected."""


class StatusRequest(ControlRequest):
    """`status`: the figures of the daemon, what it has counted, and whether the counts agree."""


class TraceRequest(ControlRequest):
    """`trace`: the SIP messages of a call."""

    call: CallName
    octets: bool = False
    """Whether to add each message as it was on the wire, in base64."""


class EventsRequest(ControlRequest):
    """`events`: the records of the journal after a position."""

    after: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """The position of the last record that the client has."""
    limit: Annotated[int, Field(ge=1, le=10_000)] = 1000
    """Records in the reply, at most."""
    call: CallName | None = None
    """Only the records of this call."""
    wire: bool = False
    """Whether to add a summary of the SIP messages of that call."""


class CopyRequest(ControlRequest):
    """`copy`: every record of the journal, for a backup."""


class CheckRequest(ControlRequest):
    """`check`: checks the records and the index of the journal."""


class EndRequest(ControlRequest):
    """`end`: ends a call, and waits until it is down or its deadline has passed."""

    call: CallName


class ForgetRequest(ControlRequest):
    """`forget`: ends the record of a call that umd cannot end; its backend is not told."""

    call: CallName
    reason: str
    """Why, for the record."""


class EndManyRequest(SelectingRequest):
    """`end-many`: ends the selected calls, or counts them."""

    dry_run: bool = False
    """Whether to list and count the calls, and end none."""
    max: Annotated[int, Field(ge=0)] | None = None
    """If more calls are selected, none is ended. Required unless `dry_run`."""
    expect: Annotated[int, Field(ge=0)] | None = None
    """The `count` of a dry run. If it no longer holds, none is ended. Required unless `dry_run`."""
    rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Calls whose end begins in a second; None: as fast as umd can."""


class PlaceRequest(ControlRequest):
    """`place`: dials a number."""

    number: str
    """A number as `umd.sip.number` reads it. The dial plan does not apply."""
    backend: str | None = None
    """The backend that dials; None for the first one."""
    labels: list[str] = []
    """Texts by which clients group calls."""
    lease_s: Annotated[float, Field(gt=0, le=MAX_LEASE, allow_inf_nan=False)] | None = None
    """Seconds after which umd ends the call unless `lease-renew` renews it; None: never."""


class LeaseRenewRequest(ControlRequest):
    """`lease-renew`: renews the leases of the calls with a label."""

    label: Annotated[str, Field(min_length=1, max_length=MAX_VALUE_LENGTH)]


REQUESTS: Final[Mapping[str, type[ControlRequest]]] = {
    "calls": CallsRequest,
    "check": CheckRequest,
    "copy": CopyRequest,
    "end": EndRequest,
    "end-many": EndManyRequest,
    "events": EventsRequest,
    "forget": ForgetRequest,
    "lease-renew": LeaseRenewRequest,
    "place": PlaceRequest,
    "status": StatusRequest,
    "trace": TraceRequest,
}
"""Every request by its name."""


def read_request(line: bytes) -> ControlRequest:
    """
    Read a request from a line.

    Raises:
        Refused: the line is not a request; the text says which field is wrong.
    """
    try:
        fields = load_json(line)
    except ValueError as error:
        raise Refused(f"a request is a JSON object on a line of its own: {error}") from None
    if not isinstance(fields, dict):
        raise Refused("a request is a JSON object on a line of its own")
    name = fields.pop("request", None)
    request_type = REQUESTS.get(name) if isinstance(name, str) else None
    if request_type is None:
        raise Refused(f"there is no request {str(name)[:40]!r}; there is: {', '.join(REQUESTS)}")
    try:
        return request_type.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        raise Refused(f"request {name}, field {field[:40]!r}: {first['msg']}") from None
