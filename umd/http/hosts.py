"""
Which host names a request may address, as a defence against DNS rebinding.

A page from evil.example can make the browser that shows it send requests to evil.example, whose
name then resolves to 127.0.0.1. If umd trusts every client on its own machine, the page could so
use umd. Such a request still has evil.example in its Host field, or in a target in absolute form.
umd answers it with 421 (RFC 9110 sections 7.4 and 15.5.20).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from umd.http.addresses import normal_address

ANY: Final = "*"
"""In the configured names: every name is allowed."""
LOOPBACK_NAMES: Final = frozenset(("localhost", "127.0.0.1", "::1"))


def host_name(host: str) -> str:
    """Return the name or address in a well-formed Host, in the one spelling that is compared."""
    if host.startswith("["):
        return normal_address(host[1 : host.index("]")])
    return host.partition(":")[0].lower().removesuffix(".")


def allowed_hosts(
    configured: Collection[str], trusts_local_clients: bool, is_private: bool
) -> frozenset[str] | None:
    """
    Return the names that a request may address besides the address of its connection.

    Args:
        configured: `http.hosts`. If it is empty, names are checked only where nothing else
            protects umd: it trusts local clients and is private.
        trusts_local_clients: clients on this machine need no password: umd serves anonymous
            clients, or trusts a proxy on this machine that names the user in a header.
        is_private: umd listens only on addresses that other machines cannot reach.

    Returns:
        None if every name is allowed.
    """
    if ANY in configured or not (configured or (trusts_local_clients and is_private)):
        return None
    # A client of HTTP/1.0 may send no Host, hence the empty name. Every browser sends one.
    return LOOPBACK_NAMES | {host_name(name) for name in configured} | {""}
