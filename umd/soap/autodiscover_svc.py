"""
SOAP Autodiscover: GetUserSettings and GetDomainSettings (MS-OXWSADISC sections 3.1.4.2 and
3.1.4.3).

The settings are the URLs of both endpoints, and what a client needs before it uses them. Clients
ask for many settings; each that umd does not have gets an error of its own.
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
"""The path in lower case."""
MAX_SUBJECTS: Final = 16
"""Users or domains in one request; the response repeats all settings for each of them."""
NAMESPACE: Final = "http://schemas.microsoft.com/exchange/2010/Autodiscover"
_ACTION: Final = f"{NAMESPACE}/Autodiscover"
_XSI: Final = "http://www.w3.org/2001/XMLSchema-instance"
_ADDRESSES: Final = ("Action", "To", "MessageID", "ReplyTo")
_UNDERSTOOD: Final = frozenset(
    [f"{{{NAMESPACE}}}RequestedServerVersion", f"{{{TYPES}}}ExchangeImpersonation"]
    + [f"{{{addressing}}}{name}" for addressing in ADDRESSING for name in _ADDRESSES]
)
_VERSION: Final = "14.00.0639.020"
"""The version that ServerVersionInfo of EWS has, too."""

Settings: TypeAlias = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lookup:
    """What differs between GetUserSettings and GetDomainSettings."""

    word: str
    """`User` or `Domain`, of which the names of elements are made."""
    name_element: str
    """The element inside `User` or `Domain` that has the name; empty: its own text is the name."""
    unknown_code: str
    """The error code for a user or domain that does not exist."""
    setting_type: str
    """The xsi:type of a setting."""
    settings: Callable[[str, str], Settings | None]
    """Returns all settings for a name and `scheme://host`; None: no such user or domain."""


def answer(body: bytes, base: str, charset: str = "") -> tuple[str, bytes]:
    """
    Return the response to one request.

    Args:
        base: `scheme://host` as the client reached umd.
        charset: the charset of the Content-Type; empty if it has none.

    Returns:
        `(namespace_of_the_envelope, envelope)`

    Raises:
        InvalidRequest: it is not a request of SOAP Autodiscover.
    """
    envelope = read_envelope(body, _UNDERSTOOD, charset)
    try:
        operation, content = _carry_out(envelope.operation, base)
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
        f'<Response xmlns:i="{_XSI}">{content}</Response></{operation}ResponseMessage></s:Body>'
        "</s:Envelope>"
    ).encode()


def _carry_out(request: Element, base: str) -> tuple[str, str]:
    """Return the name of the operation, and the XML inside its Response."""
    namespace, name = expanded_name(request)
    lookup = _OPERATIONS.get(name) if namespace == NAMESPACE else None
    if lookup is None:
        raise NoSuchOperation(f"no operation {name} of Autodiscover here")
    return name.removesuffix("RequestMessage"), _respond(lookup, *_read(request, lookup), base)


def _read(operation: Element, lookup: _Lookup) -> tuple[list[str], list[str]]:
    """Return the users or domains, and the settings, that are requested."""
    request = _child(operation, "Request")
    subjects = [
        text_of(_child(subject, lookup.name_element) if lookup.name_element else subject)
        for subject in _child(request, f"{lookup.word}s")
    ]
    settings = [text_of(setting) for setting in _child(request, "RequestedSettings")]
    return subjects, list(dict.fromkeys(settings))


def _child(element: Element, name: str) -> Element:
    for child in element:
        if local_name(child) == name:
            return child
    raise invalid(element, f"{local_name(element)} has no {name}")


def _respond(lookup: _Lookup, subjects: list[str], settings: list[str], base: str) -> str:
    word = lookup.word
    if not 0 < len(subjects) <= MAX_SUBJECTS or not settings:
        return _error("InvalidRequest", f"Request settings of 1 to {MAX_SUBJECTS} {word}s.")
    responses = "".join(
        f"<{word}Response>{_respond_to(lookup, subject, settings, base)}</{word}Response>"
        for subject in subjects
    )
    return f"{_error('NoError', '')}<{word}Responses>{responses}</{word}Responses>"


def _respond_to(lookup: _Lookup, subject: str, names: list[str], base: str) -> str:
    """Return the content of the response for one user or domain, in the order of the schema."""
    word, known = lookup.word, lookup.settings(subject, base)
    if known is None:
        return _error(lookup.unknown_code, f"There is no such {word.lower()}.")
    found = "".join(
        f'<{word}Setting i:type="{lookup.setting_type}"><Name>{name}</Name>'
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
    settings = f"<{word}SettingErrors>{errors}</{word}SettingErrors>"
    settings += f"<{word}Settings>{found}</{word}Settings>"
    target = '<RedirectTarget i:nil="true"/>'
    content = target + settings if word == "User" else settings + target
    return _error("NoError", "No error.") + content


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
        # Clients use the last version of the list.
        "EwsSupportedSchemas": "Exchange2007, Exchange2007_SP1, Exchange2010",
    }


def _settings_of_domain(domain: str, base: str) -> Settings | None:
    if not domain or "@" in domain:
        return None
    return {"ExternalEwsUrl": base + EWS.path, "ExternalEwsVersion": _VERSION}


_OPERATIONS: Final[Mapping[str, _Lookup]] = {
    "GetUserSettingsRequestMessage": _Lookup(
        word="User",
        name_element="Mailbox",
        unknown_code="InvalidUser",
        setting_type="StringSetting",
        settings=_settings_of_user,
    ),
    "GetDomainSettingsRequestMessage": _Lookup(
        word="Domain",
        name_element="",
        unknown_code="InvalidDomain",
        setting_type="DomainStringSetting",
        settings=_settings_of_domain,
    ),
}
SETTINGS: Final = tuple(_settings_of_user("a@b", "") or ())
"""The names of all settings."""
