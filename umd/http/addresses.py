"""IP addresses of clients as text: their network, and whether a network contains them."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TypeAlias

Network: TypeAlias = IPv4Network | IPv6Network


def network_of(address: str) -> str:
    """
    Return what is counted as one client: an IPv4 address, or the /64 of an IPv6 address.

    A single host has a whole /64 at its disposal (RFC 4291 section 2.5.4), so a limit for each
    IPv6 address would not limit it.
    """
    if ":" not in address:
        return address
    parsed = ip_address(address.partition("%")[0])
    assert isinstance(parsed, IPv6Address)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return f"{IPv6Address(int(parsed) >> 64 << 64)}/64"


def is_within(address: str, networks: Iterable[Network]) -> bool:
    """Return whether an address is in one of the networks; False for text that is no address."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return any(parsed in network for network in networks)


def normal_address(address: str) -> str:
    """Return the one spelling of an address that is compared; other text in lower case."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address.lower()
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return str(mapped or parsed)
