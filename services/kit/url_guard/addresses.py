"""Addresses that requests to given URLs may reach: public ones, and those of networks that the operator allows.

Python's `is_global` is true for many of the refused networks (multicast, NAT64, 6to4 relays), so they stand here one by
one. Sources: the registries of special-purpose addresses (RFC 6890 and its updates) and of multicast.
"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_network

from services.kit.http.client_address import Address, Network


def _networks(*texts: str) -> tuple[Network, ...]:
    return tuple(map(ip_network, texts))


# Refused in any case: nothing here is a receiver, and most of it gives a machine's own credentials away.
NEVER = _networks(
    # This host, link-local, multicast, broadcast.
    *("0.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "255.255.255.255/32"),
    *("::/128", "fe80::/10", "fec0::/10", "ff00::/8"),
    # Local translation to IPv4 (RFC 8215): nothing tells which bits are the address of IPv4.
    "64:ff9b:1::/48",
    # Metadata of cloud machines outside of link-local networks.
    *("100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32", "fd00:ec2::254/128", "fd20:ce::254/128"),
)
# Refused unless the operator allows a network that contains the address.
NOT_PUBLIC = _networks(
    # Private networks, shared address space, loopback.
    *("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"),
    # Protocol assignments, documentation, 6to4 relays, benchmarks, reserved.
    *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
    "240.0.0.0/4",
    # Loopback, v4-compatible and v4-mapped, unique local.
    *("::/96", "::ffff:0:0/96", "fc00::/7"),
    # Translation to IPv4 (NAT64, RFC 6052), discard, protocol assignments with Teredo, 6to4.
    *("64:ff9b::/96", "100::/64", "2001::/23", "2002::/16"),
    # Documentation, segment routing.
    *("2001:db8::/32", "3fff::/20", "5f00::/16"),
)
# Where an IPv6 address holds one of IPv4, and how many bits stand behind it. The first has `::1`, which holds none.
_EMBEDDING = tuple(zip(_networks("::/96", "64:ff9b::/96", "2002::/16"), (0, 0, 80), strict=True))
_LOOPBACK = IPv6Address("::1")


class AddressPolicy:
    """The decision whether an address may be reached. `allowed` adds networks that are not public."""

    def __init__(self, allowed: Sequence[Network] = ()) -> None:
        self._allowed = tuple(allowed)

    def permits(self, address: Address) -> bool:
        """Return whether the address, and the one that it may stand for, may be reached."""
        return all(self._permits_as_written(each) for each in _meanings(address))

    def _permits_as_written(self, address: Address) -> bool:
        if _is_within(address, NEVER):
            return False
        return not _is_within(address, NOT_PUBLIC) or _is_within(address, self._allowed)


def _meanings(address: Address) -> list[Address]:
    """List the address and the one that it holds; of a v4-mapped address, at which IPv4 is spoken, only the latter."""
    if isinstance(address, IPv4Address):
        return [address]
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    held = (
        IPv4Address(int(address) >> shift & 0xFFFFFFFF)
        for network, shift in _EMBEDDING
        if address in network and address != _LOOPBACK
    )
    return [address, *held]


def _is_within(address: Address, networks: Sequence[Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)
