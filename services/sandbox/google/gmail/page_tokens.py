"""Page tokens: opaque, numeric-looking, bound to their query, and with an end."""

import hashlib
import secrets
from dataclasses import dataclass

from services.sandbox.google.gmail.errors import INVALID_PAGE_TOKEN, Refused
from services.sandbox.instruments.audit_log import Now

_MAC = 6
_KEY = 6
_TIME = 5
_NUMBER = 12


@dataclass(frozen=True, slots=True)
class PagePosition:
    """Where the next page begins: after this number (a date or a history id) and name; `page` counts from 1."""

    number: int
    name: str
    page: int


class PageTokens:
    """Issues and reads tokens; nothing is stored. `lifetime` is in seconds."""

    def __init__(self, *, clock: Now, lifetime: float = 86_400.0) -> None:
        self.lifetime = lifetime
        self._clock = clock
        self._secret = secrets.token_bytes(16)

    def issue(self, query: str, place: PagePosition) -> str:
        """A token for the page after `place` in the listing that `query` names."""
        data = (
            _digest(query.encode(), _KEY)
            + int(self._clock.now()).to_bytes(_TIME)
            + place.page.to_bytes(4)
            + place.number.to_bytes(_NUMBER, signed=True)
            + place.name.encode("utf-8", "surrogatepass")
        )
        return str(int.from_bytes(b"\x01" + _digest(self._secret + data, _MAC) + data))

    def read(self, query: str, token: str) -> PagePosition:
        """The place; Refused (400) if the token is forged, belongs to another query or is too old."""
        if not (token.isascii() and token.isdigit() and 40 < len(token) < 4_000):
            raise Refused(INVALID_PAGE_TOKEN)
        number = int(token)
        whole = number.to_bytes((number.bit_length() + 7) // 8)
        mac, data = whole[1 : 1 + _MAC], whole[1 + _MAC :]
        if mac != _digest(self._secret + data, _MAC) or data[:_KEY] != _digest(query.encode(), _KEY):
            raise Refused(INVALID_PAGE_TOKEN)
        rest = data[_KEY:]
        if int.from_bytes(rest[:_TIME]) + self.lifetime < self._clock.now():
            raise Refused(INVALID_PAGE_TOKEN)
        rest = rest[_TIME:]
        return PagePosition(
            number=int.from_bytes(rest[4 : 4 + _NUMBER], signed=True),
            name=rest[4 + _NUMBER :].decode("utf-8", "surrogatepass"),
            page=int.from_bytes(rest[:4]),
        )


def _digest(data: bytes, size: int) -> bytes:
    return hashlib.blake2b(data, digest_size=size).digest()
