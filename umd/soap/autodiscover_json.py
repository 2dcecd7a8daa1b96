"""
Autodiscover in its JSON form (version 2): a mail address and a protocol in, one address out.

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
"""In lower case."""
JSON: Final = "application/json; charset=utf-8"
_WITH_ADDRESS: Final = f"{PATH}/v1.0/"
_URLS: Final = {"EWS": EWS.path, "AutodiscoverV1": autodiscover.SHOWN_PATH}
"""The path of each protocol, which go by any case."""
_MOST_PARAMETERS: Final = 32


def is_path(path: str) -> bool:
    """Whether a path in lower case is one of this form's."""
    return path == PATH or path.startswith(_WITH_ADDRESS)


def answer(path: str, query: str, base: str) -> tuple[int, bytes]:
    """
    Answer one request.

    Args:
        path, query: of its target.
        base: `scheme://host` as the client reached umd.

    Returns:
        The status of HTTP, and the document.
    """
    try:
        pairs = parse_qsl(query, max_num_fields=_MOST_PARAMETERS)
    except ValueError:
        return _error("InvalidRequest", f"There are more than {_MOST_PARAMETERS} parameters.")
    parameters = {name.lower(): value for name, value in reversed(pairs)}
    address = unquote(path[len(_WITH_ADDRESS) :]) or parameters.get("email", "")
    name, _, domain = address.rpartition("@")
    if not name or not domain:
        return _error("MandatoryParameterMissing", "Give the mail address by 'Email'.")
    asked = parameters.get("protocol", "")
    if not asked:
        return _error("MandatoryParameterMissing", "Give the protocol by 'Protocol'.")
    for protocol, url in _URLS.items():
        if protocol.lower() == asked.lower():
            return 200, _document({"Protocol": protocol, "Url": base + url})
    known = "', '".join(_URLS)
    text = f"The protocol '{asked[:100]}' is not served here. Those that are: '{known}'."
    return _error("InvalidProtocol", text)


def _error(code: str, text: str) -> tuple[int, bytes]:
    return 400, _document({"ErrorCode": code, "ErrorMessage": text})


def _document(values: dict[str, str]) -> bytes:
    return json.dumps(values, separators=(",", ":")).encode()
