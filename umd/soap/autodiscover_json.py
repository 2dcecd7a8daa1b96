"""
JSON Autodiscover (version 2): returns the URL of one protocol for a mail address.

Current Outlook asks by `autodiscover.json/v1.0/ADDRESS?Protocol=EWS`, others by
`autodiscover.json?Email=ADDRESS&Protocol=EWS`.
"""

from __future__ import annotations

import json
from typing import Final
from urllib.parse import parse_qsl, unquote

from umd.soap import autodiscover
from umd.soap.contract import EWS

PATH: Final = "/autodiscover/autodiscover.json"
"""The path in lower case."""
JSON: Final = "application/json; charset=utf-8"
_WITH_ADDRESS: Final = f"{PATH}/v1.0/"
_URLS: Final = {"EWS": EWS.path, "AutodiscoverV1": autodiscover.SHOWN_PATH}
"""The path of each protocol; clients write the names in any case."""
_MAX_PARAMETERS: Final = 32


def is_path(path: str) -> bool:
    """Return whether a path, in lower case, belongs to this form of Autodiscover."""
    return path == PATH or path.startswith(_WITH_ADDRESS)


def answer(path: str, query: str, base: str) -> tuple[int, bytes]:
    """
    Return the response to one request.

    Args:
        path, query: the two parts of the request's target.
        base: `scheme://host` as the client reached umd.

    Returns:
        `(http_status, document)`
    """
    try:
        pairs = parse_qsl(query, max_num_fields=_MAX_PARAMETERS)
    except ValueError:
        return _error("InvalidRequest", f"There are more than {_MAX_PARAMETERS} parameters.")
    parameters = {name.lower(): value for name, value in reversed(pairs)}
    address = unquote(path[len(_WITH_ADDRESS) :]) or parameters.get("email", "")
    name, _, domain = address.rpartition("@")
    if not name or not domain:
        return _error("MandatoryParameterMissing", "Give the mail address by 'Email'.")
    requested = parameters.get("protocol", "")
    if not requested:
        return _error("MandatoryParameterMissing", "Give the protocol by 'Protocol'.")
    for protocol, url in _URLS.items():
        if protocol.lower() == requested.lower():
            return 200, _document({"Protocol": protocol, "Url": base + url})
    known = "', '".join(_URLS)
    text = f"The protocol '{requested[:100]}' is not served here. Use one of '{known}'."
    return _error("InvalidProtocol", text)


def _error(code: str, text: str) -> tuple[int, bytes]:
    return 400, _document({"ErrorCode": code, "ErrorMessage": text})


def _document(values: dict[str, str]) -> bytes:
    return json.dumps(values, separators=(",", ":")).encode()
