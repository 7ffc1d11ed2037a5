"""Random numbers that depend on a seed and a message's number only."""

from collections.abc import Sequence
from hashlib import blake2b


class SeededRandom:
    """A stream of small numbers from a keyed hash; much cheaper to start than random.Random."""

    __slots__ = ("_digest", "_key", "_state")

    def __init__(self, key: bytes, index: int) -> None:
        self._key = key
        self._digest = blake2b(index.to_bytes(8, "big"), key=key).digest()
        self._state = int.from_bytes(self._digest)

    def below(self, limit: int) -> int:
        """Return a number from 0 to limit - 1; `limit` is at most about a million."""
        state, number = divmod(self._state, limit)
        if state < 0x100000000:
            self._digest = blake2b(self._digest, key=self._key).digest()
            state = int.from_bytes(self._digest)
        self._state = state
        return number

    def choice[T](self, items: Sequence[T]) -> T:
        """Return one of the items, uniformly."""
        return items[self.below(len(items))]

    def chance(self, percent: int) -> bool:
        """Return True with a probability of `percent`."""
        return self.below(100) < percent

    def token(self, digits: int = 16) -> str:
        """Return hex digits, at most 32, for identifiers."""
        return self._digest.hex()[-digits:]
