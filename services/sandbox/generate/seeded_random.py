"""Random numbers that belong to one message: the same for the same seed and number, whenever they are asked for."""

from collections.abc import Sequence
from hashlib import blake2b


class SeededRandom:
    """A stream of small numbers cut from a keyed hash; far cheaper to start than a general generator."""

    __slots__ = ("_digest", "_key", "_state")

    def __init__(self, key: bytes, index: int) -> None:
        self._key = key
        self._digest = blake2b(index.to_bytes(8, "big"), key=key).digest()
        self._state = int.from_bytes(self._digest)

    def below(self, limit: int) -> int:
        """A number from 0 to limit - 1; `limit` up to about a million."""
        state, number = divmod(self._state, limit)
        if state < 0x100000000:
            self._digest = blake2b(self._digest, key=self._key).digest()
            state = int.from_bytes(self._digest)
        self._state = state
        return number

    def choice[T](self, items: Sequence[T]) -> T:
        """One of the items, evenly."""
        return items[self.below(len(items))]

    def chance(self, percent: int) -> bool:
        """True in so many of a hundred cases."""
        return self.below(100) < percent

    def token(self, digits: int = 16) -> str:
        """Hex digits, at most 32, for identifiers."""
        return self._digest.hex()[-digits:]
