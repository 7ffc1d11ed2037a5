"""The bytes of responses that clients have not taken, bounded in all.

A client that asks for large responses and reads none of them would otherwise have each of them kept as long as its
connections live. Beyond the bound a connection is closed: of the address that holds most, the one whose client has
taken nothing for the longest time.
"""

from collections import Counter
from typing import Protocol


class Unread(Protocol):
    """A connection with a response that its client has not taken whole."""

    def unread(self) -> int:
        """Return the bytes that are left to take."""

    def drop(self) -> None:
        """Close the connection at once, without a response."""


class UnreadResponses:
    """The responses of a server that wait for their clients; `most` is in bytes."""

    def __init__(self, most: int) -> None:
        self._most = most
        # The bytes as of the last look, in the order in which clients last took some.
        self._bytes: dict[Unread, int] = {}
        self._addresses: dict[Unread, str] = {}
        self._total = 0

    @property
    def total(self) -> int:
        """The bytes that are kept, as of the last look."""
        return self._total

    def hold(self, connection: Unread, address: str) -> None:
        """Note that a connection begins to wait for its client, and make room for its bytes."""
        self.release(connection)
        self._addresses[connection] = address
        self._set(connection, connection.unread())
        if self._total > self._most:
            self._look_again()
        while self._total > self._most:
            victim = self._victim()
            self.release(victim)
            victim.drop()

    def release(self, connection: Unread) -> None:
        """Note that a connection waits no longer; one that does not wait is left alone."""
        self._total -= self._bytes.pop(connection, 0)
        self._addresses.pop(connection, None)

    def _set(self, connection: Unread, size: int) -> None:
        self._total += size - self._bytes.pop(connection, 0)
        self._bytes[connection] = size

    def _look_again(self) -> None:
        for connection, earlier in list(self._bytes.items()):
            size = connection.unread()
            if size < earlier:
                self._set(connection, size)

    def _victim(self) -> Unread:
        held: Counter[str] = Counter()
        for connection, size in self._bytes.items():
            held[self._addresses[connection]] += size
        [(largest, _)] = held.most_common(1)
        return next(connection for connection in self._bytes if self._addresses[connection] == largest)
