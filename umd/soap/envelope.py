"""
SOAP 1.1 envelopes: octets in, the one element of the Body out; and the frame of an answer.

What cannot be a request is refused before libxml2 sees it, the cheapest check first (reference
hardening, section 6): size, encoding, DOCTYPE and processing instructions, number of tags.
"""

from __future__ import annotations

import re
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from dataclasses import dataclass
from typing import Final, TypeAlias

from lxml import etree

from umd.errors import UmdError

SOAP11: Final = "http://schemas.xmlsoap.org/soap/envelope/"
# Archived pages of the documentation rewrite every http: to https:, this one too. Accepted and
# answered in kind, so that an example pasted from there works (reference um-web-service, 2.4).
SOAP11_PASTED: Final = "https://schemas.xmlsoap.org/soap/envelope/"
XSI: Final = "http://www.w3.org/2001/XMLSchema-instance"
XSD: Final = "http://www.w3.org/2001/XMLSchema"
ACTOR_NEXT: Final = "http://schemas.xmlsoap.org/soap/actor/next"

MAX_BODY: Final = 64 * 1024
"""Octets; at this size the worst document costs under 4 ms (hardening, B3)."""
MAX_TAGS: Final = 200
"""How many "<" or "=" a request may hold; the largest of the family has about 30."""
XML_SPACE: Final = " \t\r\n"

Element: TypeAlias = etree._Element


class InvalidRequest(UmdError):
    """
    The octets are not a request of this service; the text says in which way, for the log.

    `namespace` is the messages namespace that the client wrote, where it could be read.
    """

    def __init__(self, why: str, namespace: str | None = None) -> None:
        super().__init__(why)
        self.namespace = namespace


class VersionMismatch(InvalidRequest):
    """An envelope of another SOAP version (SOAP 1.1 section 4.4.1)."""


class MustUnderstand(InvalidRequest):
    """A header block that must be understood is not (SOAP 1.1 section 4.4.1)."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """What an envelope carried."""

    namespace: str
    """Of the envelope, as the client wrote it."""
    operation: Element
    """The one element of the Body."""


def read_envelope(body: bytes) -> Envelope:
    """
    Read one request.

    Raises:
        InvalidRequest, VersionMismatch, MustUnderstand
    """
    root = _parse(_check_octets(body))
    namespace, name = expanded_name(root)
    if name != "Envelope":
        raise InvalidRequest(f"the root element is {name}, not a SOAP Envelope")
    if namespace not in (SOAP11, SOAP11_PASTED):
        raise VersionMismatch(f"the Envelope is in namespace {namespace!r}, not SOAP 1.1")
    children = list(root)
    if children and children[0].tag == f"{{{namespace}}}Header":
        _check_header(children.pop(0), namespace)
    if len(children) != 1 or children[0].tag != f"{{{namespace}}}Body":
        raise InvalidRequest("the Envelope does not hold a Body alone, after at most one Header")
    return Envelope(namespace, _only_child(children[0]))


def expanded_name(element: Element) -> tuple[str, str]:
    """`(namespace, local name)`; the namespace is empty where there is none."""
    tag = str(element.tag)
    if tag.startswith("{"):
        namespace, _, name = tag[1:].partition("}")
        return namespace, name
    return "", tag


def text_of(element: Element) -> str:
    """
    All the text of a value, without the XML white space around it.

    Comments were removed while parsing, so that one inside cannot cut the value short: that would
    name another call (hardening, finding 4).

    Raises:
        InvalidRequest: the value has elements inside.
    """
    if len(element):
        raise InvalidRequest(f"{expanded_name(element)[1]} holds elements, not a value")
    return (element.text or "").strip(XML_SPACE)


def write_envelope(namespace: str, body: str) -> bytes:
    """
    Frame a success in the look of the published examples (reference um-web-service, section 8).

    Args:
        namespace: of the envelope, as the request spelled it.
        body: the XML inside the Body.
    """
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        f'<soap:Envelope xmlns:soap="{namespace}" xmlns:xsi="{XSI}" xmlns:xsd="{XSD}">'
        f"<soap:Body>{body}</soap:Body></soap:Envelope>"
    ).encode()


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
        raise InvalidRequest(f"not well-formed XML: {error.msg}") from None


def _check_header(header: Element, namespace: str) -> None:
    for block in header:
        actor = block.get(f"{{{namespace}}}actor", ACTOR_NEXT)
        must = block.get(f"{{{namespace}}}mustUnderstand", "0").strip(XML_SPACE)
        if actor in ("", ACTOR_NEXT) and must in ("1", "true"):
            raise MustUnderstand(f"header block {expanded_name(block)[1]} is not understood")


def _only_child(body: Element) -> Element:
    if len(body) != 1:
        raise InvalidRequest(f"the Body holds {len(body)} elements, not one")
    return body[0]
