"""
Which encoding a document is in, and its octets in UTF-8.

These say it, in this order (RFC 7303 section 3): a byte order mark, the charset of the
Content-Type, the XML declaration; without any of them it is UTF-8. A label that is not known is
refused wherever it stands: another encoding may hide markup from a filter that reads ASCII. So is a
declaration that contradicts the mark, if no charset backs the mark (XML 1.0 section 4.3.3).
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
    # ASCII is a part of it. Python's xml.etree writes "us-ascii", lxml "ASCII".
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
"""Python's codec by the label in lower case: IANA's names, and what programs write instead."""
_MARKS: Final = (
    (BOM_UTF8, UTF8), (BOM_UTF16_LE, "utf-16-le"), (BOM_UTF16_BE, "utf-16-be")
)  # fmt: skip
_FOREIGN: Final = {
    b"\xff\xfe\0\0": "UTF-32", b"\0\0\xfe\xff": "UTF-32", b"<\0\0\0": "UTF-32",
    b"\0\0\0<": "UTF-32", b"\x4c\x6f\xa7\x94": "EBCDIC",
    b"+/v8": "UTF-7", b"+/v9": "UTF-7", b"+ADw": "UTF-7",
}  # fmt: skip
"""How a document begins that is in none of them (XML 1.0 appendix F)."""
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
    """The document is in no encoding that umd reads, or not in the one it says."""


def is_known(charset: str) -> bool:
    """Whether umd reads what bears this label."""
    return charset.lower() in _CODECS


def to_utf8(body: bytes, charset: str = "") -> bytes:
    """
    A document in UTF-8, without its XML declaration.

    Args:
        charset: of the Content-Type; empty where it has none.

    Raises:
        NotReadable
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
        said = _codec(label)
        if not codec:
            if said[:6] == UTF16:
                raise NotReadable(f"the XML declaration says {label!r}, the octets are not")
            codec = said
            if said != UTF8:
                document = _transcoded(document, said)
        elif marked and said[:6] != marked[:6] and outside[:6] != marked[:6]:
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
    """Cut off a declaration of XML 1.0; what is left, and the encoding that it says."""
    if not document.startswith(b"<?xml"):
        return document, ""
    end = document.find(b"?>", 0, 200)
    declaration = _DECLARATION.fullmatch(document, 0, end + 2) if end > 0 else None
    if declaration is None:
        raise NotReadable("the XML declaration is not one of XML 1.0")
    return document[end + 2 :], (declaration["encoding"] or b"").decode("ascii")
