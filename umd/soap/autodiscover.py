"""
POX Autodiscover (MS-OXDSCLI): returns the URLs of both endpoints for a mail address.
"""

from __future__ import annotations

from time import gmtime, strftime
from typing import Final
from xml.sax.saxutils import escape

from umd.soap.contract import EWS, UM
from umd.soap.document import InvalidRequest, local_name, read_document, text_of

SHOWN_PATH: Final = "/Autodiscover/Autodiscover.xml"
PATH: Final = SHOWN_PATH.lower()
_RESPONSE: Final = "http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006"
_OUTLOOK: Final = "http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a"

INVALID: Final = (600, "Invalid Request")
NO_SUCH_SCHEMA: Final = (601, "Requested schema version not supported.")


def answer(body: bytes, base: str, at: float, charset: str = "") -> bytes:
    """
    Return the response to one request.

    Args:
        base: `scheme://host` as the client reached umd.
        at: the time of an error, in seconds since the epoch.
        charset: the charset of the Content-Type; empty if it has none.

    Returns:
        The document, for HTTP status 200. An invalid request gets an Error element.
    """
    try:
        address, schema = _read(body, charset)
    except InvalidRequest:
        return _error(*INVALID, at)
    if schema.lower() != _OUTLOOK:
        return _error(*NO_SUCH_SCHEMA, at)
    return _found(address, base)


def _read(body: bytes, charset: str) -> tuple[str, str]:
    """Return `(mail_address, schema_of_the_response)`."""
    root = read_document(body, charset)
    if local_name(root) != "Autodiscover" or len(root) != 1 or local_name(root[0]) != "Request":
        raise InvalidRequest("no Autodiscover with a Request")
    fields = {local_name(child): text_of(child) for child in root[0]}
    address = fields.get("EMailAddress") or fields.get("LegacyDN", "")
    if not address:
        raise InvalidRequest("no EMailAddress")
    return address, fields.get("AcceptableResponseSchema", "")


def _found(address: str, base: str) -> bytes:
    um = escape(base + UM.path)
    ews = escape(base + EWS.path)
    # OABUrl (MS-OXDSCLI 2.2.4.1.1.2.6) is left out: no client needs it for a call.
    protocols = "".join(
        f"<Protocol><Type>{kind}</Type><ASUrl>{ews}</ASUrl><EwsUrl>{ews}</EwsUrl>"
        f"<UMUrl>{um}</UMUrl></Protocol>"
        for kind in ("EXCH", "EXPR")
    )
    name = escape(address.partition("@")[0])
    return _document(
        f'<Response xmlns="{_OUTLOOK}"><User><DisplayName>{name}</DisplayName>'
        f"<AutoDiscoverSMTPAddress>{escape(address)}</AutoDiscoverSMTPAddress></User>"
        "<Account><AccountType>email</AccountType><Action>settings</Action>"
        f"{protocols}</Account></Response>"
    )


def _error(code: int, message: str, at: float) -> bytes:
    when = strftime("%H:%M:%S", gmtime(at)) + f".{int(at % 1 * 10**7):07d}"
    return _document(
        f'<Response><Error Time="{when}" Id="0"><ErrorCode>{code}</ErrorCode>'
        f"<Message>{escape(message)}</Message><DebugData/></Error></Response>"
    )


def _document(inside: str) -> bytes:
    return (
        f'<?xml version="1.0" encoding="utf-8"?>\n<Autodiscover xmlns="{_RESPONSE}">{inside}'
        "</Autodiscover>"
    ).encode()
