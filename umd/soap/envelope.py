"""Reads and writes SOAP 1.1 and 1.2 envelopes."""

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
# Microsoft's documentation once had https: in every namespace. umd accepts this spelling and
# answers in it, so that an example pasted from there works.
SOAP11_PASTED: Final = "https://schemas.xmlsoap.org/soap/envelope/"
SOAP12: Final = "http://www.w3.org/2003/05/soap-envelope"
XSI: Final = "http://www.w3.org/2001/XMLSchema-instance"
XSD: Final = "http://www.w3.org/2001/XMLSchema"

_OURS_11: Final = ("", "http://schemas.xmlsoap.org/soap/actor/next")
# SOAP 1.2 part 1, section 2.2. No node plays the role "none".
_OURS_12: Final = ("", f"{SOAP12}/role/next", f"{SOAP12}/role/ultimateReceiver")


class VersionMismatch(InvalidRequest):
    """An envelope of another SOAP version (SOAP 1.1 section 4.4.1, SOAP 1.2 section 5.4.7)."""


class NoSuchOperation(InvalidRequest):
    """The Body names no operation of this endpoint."""


class MustUnderstand(InvalidRequest):
    """
    umd does not understand a block with mustUnderstand (SOAP 1.1 section 4.4.1, 1.2 section 5.4.8).

    `block` is the expanded name of the header block.
    """

    def __init__(self, block: tuple[str, str]) -> None:
        super().__init__(f"header block {block[1]} is not understood")
        self.block = block


@dataclass(slots=True)
class Envelope:
    """The parts of an envelope. Not frozen: freezing takes time at each request."""

    namespace: str
    """The namespace of the envelope, as the client wrote it."""
    header: tuple[Element, ...]
    """The header blocks for the ultimate receiver."""
    operation: Element
    """The one element of the Body."""


def read_envelope(body: bytes, understood: Collection[str], charset: str = "") -> Envelope:
    """
    Read one request. The Body is read only if the header is understood.

    See SOAP 1.1 section 4.2.3 and SOAP 1.2 part 1 section 2.6.

    Args:
        understood: the expanded names, `{namespace}name`, of the header blocks that umd
        understands.
        charset: the charset of the Content-Type; empty if it has none.

    Raises:
        VersionMismatch: it is an envelope of another SOAP version.
        MustUnderstand: a mandatory header block is not understood.
        InvalidRequest: it is not a SOAP envelope with one element in its Body.
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
        raise invalid(root, "the Envelope must have one Body, after at most one Header")
    return Envelope(namespace, header, _only_child(children[0]))


def write_envelope(namespace: str, body: str) -> bytes:
    """
    Return the envelope of a successful UM response, laid out like the published examples.

    Args:
        namespace: the namespace of the envelope, as the request spelled it.
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
    """Refuse mandatory header blocks that umd does not understand."""
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
        raise invalid(body, f"the Body has {len(body)} elements, not one")
    return body[0]
