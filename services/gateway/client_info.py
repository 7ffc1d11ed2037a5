"""Where a request came from, as coarse as it is kept: a network, and the name of the program with its system."""

import re
from collections.abc import Sequence
from ipaddress import ip_network
from typing import Annotated

from fastapi import Depends, Request
from mailroom.auth.v1.auth_pb2 import ClientInfo

from services.kit.http.client_address import Network, client_address

# A household, or a site of a company, rather than a person.
_PREFIXES = {4: 24, 6: 48}
# By part of the User-Agent header; the first that is found counts, since browsers name each other for compatibility.
_PROGRAMS = {
    "Edg": "Edge",
    "OPR/": "Opera",
    "SamsungBrowser/": "Samsung Internet",
    "Firefox/": "Firefox",
    "FxiOS/": "Firefox",
    "CriOS/": "Chrome",
    "Chrome/": "Chrome",
    "Safari/": "Safari",
}
_SYSTEMS = {
    "Windows": "Windows",
    "iPhone": "iOS",
    "iPad": "iOS",
    "Android": "Android",
    "CrOS": "ChromeOS",
    "Mac OS X": "macOS",
    "Linux": "Linux",
}
# The first product of other programs, such as `curl` in `curl/8.5.0`.
_PRODUCT = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,39}")


def network_of(request: Request, *, trusted_proxies: Sequence[Network]) -> str:
    """Return the client's /24 of IPv4 or /48 of IPv6; empty without a known address."""
    address = client_address(request.scope, trusted_proxies=trusted_proxies)
    return "" if address is None else str(ip_network((address, _PREFIXES[address.version]), strict=False))


def program_of(user_agent: str) -> str:
    """Return the program of a User-Agent header and its system, without versions; empty if it names none."""
    program = _first(_PROGRAMS, user_agent)
    if not program:
        product = _PRODUCT.match(user_agent)
        return product[0] if product and product[0] != "Mozilla" else ""
    system = _first(_SYSTEMS, user_agent)
    return f"{program} on {system}" if system else program


def _first(names: dict[str, str], text: str) -> str:
    return next((name for part, name in names.items() if part in text), "")


def client_of(request: Request) -> ClientInfo:
    """Return where a request came from."""
    trusted_proxies: Sequence[Network] = request.app.state.trusted_proxies
    return ClientInfo(
        address=network_of(request, trusted_proxies=trusted_proxies),
        user_agent=program_of(request.headers.get("user-agent", "")),
    )


async def _client_info(request: Request) -> ClientInfo:
    return client_of(request)


RequestClient = Annotated[ClientInfo, Depends(_client_info)]
