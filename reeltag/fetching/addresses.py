"""Which addresses are of the public internet: all others may be of somebody whom only this machine can reach."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

_NOT_PUBLIC_IPV4: Final = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carriers' own, and metadata of one cloud
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # metadata of another cloud, though public by its number
        "169.254.0.0/16",  # link-local, and metadata of most clouds
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments, and metadata of a third
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # relays of 6to4
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
"""Of the IANA IPv4 Special-Purpose Address Registry (RFC 6890), and what clouds have put elsewhere."""
_PUBLIC_IPV6: Final = IPv6Network("2000::/3")
"""All that IANA gives out as global unicast; loopback, private, link-local, multicast and mapped ones lie outside."""
_NOT_PUBLIC_IPV6: Final = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments: Teredo, which hides an IPv4 address, ORCHID, benchmarks
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4, which hides an IPv4 address
        "3fff::/20",  # documentation
    )
)
_NAT64: Final = IPv6Network("64:ff9b::/96")
"""Networks without IPv4 give out every IPv4 address with this prefix (RFC 6052)."""


def is_public(address: str) -> bool:
    """Whether an address is of the public internet.

    Args:
        address: As `getaddrinfo` gives it, such as `192.0.2.1` or `fe80::1%eth0`.

    Raises:
        ValueError: It is no address.
    """
    parsed = ip_address(address)
    if isinstance(parsed, IPv4Address):
        return _is_public_ipv4(parsed)
    if parsed in _NAT64:
        return _is_public_ipv4(IPv4Address(int(parsed) & 0xFFFF_FFFF))
    return _is_public_ipv6(parsed)


def _is_public_ipv4(address: IPv4Address) -> bool:
    return not any(address in network for network in _NOT_PUBLIC_IPV4)


def _is_public_ipv6(address: IPv6Address) -> bool:
    return address in _PUBLIC_IPV6 and not any(address in network for network in _NOT_PUBLIC_IPV6)
