"""
By which names umd is asked: a browser that was tricked asks by another.

Where whoever is on this machine is believed, loopback keeps strangers out, but not their pages: the
browser of somebody here fetches one from evil.example, whose name then leads to 127.0.0.1 (DNS
rebinding), and the page may ask umd whatever it likes. Such a request still says evil.example in
Host, or in its target where that is a whole URL. Whoever is refused gets 421 (RFC 9110 sections 7.4
and 15.5.20).
"""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import IPv6Address, ip_address
from typing import Final

ANY: Final = "*"
"""In a list of names: whatever it is."""
HERE: Final = frozenset(("localhost", "127.0.0.1", "::1"))
"""Names of this machine for itself."""


def host_name(host: str) -> str:
    """The name or address in a Host that is well formed, in the one spelling that is compared."""
    if host.startswith("["):
        return _spelled(host[1 : host.index("]")])
    return host.partition(":")[0].lower().removesuffix(".")


def same_address(name: str, address: str) -> bool:
    """Whether a name, as `host_name` gives it, is an address as a socket has it."""
    return name == _spelled(address.partition("%")[0])


def _spelled(address: str) -> str:
    try:
        found = ip_address(address)
    except ValueError:
        return address.lower()
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return str(mapped or found)


def hosts_asked_for(
    named: Collection[str], trusting: bool, private: bool
) -> frozenset[str] | None:
    """
    The names that a request may ask by; the address it came in at is always one.

    Args:
        named: those of the settings; without any, what is asked for is looked at only where it is
            all that protects.
        trusting: whether whoever comes from this machine is believed: nobody is asked who they are,
            or a proxy here says so in a header, which a page can send as well.
        private: whether only this machine reaches umd.

    Returns:
        None where it may be any.
    """
    if ANY in named or not (named or (trusting and private)):
        return None
    # A client of HTTP/1.0 may say none; every browser says one.
    return HERE | {host_name(one) for one in named} | {""}
