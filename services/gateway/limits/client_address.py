"""Which address a request comes from, behind proxies that are trusted."""

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from starlette.datastructures import Headers
from starlette.types import Scope

type Address = IPv4Address | IPv6Address
type Network = IPv4Network | IPv6Network

# What one subscriber is given of IPv6 at least (RFC 6177): whoever has one address there has all of them.
IPV6_PREFIX = 64


def client_network(scope: Scope, *, trusted_proxies: Sequence[Network]) -> str:
    """The client's IPv4 address, or the /64 of its IPv6 address; "unknown" where the server knows no peer.

    X-Forwarded-For is believed as far as trusted proxies have written it: from the right, up to the first address that
    is not one of theirs.
    """
    address = _parse((scope.get("client") or ("", 0))[0])
    if address is None:
        return "unknown"
    for earlier in _forwarded_for(scope):
        if not any(address in network for network in trusted_proxies):
            break
        found = _parse(earlier)
        if found is None:
            break
        address = found
    return str(address if address.version == 4 else ip_network((address, IPV6_PREFIX), strict=False))


def _forwarded_for(scope: Scope) -> Iterator[str]:
    """The entries of all X-Forwarded-For headers, the last one first."""
    for value in reversed(Headers(scope=scope).getlist("x-forwarded-for")):
        yield from reversed(value.split(","))


def _parse(text: str) -> Address | None:
    """An address; some proxies add the port, in IPv6 after brackets."""
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
