"""URLs that users and applications give, parsed by the library whose requests go there."""

import re
from dataclasses import dataclass
from ipaddress import ip_address

import httpx

# Characters.
LONGEST = 2048
_DEFAULT_PORTS = {"https": 443, "http": 80}
_FIRST_FREE_PORT, _LAST_PORT = 1024, 65_535
# Ports above it that belong to other protocols (https://fetch.spec.whatwg.org/#port-blocking).
_FOREIGN_PORTS = frozenset(
    {1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6679, 6697, 10080, *range(6665, 6670)}
)
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_LONGEST_NAME = 253


class UnfitUrlError(ValueError):
    """A URL that no request goes to; the text tells why, in words for its author."""


@dataclass(frozen=True, slots=True)
class Destination:
    """A URL that may be requested, if its addresses may be reached. `host` is a name in ASCII or an address."""

    url: str
    scheme: str
    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """The value of the header Host."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


def parse(text: str, *, allow_http: bool = False) -> Destination:
    """Parse an absolute URL. Raises UnfitUrlError, without a look at any address."""
    if len(text) > LONGEST or not text.isprintable() or " " in text or "\\" in text:
        raise UnfitUrlError(f"must be a URL of at most {LONGEST} characters, without spaces and backslashes")
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, UnicodeError) as error:
        raise UnfitUrlError("is not a URL") from error
    if url.scheme != "https" and not (url.scheme == "http" and allow_http):
        raise UnfitUrlError("must begin with https:// or http://" if allow_http else "must begin with https://")
    if url.userinfo or "@" in text.split("/", 3)[2]:
        raise UnfitUrlError("must not hold a user name or a password")
    if url.fragment or "#" in text:
        raise UnfitUrlError("must not have a fragment")
    port = _DEFAULT_PORTS[url.scheme] if url.port is None else url.port
    if not _is_fit(port):
        raise UnfitUrlError("must have port 443, 80, or one above 1023 that no other protocol owns")
    host = _host(url.raw_host.decode("ascii"))
    return Destination(text, url.scheme, host, port, url.raw_path.decode("ascii"))


def _is_fit(port: int) -> bool:
    is_free = _FIRST_FREE_PORT <= port <= _LAST_PORT and port not in _FOREIGN_PORTS
    return is_free or port in _DEFAULT_PORTS.values()


def _host(host: str) -> str:
    try:
        return str(ip_address(host))
    except ValueError:
        pass
    labels = host.removesuffix(".").split(".")
    if len(host) > _LONGEST_NAME or not all(map(_LABEL.fullmatch, labels)):
        raise UnfitUrlError("must name a host")
    # Resolvers read 127.1, 2130706433 and 0x7f.1 as addresses (https://url.spec.whatwg.org/#ends-in-a-number-checker).
    if re.fullmatch(r"[0-9]+|0x[0-9a-f]*", labels[-1]):
        raise UnfitUrlError("must write an address in its usual form")
    return host
