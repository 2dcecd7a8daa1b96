"""The limits of the HTTP front; each is a setting of `[http]`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Sizes are in octets and durations in seconds. The defaults are those of `[http]`."""

    max_body: int = 64 * 1024
    """Size of a body, also after decoding. A chunked body may take twice this plus 1 KiB in all."""
    max_head: int = 16 * 1024
    """Size of the request line with the header fields."""
    max_header_lines: int = 64
    """Header fields of one request; as many trailer fields."""
    max_target: int = 2 * 1024
    """Size of the target in the request line."""
    max_chunks: int = 1024
    """Chunks of one body. A chunk of one octet costs far more memory than it carries."""
    max_pipelined: int = 16
    """Requests that wait for their turn on one connection."""
    head_timeout: float = 10.0
    """From the first octet of a request to the end of its head; also for a TLS handshake."""
    body_timeout: float = 10.0
    """Interval at which an unfinished body is checked for `min_body_rate`."""
    min_body_rate: int = 1024
    """Octets per second that a body must bring on average."""
    idle_timeout: float = 75.0
    """Between two requests."""
    write_timeout: float = 30.0
    """For the client to take a response."""
    linger: float = 2.0
    """For the client to close its side, while umd reads and drops what it still sends."""
    max_connections: int = 12_000
    """Open connections."""
    max_connections_per_address: int = 2_000
    """Open connections from one IPv4 address, or from one /64 network of IPv6."""
    max_waiting: int = 10_000
    """Requests, on all connections, whose response is not ready."""
    max_held: int = 128 * 1024 * 1024
    """Size of all unanswered requests on all connections."""
    max_stall: float = 0.1
    """Lateness of umd above which it answers some requests with 503 until the wait has halved."""
    retry_after: float = 1.0
    """Sent in Retry-After with a 503, rounded up to whole seconds."""
