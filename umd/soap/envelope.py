"""SOAP 1.1 and 1.2 envelopes: the header blocks and the one element of the Body of a request."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from umd.soap.document import (
    XML_SPACE,
    Element,
    InvalidRequest,
    expanded_name,
    invalid,
    read_document,
)

SOAP11: Final = "http://schemas.xmlsoap.org/soap/envelope/"
# Archived pages of the documentation rewrite every http: to https:, this one too. Accepted and
# answered in kind, so that an example pasted from there works (reference um-web-service, 2.4).
SOAP11_PASTED: Final = "https://schemas.xmlsoap.org/soap/envelope/"
SOAP12: Final = "http://www.w3.org/2003/05/soap-envelope"
XSI: Final = "http://www.w3.org/2001/XMLSchema-instance"
XSD: Final = "http://www.w3.org/2001/XMLSchema"

_OURS_11: Final = ("", "http://schemas.xmlsoap.org/soap/actor/next")
# SOAP 1.2 part 1, section 2.2; what is meant for the role "none" is for nobody.
_OURS_12: Final = ("", f"{SOAP12}/role/next", f"{SOAP12}/role/ultimateReceiver")


class VersionMismatch(InvalidRequest):
    """An envelope of another SOAP version (SOAP 1.1 section 4.4.1, SOAP 1.2 section 5.4.7)."""


class NoSuchOperation(InvalidRequest):
    """The Body names no operation that is served here."""


class MustUnderstand(InvalidRequest):
    """
    A header block that must be understood is not (SOAP 1.1 section 4.4.1, SOAP 1.2 section 5.4.8).

    `block` is its expanded name.
    """

    def __init__(self, block: tuple[str, str]) -> None:
        super().__init__(f"header block {block[1]} is not understood")
        self.block = block


@dataclass(slots=True)
class Envelope:
    """What an envelope carried; nobody changes it, and to freeze it costs a request's time."""

    namespace: str
    """Of the envelope, as the client wrote it."""
    header: tuple[Element, ...]
    """The header blocks that are meant for us."""
    operation: Element
    """The one element of the Body."""


def read_envelope(body: bytes, understood: Collection[str], charset: str = "") -> Envelope:
    """
    Read one request: its header first, the Body only if the header is understood (SOAP 1.1 section
    4.2.3, SOAP 1.2 part 1 section 2.6).

    Args:
        understood: the expanded names, `{namespace}name`, of the header blocks that are.
        charset: of the Content-Type; empty where it has none.

    Raises:
        InvalidRequest, VersionMismatch, MustUnderstand
    """
    root = read_document(body, charset)
    namespace, name = expanded_name(root)
    if name != "Envelope":
        raise invalid(root, f"the root element is {name}, not a SOAP Envelope")
    if namespace not in (SOAP11, SOAP11_PASTED, SOAP12):
        raise VersionMismatch(f"the Envelope is in namespace {namespace!r}, not SOAP 1.1 or 1.2")
    try:
        return _read(root, namespace, understood)
    except InvalidRequest as error:
        error.envelope = namespace
        raise


def _read(root: Element, namespace: str, understood: Collection[str]) -> Envelope:
    children = list(root)
    header: tuple[Element, ...] = ()
    if children and children[0].tag == f"{{{namespace}}}Header":
        header = tuple(block for block in children.pop(0) if _is_ours(block, namespace))
        _check_header(header, namespace, understood)
    if len(children) != 1 or children[0].tag != f"{{{namespace}}}Body":
        raise invalid(root, "the Envelope does not hold a Body alone, after at most one Header")
    return Envelope(namespace, header, _only_child(children[0]))


def write_envelope(namespace: str, body: str) -> bytes:
    """
    Frame a success of the UM family in the look of the published examples (reference
    um-web-service, section 8).

    Args:
        namespace: of the envelope, as the request spelled it.
        body: the XML inside the Body.
    """
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        f'<soap:Envelope xmlns:soap="{namespace}" xmlns:xsi="{XSI}" xmlns:xsd="{XSD}">'
        f"<soap:Body>{body}</soap:Body></soap:Envelope>"
    ).encode()


def _check_header(
    header: tuple[Element, ...], namespace: str, understood: Collection[str]
) -> None:
    """Refuse header blocks that must be understood and are not."""
    for block in header:
        must = block.get(f"{{{namespace}}}mustUnderstand", "0").strip(XML_SPACE)
        if must in ("1", "true") and block.tag not in understood:
            raise MustUnderstand(expanded_name(block))


def _is_ours(block: Element, namespace: str) -> bool:
    if namespace == SOAP12:
        return block.get(f"{{{namespace}}}role", "") in _OURS_12
    return block.get(f"{{{namespace}}}actor", "") in _OURS_11


def _only_child(body: Element) -> Element:
    if not len(body):
        raise NoSuchOperation("the Body is empty", line=body.sourceline or 0, position=1)
    if len(body) != 1:
        raise invalid(body, f"the Body holds {len(body)} elements, not one")
    return body[0]
