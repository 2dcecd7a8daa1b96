"""
Octets to the root of an XML document: the one door for XML that a stranger has sent.

What cannot be a request is refused before libxml2 sees it, the cheapest check first (reference
hardening, section 6): size, encoding, DOCTYPE and processing instructions, number of tags.
"""

from __future__ import annotations

import re
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from typing import Final, TypeAlias

from lxml import etree

from umd.errors import UmdError
from umd.soap.names import Names

MAX_BODY: Final = 64 * 1024
"""Octets; at this size the worst document costs under 4 ms (hardening, B3)."""
MAX_TAGS: Final = 200
"""How many "<" or "=" a request may hold; the largest of the families has about 30."""
XML_SPACE: Final = " \t\r\n"

Element: TypeAlias = etree._Element


class InvalidRequest(UmdError):
    """
    The octets are not a request of this service; the text says in which way, for the log.

    `line` and `position` say where, counted from 1; 0 where that is not known. `envelope` and
    `messages` are the namespaces as the client wrote them, where they could be read.
    """

    def __init__(self, why: str, *, line: int = 0, position: int = 0) -> None:
        super().__init__(why)
        self.line = line
        self.position = position
        self.envelope: str | None = None
        self.messages: str | None = None


def read_document(body: bytes) -> Element:
    """
    Read one document; give back its root.

    Raises:
        InvalidRequest
    """
    return _NAMES.parse(_parse, _check_octets(body))


_NAMES: Final = Names()


def expanded_name(element: Element) -> tuple[str, str]:
    """`(namespace, local name)`; the namespace is empty where there is none."""
    tag = str(element.tag)
    if tag.startswith("{"):
        namespace, _, name = tag[1:].partition("}")
        return namespace, name
    return "", tag


def local_name(element: Element) -> str:
    """The name without its namespace."""
    return str(element.tag).rpartition("}")[2]


def text_of(element: Element) -> str:
    """
    All the text of a value, without the XML white space around it.

    Comments were removed while parsing, so that one inside cannot cut the value short: that would
    name another call (hardening, finding 4).

    Raises:
        InvalidRequest: the value has elements inside.
    """
    if len(element):
        raise invalid(element, f"{local_name(element)} holds elements, not a value")
    return (element.text or "").strip(XML_SPACE)


def invalid(element: Element, why: str) -> InvalidRequest:
    """The error that says what is wrong with an element, and in which line it is."""
    return InvalidRequest(why, line=element.sourceline or 0, position=1)


def _check_octets(body: bytes) -> bytes:
    """Refuse what can be refused unparsed; give back UTF-8 without a declaration."""
    if len(body) > MAX_BODY:
        raise InvalidRequest(f"{len(body)} octets, more than {MAX_BODY}")
    document = _without_declaration(*_to_utf8(body))
    if b"<!DOCTYPE" in document or b"<!ENTITY" in document:
        raise InvalidRequest("a SOAP message has no document type (SOAP 1.1 section 3)")
    if document.lstrip().startswith(b"<?xml"):
        raise InvalidRequest("something comes before the XML declaration; nothing may")
    if b"<?" in document:
        raise InvalidRequest("a SOAP message has no processing instructions (SOAP 1.1 section 3)")
    if b"&" in document and _UNDEFINED.search(document):
        # Without a document type there is no other; libxml2 would keep its name for ever.
        raise InvalidRequest("a reference to an entity that XML does not define")
    if document.count(b"<") > MAX_TAGS or document.count(b"=") > MAX_TAGS:
        raise InvalidRequest(f"more than {MAX_TAGS} tags or attributes")
    return document


def _to_utf8(body: bytes) -> tuple[bytes, tuple[str, ...]]:
    """
    Accept UTF-8, and UTF-16 that begins with its byte order mark; nothing else by any label.

    Returns:
        The document in UTF-8, and the labels its declaration may bear.
    """
    try:
        if body.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
            return body.decode("utf-16").encode(), ("utf-16",)
        if body.startswith(BOM_UTF8):
            body = body[len(BOM_UTF8) :]
        body.decode()
    except UnicodeError:
        raise InvalidRequest("the octets are neither UTF-8 nor marked UTF-16") from None
    return body, ("utf-8", "us-ascii")


def _without_declaration(document: bytes, encodings: tuple[str, ...]) -> bytes:
    """Cut off the XML declaration once it says nothing but XML 1.0 in the encoding we took."""
    if not document.startswith(b"<?xml"):
        return document
    end = document.find(b"?>", 0, 200)
    declaration = _DECLARATION.fullmatch(document, 0, end + 2) if end > 0 else None
    if declaration is None:
        raise InvalidRequest("the XML declaration is not one of XML 1.0")
    label = (declaration["encoding"] or b"").decode("latin-1").lower()
    if label and label not in encodings:
        raise InvalidRequest(f"the XML declaration says {label!r}, the octets {encodings[0]!r}")
    return document[end + 2 :]


_UNDEFINED: Final = re.compile(rb"&(?!(?:lt|gt|amp|quot|apos);|#)")
# XML 1.0 section 2.8, production 23; matched against at most 200 octets.
_DECLARATION: Final = re.compile(
    rb"""<\?xml
    [ \t\r\n]+ version [ \t\r\n]*=[ \t\r\n]* (?:"1\.0"|'1\.0')
    (?: [ \t\r\n]+ encoding [ \t\r\n]*=[ \t\r\n]* (["'])(?P<encoding>[A-Za-z][\w.\-]*)\1 )?
    (?: [ \t\r\n]+ standalone [ \t\r\n]*=[ \t\r\n]* (?:"(?:yes|no)"|'(?:yes|no)') )?
    [ \t\r\n]* \?>""",
    re.VERBOSE,
)


def _parse(document: bytes) -> Element:
    # A parser for each document: one that is kept keeps its errors too.
    parser = etree.XMLParser(
        encoding="utf-8",
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        huge_tree=False,
        recover=False,
        remove_comments=True,
        remove_pis=False,
    )
    try:
        return etree.fromstring(document, parser)
    except etree.XMLSyntaxError as error:
        line, position = error.position
        why = f"not well-formed XML: {error.msg}"
        raise InvalidRequest(why, line=line, position=position) from None
