"""What the tests of the HTTP edge share: requests as octets, and a reader that is fed in pieces."""

from __future__ import annotations

from collections.abc import Iterator

from umd.http.limits import Limits
from umd.http.reader import Heads, Reader

SPLITS = (1_000_000, 1, 3)
"""Octets per read: all at once, one by one, and across every border."""


def request(
    *headers: str, method: str = "POST", target: str = "/x", version: str = "1.1", body: bytes = b""
) -> bytes:
    """A request with Host and Content-Length, and whatever else it shall have."""
    lines = [f"{method} {target} HTTP/{version}", "Host: h", *headers]
    if method == "POST" and not any(line.lower().startswith("transfer-enc") for line in headers):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def chunked(*chunks: bytes, trailers: bytes = b"") -> bytes:
    """A body in chunks."""
    framed = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return framed + b"0\r\n" + trailers + b"\r\n"


def pieces(octets: bytes, size: int) -> Iterator[bytes]:
    """The octets in reads of so many."""
    for start in range(0, len(octets), size):
        yield octets[start : start + size]


def read(octets: bytes, size: int = SPLITS[0], limits: Limits | None = None) -> Reader:
    """A reader that was given these octets."""
    reader = Reader(Heads(limits or Limits()))
    for piece in pieces(octets, size):
        reader.receive(piece)
    return reader
