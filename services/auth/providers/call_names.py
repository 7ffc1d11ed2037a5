"""Names of calls and hosts of endpoints, for metrics and for the log."""

from collections.abc import Mapping
from urllib.parse import urlsplit

import httpx

# The addresses of a provider by the names of their calls. None: it has no such endpoint.
type Addresses = Mapping[str, str | None]


def name_call(url: httpx.URL, providers: Mapping[str, Addresses]) -> str:
    """Return the name of the call to `url`, such as `{provider}.token`; `other` for an address of no provider."""
    asked = urlsplit(str(url))[:3]
    for provider, addresses in providers.items():
        for name, own in addresses.items():
            if own and urlsplit(own)[:3] == asked:
                return f"{provider}.{name}"
    return "other"


def hosts(addresses: Addresses) -> dict[str, str]:
    """Return the host of each endpoint."""
    return {name: urlsplit(url).netloc if url else "none" for name, url in addresses.items()}
