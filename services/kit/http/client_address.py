"""The address of a client behind trusted proxies."""

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from starlette.datastructures import Headers
from starlette.types import Scope

type Address = IPv4Address | IPv6Address
type Network = IPv4Network | IPv6Network

# A subscriber gets at least a /64 of IPv6, often a /56 or a /48 (RFC 6177), and may use any address in it.
IPV6_PREFIXES = (64, 56, 48)


def client_address(scope: Scope, *, trusted_proxies: Sequence[Network]) -> Address | None:
    """Return the client's address; None without a peer.

    X-Forwarded-For is read from the right up to the first address that is no trusted proxy's: entries to the left of it
    are written by the client.
    """
    address = _parse((scope.get("client") or ("", 0))[0])
    if address is None:
        return None
    for earlier in _forwarded_for(scope):
        if not any(address in network for network in trusted_proxies):
            break
        found = _parse(earlier)
        if found is None:
            break
        address = found
    return address


def forwarded_client(scope: Scope, *, trusted_proxies: Sequence[Network]) -> str:
    """Return the client that a trusted proxy names, as `client_networks` does; empty without such a one."""
    address, peer = client_address(scope, trusted_proxies=trusted_proxies), client_address(scope, trusted_proxies=())
    if address is None or address == peer or any(address in network for network in trusted_proxies):
        return ""
    return client_networks(scope, trusted_proxies=trusted_proxies)[0]


def client_networks(scope: Scope, *, trusted_proxies: Sequence[Network]) -> tuple[str, ...]:
    """Return the client's IPv4 address, or the /64, /56 and /48 of its IPv6 address; "unknown" without a peer."""
    address = client_address(scope, trusted_proxies=trusted_proxies)
    if address is None:
        return ("unknown",)
    if address.version == 4:
        return (str(address),)
    return tuple(str(ip_network((address, prefix), strict=False)) for prefix in IPV6_PREFIXES)


def _forwarded_for(scope: Scope) -> Iterator[str]:
    """Yield the entries of all X-Forwarded-For headers, the last one first."""
    for value in reversed(Headers(scope=scope).getlist("x-forwarded-for")):
        yield from reversed(value.split(","))


def _parse(text: str) -> Address | None:
    """Parse an address; some proxies add the port, in IPv6 after brackets."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address
