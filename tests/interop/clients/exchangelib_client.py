"""
exchangelib finds umd by Autodiscover: the port, a CA's file, a mail address, a name and a password
in; what it found out as JSON.

It connects to port 443 of the address's domain, which is looked up in DNS. Here both lead to a port
of this machine; all else is its own.
"""

from __future__ import annotations

import json
import sys
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import requests
from exchangelib import Credentials
from exchangelib.autodiscover.discovery import Autodiscovery
from exchangelib.protocol import BaseProtocol

PORT, CA, ADDRESS, NAME, PASSWORD = sys.argv[1:]


class ThisMachine(requests.adapters.HTTPAdapter):
    """Sends what is for any host to the port here, with the Host that it was for."""

    def send(
        self, request: requests.PreparedRequest, *args: Any, **kwargs: Any
    ) -> requests.Response:
        url = urlsplit(str(request.url))
        if url.scheme != "https":
            raise requests.ConnectionError("there is no plain HTTP here")
        request.headers["Host"] = url.netloc
        request.url = urlunsplit(url._replace(netloc=f"localhost:{PORT}"))
        response = super().send(request, *args, **{**kwargs, "verify": CA, "proxies": {}})
        response.url = urlunsplit(url)
        return response


class WithoutDns(Autodiscovery):  # type: ignore[misc]
    def _ensure_valid_hostname(self, url: str) -> None:
        """Any host is here."""


BaseProtocol.HTTP_ADAPTER_CLS = ThisMachine
found, protocol = WithoutDns(ADDRESS, Credentials(NAME, PASSWORD)).discover()
json.dump(
    {
        "settings": {key: value for key, value in found.user_settings.items() if value},
        "endpoint": protocol.service_endpoint,
        "version": protocol.version.api_version,
        # Asked of the endpoint that it found.
        "auth": protocol.auth_type,
    },
    sys.stdout,
)
