"""The Via header field: one hop of the path that a request has taken (RFC 3261 §20.42)."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

from umd.sip.fields.params import (
    MAX_PARAMS,
    PARAM_VALUE,
    PARAMS,
    Params,
    has_param,
    join_params,
    param,
    split_params,
    with_params,
)
from umd.sip.fields.syntax import (
    HOST,
    FieldError,
    check_effort,
    excerpt,
    remove_blanks,
    remove_empty_params,
)
from umd.sip.fields.uri import MAX_PORT, is_same_host, parse_port
from umd.sip.names import TOKEN

MAGIC_COOKIE: Final = "z9hG4bK"
"""The beginning of every branch from a sender that follows RFC 3261 (§8.1.1.7)."""

_VIA: Final = re.compile(
    rf"(SIP/[0-9]\.[0-9])/({TOKEN})[ \t]+({HOST})(?::([0-9]{{1,5}}))?({PARAMS})",
    re.DOTALL | re.IGNORECASE | re.ASCII,  # without ASCII, "K" would match the Kelvin sign
).fullmatch
# The form that most senders write; the pattern above gives the same result.
_USUAL_VIA: Final = re.compile(
    rf"SIP/2\.0/({TOKEN}) ([A-Za-z0-9_.\-]+)(?::([0-9]{{1,5}}))?;branch=({PARAM_VALUE})(;rport)?"
).fullmatch
_branch_anywhere: Final = re.compile(
    rf";[ \t]*branch[ \t]*=[ \t]*({PARAM_VALUE})", re.IGNORECASE
).search
_RPORT: Final = ("rport", None)


class ViaError(FieldError):
    """A text is not a `via-parm`."""


@dataclass(frozen=True, slots=True, init=False)
class Via:
    """One value of a Via header field."""

    transport: str
    """As written: UDP, TCP, TLS or any other."""
    host: str
    port: int | None
    params: Params = ()
    protocol: str = "SIP/2.0"

    def __init__(
        self,
        transport: str,
        host: str,
        port: int | None,
        params: Params = (),
        protocol: str = "SIP/2.0",
    ) -> None:
        # The __init__ that dataclass generates looks `object.__setattr__` up for each field. That
        # takes twice the time, and every message has a Via.
        _set_transport(self, transport)
        _set_host(self, host)
        _set_port(self, port)
        _set_params(self, params)
        _set_protocol(self, protocol)

    @classmethod
    def parse(cls, text: str) -> Via:
        """Parse one value of a Via. Raises: ViaError."""
        usual = _USUAL_VIA(text)
        if usual is not None:
            transport, host, port, branch, rport = usual.groups()
            named = ("branch", branch)
            params: Params = (named, _RPORT) if rport else (named,)
            number = int(port) if port else None
            if number is None or number <= MAX_PORT:
                return cls(transport, host, number, params)
        return cls._parse_leniently(text)

    @classmethod
    def _parse_leniently(cls, text: str) -> Via:
        check_effort(text, ViaError)
        match = _VIA(text)
        if match is None:
            text = remove_blanks(text, ";=/:")
            match = _VIA(text)
            if match is None and MAGIC_COOKIE in text:
                # A sender that follows RFC 3261 means nothing by an empty parameter.
                match = _VIA(remove_empty_params(text))
            if match is None:
                raise ViaError(f"{excerpt(text)} is not a Via")
        protocol, transport, host, port, params = match.groups()
        if params.count(";") > MAX_PARAMS:
            raise ViaError(f"more than {MAX_PARAMS} parameters")
        return cls(transport, host, parse_port(port, ViaError), split_params(params), protocol)

    def __str__(self) -> str:
        return f"{self.protocol}/{self.transport} {self.sent_by}{join_params(self.params)}"

    @property
    def sent_by(self) -> str:
        """The host, and the port if it is written."""
        return self.host if self.port is None else f"{self.host}:{self.port}"

    @property
    def branch(self) -> str | None:
        """The transaction id, if the sender follows RFC 3261 (§8.1.1.7)."""
        for name, value in self.params:
            if name == "branch":
                return value
        return None

    @property
    def received(self) -> str | None:
        """The address that the request came from, noted by its receiver (RFC 3261 §18.2.1)."""
        return param(self.params, "received")

    @property
    def rport(self) -> int | None:
        """
        The port that the request came from, noted by its receiver (RFC 3581 §3).

        0 if the sender asks for it and it is not filled in; None if the sender does not ask.
        """
        for name, value in self.params:
            if name == "rport":
                return int(value) if value and value.isascii() and value.isdecimal() else 0
        return None

    @property
    def maddr(self) -> str | None:
        """The address that responses go to instead of the source (RFC 3261 §18.2.2)."""
        return param(self.params, "maddr")

    def with_source(self, host: str, port: int) -> Via:
        """
        Return this Via with the source of the datagram in it (RFC 3261 §18.2.1, RFC 3581 §4).

        A `received` that the sender has written is replaced.
        """
        changes: dict[str, str | None] = {}
        if self.rport is not None:
            changes["rport"] = str(port)
        if changes or not is_same_host(self.host, host) or has_param(self.params, "received"):
            changes["received"] = host
        return replace(self, params=with_params(self.params, changes)) if changes else self


_set_transport, _set_host, _set_port, _set_params, _set_protocol = (
    Via.__dict__[name].__set__ for name in Via.__slots__
)


def find_branch(text: str) -> str:
    """Return the branch of a malformed Via; empty if there is none."""
    match = _branch_anywhere(text)
    return match.group(1) if match else ""
