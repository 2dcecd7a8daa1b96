"""
Octets to the root of an XML document: the one door for XML that a stranger has sent.

What cannot be a request is refused before libxml2 sees it, the cheapest check first (reference
hardening, section 6): size, encoding, DOCTYPE and processing instructions, number of tags.
"""

from __future__ import annotations

import re
from typing import Final, TypeAlias

from lxml import etree

from umd.errors import UmdError
from umd.soap.encoding import NotReadable, to_utf8
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


def read_document(body: bytes, charset: str = "") -> Element:
    """
    Read one document; give back its root.

    Args:
        charset: of the Content-Type; empty where it has none.

    Raises:
        InvalidRequest
    """
    return _NAMES.parse(_parse, _check_octets(body, charset))


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


def _check_octets(body: bytes, charset: str) -> bytes:
    """Refuse what can be refused unparsed; give back UTF-8 without a declaration."""
    if len(body) > MAX_BODY:
        raise InvalidRequest(f"{len(body)} octets, more than {MAX_BODY}")
    try:
        document = to_utf8(body, charset)
    except NotReadable as error:
        raise InvalidRequest(str(error)) from None
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


_UNDEFINED: Final = re.compile(rb"&(?!(?:lt|gt|amp|quot|apos);|#)")


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
        why = f"not well-formed XML: {' '.join(error.msg.split())}"  # it may hold line feeds
        raise InvalidRequest(why, line=line, position=position) from None
