"""
The tables that describe an operation. Its `Operation` serves to read requests, to write responses,
to write the schema, and to write the documentation.

A request and an answer are trees of `Part`. A part that carries a value has a `key`: the name of
the field in the request's or the response's class in `umd.soap.requests`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, TypeAlias
from xml.sax.saxutils import escape, quoteattr

from umd.soap.document import (
    XML_SPACE,
    Element,
    invalid,
    local_name,
    text_of,
)
from umd.soap.namespaces import TYPES_OF
from umd.soap.problem import Problem
from umd.soap.requests import OperationRequest, OperationResponse

Value: TypeAlias = "str | bool | tuple[str, ...] | None"


class Family(StrEnum):
    """The two families of operations, by the word in logs and documentation."""

    UM = "um"
    EWS = "ews"


class Home(StrEnum):
    """The namespace that a name belongs to, by its usual prefix."""

    MESSAGES = "m"
    TYPES = "t"


@dataclass(frozen=True, slots=True)
class SimpleType:
    """The type of an element's text."""

    name: str
    """Its name in the schema; built-in types begin with `xs:`."""
    values: tuple[str, ...] = ()
    """The values of an enumeration; empty: any text of the type."""
    home: Home = Home.MESSAGES
    """The namespace in which an enumeration is defined."""


STRING: Final = SimpleType("xs:string")
BOOLEAN: Final = SimpleType("xs:boolean")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Part:
    """One element of a request or an answer."""

    name: str
    key: str = ""
    """The field that has its text; empty: its text is not used."""
    type: SimpleType = STRING
    """The type of its text."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """The key of each attribute; with an empty key, the attribute is allowed and ignored."""
    parts: tuple[Part, ...] = ()
    """The child elements."""
    many: bool = False
    """Whether it may occur several times; its value is then a tuple of texts."""
    absent: str | None = None
    """In a request: the value if the element is absent; None: it must be there."""
    optional: bool = False
    """In a response: whether it is left out if its value is None."""
    spellings: tuple[str, ...] = ()
    """In a request: other accepted names."""
    home: Home = Home.MESSAGES
    complex_type: str = ""
    """The name of its type in the schema, with prefix, if the contract has one."""
    about: str = ""
    """What it means, for the documentation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation of a family."""

    name: str
    family: Family
    request_type: Callable[..., OperationRequest]
    """The class of its requests; the fields are the keys of `request`."""
    response_type: type[OperationResponse]
    """The class of its responses; it has a field for each key of `answer`."""
    summary: str
    """What the operation does, for the documentation."""
    request: tuple[Part, ...] = ()
    answer: tuple[Part, ...] = ()
    """The elements of the response; none: it is empty."""
    problems: Mapping[Problem, str]
    """Why it can fail beside an invalid request: each problem with its trigger."""


# -- requests


def read_parts(element: Element, parts: tuple[Part, ...]) -> dict[str, Value]:
    """
    Read the children of an element by local name, as rpc/encoded clients put them in no namespace.

    Returns:
        The values by their keys.

    Raises:
        InvalidRequest: a part is missing, unknown, repeated or not of its type.
    """
    values: dict[str, Value] = {}
    missing = list(parts)
    stray = element.text or ""
    for child in element:
        stray += child.tail or ""
        part = _part_named(local_name(child), parts)
        if part is None:
            raise invalid(child, f"{local_name(child)} is not a part of {local_name(element)}")
        if part in missing:
            missing.remove(part)
        elif not part.many:
            raise invalid(child, f"{part.name} is given twice")
        _read_part(child, part, values)
    if stray.strip(XML_SPACE):
        raise invalid(element, f"there is text between the parts of {local_name(element)}")
    for part in missing:
        _supply_absent(element, part, values)
    return values


def holds(operation: Element, parts: tuple[Part, ...]) -> bool:
    """
    Return whether the first child of an operation is one of these parts, or there is no child.
    """
    for child in operation:
        return _part_named(local_name(child), parts) is not None
    return True


def _part_named(name: str, parts: tuple[Part, ...]) -> Part | None:
    for part in parts:
        if name == part.name or name in part.spellings:
            return part
    return None


def _read_part(element: Element, part: Part, values: dict[str, Value]) -> None:
    if part.attributes:
        _read_attributes(element, part, values)
    if part.parts:
        values.update(read_parts(element, part.parts))
    elif part.many:
        earlier = values.get(part.key, ())
        assert isinstance(earlier, tuple)
        values[part.key] = (*earlier, str(_value(element, part)))
    elif part.key:
        values[part.key] = _value(element, part)


def _read_attributes(element: Element, part: Part, values: dict[str, Value]) -> None:
    for name, key in part.attributes.items():
        if key:
            text = element.get(name)
            if text is None:
                raise invalid(element, f"{part.name} has no attribute {name}")
            values[key] = text.strip(XML_SPACE)


def _value(element: Element, part: Part) -> str | bool:
    text = text_of(element)
    if part.type is STRING:
        return text
    if part.type is BOOLEAN:
        boolean = _BOOLEANS.get(text)
        if boolean is None:
            raise invalid(element, f"{part.name} is neither true nor false")
        return boolean
    if part.type.values and text not in part.type.values:
        raise invalid(element, f"{part.name} is not one of {', '.join(part.type.values)}")
    return text


# xs:boolean. Microsoft's pages print True and False, and clients copy that.
_BOOLEANS: Final = {
    "true": True, "1": True, "True": True, "false": False, "0": False, "False": False,
}  # fmt: skip


def _supply_absent(operation: Element, part: Part, values: dict[str, Value]) -> None:
    if part.absent is None:
        raise invalid(operation, f"{local_name(operation)} has no {part.name}")
    if part.key:
        values[part.key] = part.absent


# -- responses


def write_parts(parts: tuple[Part, ...], response: OperationResponse, messages: str) -> str:
    """
    Return the XML of a response's parts.

    Args:
        response: the object with a field for each key.
        messages: the messages namespace as the request spelled it; it is the default namespace
        here.
    """
    return "".join(_write_part(part, response, messages) for part in parts)


def _write_part(part: Part, response: OperationResponse, messages: str) -> str:
    value: Value = getattr(response, part.key) if part.key else ""
    if value is None and part.optional:
        return ""
    name, declared = part.name, ""
    if part.home is Home.TYPES:
        name, declared = f"t:{part.name}", f' xmlns:t="{TYPES_OF[messages]}"'
    attributes = "".join(
        f" {attribute}={quoteattr(str(getattr(response, key)))}"
        for attribute, key in part.attributes.items()
        if key
    )
    content = write_parts(part.parts, response, messages) + _text(value)
    if not content:
        return f"<{name}{declared}{attributes}/>"
    return f"<{name}{declared}{attributes}>{content}</{name}>"


def _text(value: Value) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case tuple():
            return escape(",".join(value))
        case _:
            return escape(value)
