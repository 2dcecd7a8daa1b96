"""How much of a client's patience and of umd's memory one connection may use; each is a setting."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Sizes in octets, durations in seconds. The defaults are those of `[http]`."""

    max_body: int = 64 * 1024
    """Of a body, also after it is inflated; a chunked one may take twice this and 1 KiB in all."""
    max_head: int = 16 * 1024
    """Of a request line with its header fields."""
    max_header_lines: int = 64
    """Header fields, and trailer fields, of one request."""
    max_target: int = 2 * 1024
    """Of the target in the request line."""
    max_chunks: int = 1024
    """In which a body may come; ever so many of one octet would cost more than they carry."""
    max_pipelined: int = 16
    """Requests that wait for an answer on one connection."""
    head_timeout: float = 10.0
    """From the first octet of a request to the end of its head."""
    body_timeout: float = 10.0
    """Each so long, a body that is not complete must have brought `min_body_rate` on average."""
    min_body_rate: int = 1024
    """Octets per second."""
    idle_timeout: float = 75.0
    """Between two requests."""
    write_timeout: float = 30.0
    """For an answer to be taken by the client."""
    linger: float = 2.0
    """How long a refused client's octets are still read and thrown away, so that it sees why."""
    max_connections: int = 12_000
    max_connections_per_address: int = 2_000
    max_waiting: int = 10_000
    """Requests, on all connections, that wait for what they asked for."""
    max_held: int = 128 * 1024 * 1024
    """Of all requests on all connections, until they are answered."""
    max_stall: float = 0.1
    """When octets lie that long before they are looked at, only so many requests are let in that
    they lie half as long; the others are put off."""
    retry_after: float = 1.0
    """How long a client that is put off is asked to wait; told in whole seconds, rounded up."""
