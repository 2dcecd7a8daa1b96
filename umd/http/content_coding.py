"""Decodes bodies that are compressed by gzip or deflate, never beyond the limit of a body."""

from __future__ import annotations

import zlib
from typing import Final

from umd.http.limits import Limits
from umd.http.refused import Refused, body_too_long

_GZIP: Final = 31
_ZLIB: Final = 15
_RAW: Final = -15
"""Values of `wbits` in Python's zlib: the format, with the largest window."""


def decode(body: bytes, coding: str, limits: Limits) -> bytes:
    """
    Decode a body that is not empty.

    Args:
        body: as it was sent.
        coding: "gzip" or "deflate".
        limits: the limit of a body holds after decoding too.

    Raises:
        Refused: the body is damaged or too long.
    """
    if coding == "gzip":
        wbits = _GZIP
    else:
        # "deflate" is the zlib format (RFC 9110 section 8.4.1.2), but some clients send the raw
        # data without its header. The lower four bits of a zlib header are 8; no encoder known
        # begins raw data so.
        wbits = _ZLIB if body[0] & 15 == 8 else _RAW
    decoder = zlib.decompressobj(wbits)
    try:
        decoded = decoder.decompress(body, limits.max_body + 1)
    except zlib.error:
        raise Refused(400, f"The body is not {coding}, as its Content-Encoding says.") from None
    if len(decoded) > limits.max_body:
        raise body_too_long(limits)
    if not decoder.eof or decoder.unused_data:
        raise Refused(400, f"The body is not exactly one {coding} stream.")
    return decoded
