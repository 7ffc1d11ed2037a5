"""The connections of a server, bounded per address and in all.

Beyond a bound the connection that has waited for a request, or for the rest of one, for the longest time is closed for
the new one: clients that open connections and send nothing, or half a request, displace each other, and lock no other
client out. Behind a trusted proxy, of which each client needs many connections at once, the requests of a client count.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Protocol

from services.kit.http.bounds import Bounds

# Prefix length of the networks that count as one address in IPv6.
IPV6_PREFIX = 64


class Connection(Protocol):
    """A client's connection."""

    def drop(self) -> None:
        """Close it at once, without a response."""


@dataclass(slots=True)
class _Group:
    # Both in the order in which they began.
    members: dict[Connection, None] = field(default_factory=dict)
    waiting: dict[Connection, None] = field(default_factory=dict)


class Connections:
    """The open connections of a server, and which of them wait for a request."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._all = _Group()
        self._by_address: defaultdict[str, _Group] = defaultdict(_Group)
        self._addresses: dict[Connection, str] = {}
        # Of the connections of proxies, those with a request: the clients that it comes from.
        self._forwarded: dict[Connection, str] = {}

    def __len__(self) -> int:
        return len(self._all.members)

    def add(self, connection: Connection, host: str) -> bool:
        """Add a connection that waits for its first request; return False if there is no room for it."""
        address = self._address(host)
        own = self._by_address.get(address, _Group())
        if not self._has_room(own, self._bounds.connections_per_address):
            return False
        if not self._has_room(self._all, self._bounds.connections):
            return False
        self._addresses[connection] = address
        for group in self._groups(connection):
            group.members[connection] = None
        self.waits(connection)
        return True

    def address_of(self, connection: Connection) -> str:
        """Return the key of the connection's client; empty for a proxy, and for a connection that is not there."""
        return self._addresses.get(connection, "")

    def begins(self, connection: Connection, *, client: str) -> bool:
        """Note that the connection waits for the rest of a request; return False if its client has too many under way.

        `client` is the address of the client that a trusted proxy names, or empty.
        """
        self.waits(connection)
        if not client:
            return True
        group = self._by_address[client]
        if len(group.members) >= self._bounds.connections_per_address:
            return False
        group.members[connection] = None
        self._forwarded[connection] = client
        return True

    def waits(self, connection: Connection) -> None:
        """Note that the connection has no request, and waits for one from now on."""
        self._forget_client(connection)
        for group in self._groups(connection):
            group.waiting.pop(connection, None)
            group.waiting[connection] = None

    def works(self, connection: Connection) -> None:
        """Note that the connection has a whole request, and must not be closed for another."""
        for group in self._groups(connection):
            group.waiting.pop(connection, None)

    def remove(self, connection: Connection) -> None:
        """Remove a connection; one that is not there is left alone."""
        self._forget_client(connection)
        for group in self._groups(connection):
            group.members.pop(connection, None)
            group.waiting.pop(connection, None)
        self._forget_if_unused(self._addresses.pop(connection, ""))

    def _forget_client(self, connection: Connection) -> None:
        client = self._forwarded.pop(connection, "")
        if client:
            del self._by_address[client].members[connection]
            self._forget_if_unused(client)

    def _forget_if_unused(self, address: str) -> None:
        if address and not self._by_address[address].members:
            del self._by_address[address]

    def _has_room(self, group: _Group, most: int) -> bool:
        """Tell whether the group has room for one more, after closing those that have waited for the longest time."""
        while len(group.members) >= most:
            if not group.waiting:
                return False
            longest = next(iter(group.waiting))
            self.remove(longest)
            longest.drop()
        return True

    def _groups(self, connection: Connection) -> list[_Group]:
        if connection not in self._addresses:
            return []
        address = self._addresses[connection]
        return [self._all, self._by_address[address]] if address else [self._all]

    def _address(self, host: str) -> str:
        """Return the key of a client; empty for a trusted proxy, which stands for many, and for an unknown one."""
        try:
            address = ip_address(host.partition("%")[0])
        except ValueError:
            return ""
        if isinstance(address, IPv6Address):
            address = address.ipv4_mapped or address
        if any(address in network for network in self._bounds.trusted_proxies):
            return ""
        return str(address if address.version == 4 else ip_network((address, IPV6_PREFIX), strict=False))
