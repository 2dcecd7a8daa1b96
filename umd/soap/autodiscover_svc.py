"""
Autodiscover in its SOAP form: GetUserSettings and GetDomainSettings.

The published pages of SOAP Autodiscover (MS-OXWSADISC sections 3.1.4.2 and 3.1.4.3). The settings
are the addresses of both endpoints, and what a client wants to know before it uses them. Any other
setting is told to be none, each by itself: clients ask for all that they have heard of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias
from xml.sax.saxutils import escape

from umd.soap.contract import EWS, UM
from umd.soap.document import Element, InvalidRequest, expanded_name, invalid, local_name, text_of
from umd.soap.envelope import NoSuchOperation, read_envelope
from umd.soap.ews import ADDRESSING
from umd.soap.namespaces import TYPES

PATH: Final = "/autodiscover/autodiscover.svc"
"""In lower case."""
MOST_ASKED: Final = 16
"""Users or domains of one request: for each, all the settings are answered again."""
NAMESPACE: Final = "http://schemas.microsoft.com/exchange/2010/Autodiscover"
_ACTION: Final = f"{NAMESPACE}/Autodiscover"
_XSI: Final = "http://www.w3.org/2001/XMLSchema-instance"
_ADDRESSES: Final = ("Action", "To", "MessageID", "ReplyTo")
_UNDERSTOOD: Final = frozenset(
    [f"{{{NAMESPACE}}}RequestedServerVersion", f"{{{TYPES}}}ExchangeImpersonation"]
    + [f"{{{one}}}{name}" for one in ADDRESSING for name in _ADDRESSES]
)
_VERSION: Final = "14.00.0639.020"
"""As in the ServerVersionInfo of EWS."""

Settings: TypeAlias = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """What differs between the two operations, by which the names of their elements are made."""

    word: str
    """`User` or `Domain`."""
    asked: str
    """The element, inside of `{word}`, that has its name; empty: it has it itself."""
    no_such: str
    """The error code for what is none."""
    setting_type: str
    """Of a setting with a text, for xsi:type."""
    settings: Callable[[str, str], Settings | None]
    """All that there are, from whom they are of and `scheme://host`; None: it is none."""


def answer(body: bytes, base: str, charset: str = "") -> tuple[str, bytes]:
    """
    Answer one request.

    Args:
        base: `scheme://host` as the client reached umd.
        charset: of the Content-Type; empty where it has none.

    Returns:
        The envelope's namespace, and the envelope.

    Raises:
        InvalidRequest, or one of its kinds
    """
    envelope = read_envelope(body, _UNDERSTOOD, charset)
    try:
        operation, inside = _carry_out(envelope.operation, base)
    except InvalidRequest as error:
        error.envelope = envelope.namespace
        raise
    return envelope.namespace, (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        f'<s:Envelope xmlns:s="{envelope.namespace}" xmlns:a="{ADDRESSING[0]}"><s:Header>'
        f"<a:Action>{_ACTION}/{operation}Response</a:Action>"
        f'<h:ServerVersionInfo xmlns:h="{NAMESPACE}"><h:MajorVersion>14</h:MajorVersion>'
        "<h:MinorVersion>0</h:MinorVersion><h:MajorBuildNumber>639</h:MajorBuildNumber>"
        "<h:MinorBuildNumber>20</h:MinorBuildNumber><h:Version>Exchange2010</h:Version>"
        f'</h:ServerVersionInfo></s:Header><s:Body><{operation}ResponseMessage xmlns="{NAMESPACE}">'
        f'<Response xmlns:i="{_XSI}">{inside}</Response></{operation}ResponseMessage></s:Body>'
        "</s:Envelope>"
    ).encode()


def _carry_out(asked: Element, base: str) -> tuple[str, str]:
    """The name of an operation, and the XML inside of its Response."""
    namespace, name = expanded_name(asked)
    kind = _OPERATIONS.get(name) if namespace == NAMESPACE else None
    if kind is None:
        raise NoSuchOperation(f"no operation {name} of Autodiscover here")
    return name.removesuffix("RequestMessage"), _respond(kind, *_read(asked, kind), base)


def _read(operation: Element, kind: _Kind) -> tuple[list[str], list[str]]:
    """Whose settings are asked for, and which."""
    request = _child(operation, "Request")
    asked = [
        text_of(_child(one, kind.asked) if kind.asked else one)
        for one in _child(request, f"{kind.word}s")
    ]
    settings = [text_of(one) for one in _child(request, "RequestedSettings")]
    return asked, list(dict.fromkeys(settings))


def _child(element: Element, name: str) -> Element:
    for child in element:
        if local_name(child) == name:
            return child
    raise invalid(element, f"{local_name(element)} has no {name}")


def _respond(kind: _Kind, asked: list[str], settings: list[str], base: str) -> str:
    word = kind.word
    if not 0 < len(asked) <= MOST_ASKED or not settings:
        return _error("InvalidRequest", f"Ask for settings, and of 1 to {MOST_ASKED} {word}s.")
    responses = "".join(
        f"<{word}Response>{_respond_to(kind, one, settings, base)}</{word}Response>"
        for one in asked
    )
    return f"{_error('NoError', '')}<{word}Responses>{responses}</{word}Responses>"


def _respond_to(kind: _Kind, asked: str, names: list[str], base: str) -> str:
    """What is inside the response for one user or domain; the order is that of the schema."""
    word, known = kind.word, kind.settings(asked, base)
    if known is None:
        return _error(kind.no_such, f"That is no {word.lower()}.")
    found = "".join(
        f'<{word}Setting i:type="{kind.setting_type}"><Name>{name}</Name>'
        f"<Value>{escape(known[name])}</Value></{word}Setting>"
        for name in names
        if name in known
    )
    errors = "".join(
        f"<{word}SettingError>{_error('InvalidSetting', 'There is no such setting here.')}"
        f"<SettingName>{escape(name)}</SettingName></{word}SettingError>"
        for name in names
        if name not in known
    )
    told = f"<{word}SettingErrors>{errors}</{word}SettingErrors>"
    told += f"<{word}Settings>{found}</{word}Settings>"
    target = '<RedirectTarget i:nil="true"/>'
    return _error("NoError", "No error.") + (target + told if word == "User" else told + target)


def _error(code: str, text: str) -> str:
    return f"<ErrorCode>{code}</ErrorCode><ErrorMessage>{text}</ErrorMessage>"


def _settings_of_user(address: str, base: str) -> Settings | None:
    name, _, domain = address.rpartition("@")
    if not name or not domain:
        return None
    return {
        "UserDisplayName": name,
        "AutoDiscoverSMTPAddress": address,
        "InternalEwsUrl": base + EWS.path,
        "ExternalEwsUrl": base + EWS.path,
        "InternalUMUrl": base + UM.path,
        "ExternalUMUrl": base + UM.path,
        "CasVersion": _VERSION,
        "ExternalEwsVersion": _VERSION,
        # Clients take the last for what they are to ask by.
        "EwsSupportedSchemas": "Exchange2007, Exchange2007_SP1, Exchange2010",
    }


def _settings_of_domain(domain: str, base: str) -> Settings | None:
    if not domain or "@" in domain:
        return None
    return {"ExternalEwsUrl": base + EWS.path, "ExternalEwsVersion": _VERSION}


_OPERATIONS: Final[Mapping[str, _Kind]] = {
    "GetUserSettingsRequestMessage": _Kind(
        word="User",
        asked="Mailbox",
        no_such="InvalidUser",
        setting_type="StringSetting",
        settings=_settings_of_user,
    ),
    "GetDomainSettingsRequestMessage": _Kind(
        word="Domain",
        asked="",
        no_such="InvalidDomain",
        setting_type="DomainStringSetting",
        settings=_settings_of_domain,
    ),
}
SETTINGS: Final = tuple(_settings_of_user("a@b", "") or ())
"""The names of all that there are."""
