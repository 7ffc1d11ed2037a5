"""Page tokens: opaque, numeric, bound to their query, with an expiry."""

import hashlib
import secrets
from dataclasses import dataclass

from services.sandbox.clock import Clock
from services.sandbox.google.gmail.errors import INVALID_PAGE_TOKEN, CallRefusedError

_MAC = 6
_KEY = 6
_TIME = 5
_NUMBER = 12


@dataclass(frozen=True, slots=True)
class PagePosition:
    """Start of a page: after this number (a date or a history id) and name; `page` counts from 1."""

    number: int
    name: str
    page: int


class PageTokens:
    """Issues and verifies tokens without storing them. `lifetime` is in seconds."""

    def __init__(self, *, clock: Clock, lifetime: float = 86_400.0) -> None:
        self.lifetime = lifetime
        self._clock = clock
        self._secret = secrets.token_bytes(16)

    def issue(self, query: str, position: PagePosition) -> str:
        """Return a token for the page after `position` in the listing that `query` identifies."""
        data = (
            _digest(query.encode(), _KEY)
            + int(self._clock.now()).to_bytes(_TIME)
            + position.page.to_bytes(4)
            + position.number.to_bytes(_NUMBER, signed=True)
            + position.name.encode("utf-8", "surrogatepass")
        )
        return str(int.from_bytes(b"\x01" + _digest(self._secret + data, _MAC) + data))

    def read(self, query: str, token: str) -> PagePosition:
        """Return the position. Raises CallRefusedError (400) for a forged or expired one, or another query."""
        if not (token.isascii() and token.isdigit() and 40 < len(token) < 4_000):
            raise CallRefusedError(INVALID_PAGE_TOKEN)
        number = int(token)
        whole = number.to_bytes((number.bit_length() + 7) // 8)
        mac, data = whole[1 : 1 + _MAC], whole[1 + _MAC :]
        if mac != _digest(self._secret + data, _MAC) or data[:_KEY] != _digest(query.encode(), _KEY):
            raise CallRefusedError(INVALID_PAGE_TOKEN)
        rest = data[_KEY:]
        if int.from_bytes(rest[:_TIME]) + self.lifetime < self._clock.now():
            raise CallRefusedError(INVALID_PAGE_TOKEN)
        rest = rest[_TIME:]
        return PagePosition(
            number=int.from_bytes(rest[4 : 4 + _NUMBER], signed=True),
            name=rest[4 + _NUMBER :].decode("utf-8", "surrogatepass"),
            page=int.from_bytes(rest[:4]),
        )


def _digest(data: bytes, size: int) -> bytes:
    return hashlib.blake2b(data, digest_size=size).digest()
