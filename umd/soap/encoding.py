"""
Determines the encoding of a document and converts it to UTF-8.

The encoding is given, in this order, by a byte order mark, the charset of the Content-Type, and the
XML declaration (RFC 7303 section 3); by default it is UTF-8. An unknown label is refused wherever
it occurs, as another encoding may hide markup from a filter that reads ASCII. A declaration that
contradicts the byte order mark is refused too, unless the charset agrees with the mark (XML 1.0
section 4.3.3).
"""

from __future__ import annotations

import re
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from typing import Final

from umd.errors import UmdError

UTF8: Final = "utf-8"
UTF16: Final = "utf-16"
_LABELS: Final = {
    UTF8: "utf-8 utf8 unicode-1-1-utf-8"
    # ASCII is a subset of UTF-8. Python's xml.etree writes "us-ascii", lxml writes "ASCII".
    " ascii us-ascii us ansi_x3.4-1968 ansi_x3.4-1986 iso-ir-6 iso646-us iso_646.irv:1991 cp367"
    " ibm367 csascii",
    "latin-1": "iso-8859-1 iso_8859-1 iso8859-1 iso88591 iso_8859-1:1987 iso-ir-100 latin1 latin-1"
    " l1 cp819 ibm819 csisolatin1",
    "cp1252": "windows-1252 cp1252 cp-1252 x-cp1252 cswindows1252",
    UTF16: "utf-16 utf16",
    "utf-16-le": "utf-16le utf-16-le",
    "utf-16-be": "utf-16be utf-16-be",
}
_CODECS: Final = {label: codec for codec, labels in _LABELS.items() for label in labels.split()}
"""Python's codec by the label in lower case: IANA's names and what programs write instead."""
_MARKS: Final = (
    (BOM_UTF8, UTF8), (BOM_UTF16_LE, "utf-16-le"), (BOM_UTF16_BE, "utf-16-be")
)  # fmt: skip
_FOREIGN: Final = {
    b"\xff\xfe\0\0": "UTF-32", b"\0\0\xfe\xff": "UTF-32", b"<\0\0\0": "UTF-32",
    b"\0\0\0<": "UTF-32", b"\x4c\x6f\xa7\x94": "EBCDIC",
    b"+/v8": "UTF-7", b"+/v9": "UTF-7", b"+ADw": "UTF-7",
}  # fmt: skip
"""The first octets of documents in an encoding that umd does not read (XML 1.0 appendix F)."""
# XML 1.0 section 2.8, production 23; matched against at most 200 octets.
_DECLARATION: Final = re.compile(
    rb"""<\?xml
    [ \t\r\n]+ version [ \t\r\n]*=[ \t\r\n]* (?:"1\.0"|'1\.0')
    (?: [ \t\r\n]+ encoding [ \t\r\n]*=[ \t\r\n]* (["'])(?P<encoding>[A-Za-z][\w.\-]*)\1 )?
    (?: [ \t\r\n]+ standalone [ \t\r\n]*=[ \t\r\n]* (?:"(?:yes|no)"|'(?:yes|no)') )?
    [ \t\r\n]* \?>""",
    re.VERBOSE,
)


class NotReadable(UmdError):
    """umd does not read the document's encoding, or the octets are not in the encoding it names."""


def is_known(charset: str) -> bool:
    """Return whether umd reads documents with this charset."""
    return charset.lower() in _CODECS


def to_utf8(body: bytes, charset: str = "") -> bytes:
    """
    Return a document in UTF-8, without its XML declaration.

    Args:
        charset: the charset of the Content-Type; empty if it has none.

    Raises:
        NotReadable: the encoding is unknown, contradictory or wrong.
    """
    codec = marked = ""
    outside = _codec(charset) if charset else ""
    if not body.startswith(b"<?xml") and not body.startswith(b"<s"):
        foreign = _FOREIGN.get(body[:4])
        if foreign is not None:
            raise NotReadable(f"the octets are {foreign}; send UTF-8")
        for mark, codec_of_mark in _MARKS:
            if body.startswith(mark):
                marked, body = codec_of_mark, body[len(mark) :]
                break
    codec = marked or outside
    if codec == UTF16:
        raise NotReadable("the charset is utf-16, and there is no byte order mark")
    if codec not in ("", UTF8):
        body = _transcoded(body, codec)
    document, label = _without_declaration(body)
    if label:
        declared = _codec(label)
        if not codec:
            if declared[:6] == UTF16:
                raise NotReadable(f"the XML declaration says {label!r}, the octets are not")
            codec = declared
            if declared != UTF8:
                document = _transcoded(document, declared)
        elif marked and declared[:6] != marked[:6] and outside[:6] != marked[:6]:
            raise NotReadable(f"the XML declaration says {label!r}, the byte order mark {marked!r}")
    if codec in ("", UTF8):
        _transcoded(document, UTF8)
    return document


def _codec(label: str) -> str:
    codec = _CODECS.get(label.lower())
    if codec is None:
        raise NotReadable(f"umd does not read {label[:40]!r}; send UTF-8")
    return codec


def _transcoded(octets: bytes, codec: str) -> bytes:
    try:
        text = octets.decode(codec)
        return octets if codec == UTF8 else text.encode()
    except UnicodeError:
        raise NotReadable(f"the octets are not {codec}") from None


def _without_declaration(document: bytes) -> tuple[bytes, str]:
    """Return the document without its XML 1.0 declaration, and the encoding that it declares."""
    if not document.startswith(b"<?xml"):
        return document, ""
    end = document.find(b"?>", 0, 200)
    declaration = _DECLARATION.fullmatch(document, 0, end + 2) if end > 0 else None
    if declaration is None:
        raise NotReadable("the XML declaration is not one of XML 1.0")
    return document[end + 2 :], (declaration["encoding"] or b"").decode("ascii")
