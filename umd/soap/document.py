"""
Parses XML from the network: the only place that gives such octets to libxml2.

Octets that cannot be a request are refused before libxml2 sees them, the cheapest check first:
size, encoding, DOCTYPE and processing instructions, number of tags.
"""

from __future__ import annotations

import re
from typing import Final, TypeAlias

from lxml import etree

from umd.errors import UmdError
from umd.soap.encoding import NotReadable, to_utf8
from umd.soap.name_cache import NameCache

MAX_BODY: Final = 64 * 1024
"""Octets of a body; at this size libxml2 takes less than 4 ms for the worst document."""
MAX_TAGS: Final = 200
"""How many "<" or "=" a request may have; the largest of either family has about 30."""
XML_SPACE: Final = " \t\r\n"

Element: TypeAlias = etree._Element


class InvalidRequest(UmdError):
    """
    The octets are not a request of this service; the text says why.

    `line` and `position` are the place, counted from 1; 0 if it is not known. `envelope` and
    `messages` are the namespaces as the client wrote them; None if they could not be read.
    """

    def __init__(self, why: str, *, line: int = 0, position: int = 0) -> None:
        super().__init__(why)
        self.line = line
        self.position = position
        self.envelope: str | None = None
        self.messages: str | None = None


def read_document(body: bytes, charset: str = "") -> Element:
    """
    Parse one document and return its root.

    Args:
        charset: the charset of the Content-Type; empty if it has none.

    Raises:
        InvalidRequest: it is malformed, or refused unparsed.
    """
    return _NAME_CACHE.parse(_parse, _check_octets(body, charset))


_NAME_CACHE: Final = NameCache()


def expanded_name(element: Element) -> tuple[str, str]:
    """Return `(namespace, local_name)`; the namespace is empty if there is none."""
    tag = str(element.tag)
    if tag.startswith("{"):
        namespace, _, name = tag[1:].partition("}")
        return namespace, name
    return "", tag


def local_name(element: Element) -> str:
    """Return the name of an element without its namespace."""
    return str(element.tag).rpartition("}")[2]


def text_of(element: Element) -> str:
    """
    Return the text of an element, without the XML white space around it.

    The parser removes comments. Otherwise `.text` would end at a comment, and a CallId with a
    comment inside would name another call.

    Raises:
        InvalidRequest: there are elements inside.
    """
    if len(element):
        raise invalid(element, f"{local_name(element)} has elements inside, not a value")
    return (element.text or "").strip(XML_SPACE)


def invalid(element: Element, why: str) -> InvalidRequest:
    """Return the error for an element, with its line."""
    return InvalidRequest(why, line=element.sourceline or 0, position=1)


def _check_octets(body: bytes, charset: str) -> bytes:
    """Refuse what can be refused unparsed; return the document in UTF-8 without a declaration."""
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
        # Without a DOCTYPE XML defines only five entities. libxml2 keeps the names of others for
        # ever.
        raise InvalidRequest("a reference to an entity that XML does not define")
    if document.count(b"<") > MAX_TAGS or document.count(b"=") > MAX_TAGS:
        raise InvalidRequest(f"more than {MAX_TAGS} tags or attributes")
    return document


_UNDEFINED: Final = re.compile(rb"&(?!(?:lt|gt|amp|quot|apos);|#)")


def _parse(document: bytes) -> Element:
    # A new parser for each document: a parser keeps its errors.
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
        why = f"not well-formed XML: {' '.join(error.msg.split())}"  # it may have line feeds
        raise InvalidRequest(why, line=line, position=position) from None
