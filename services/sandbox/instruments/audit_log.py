"""Append-only log of what happened to mailboxes: the truth that a completeness check is compared with."""

from collections.abc import Iterator
from typing import Protocol


class Now(Protocol):
    """The part of the sandbox's clock that mailboxes need: epoch seconds."""

    def now(self) -> float: ...


class AuditLog:
    """Events in order, each with a sequence number that starts at 1."""

    def __init__(self, clock: Now) -> None:
        self._clock = clock
        self._events: list[dict[str, object]] = []

    def append(self, event: str, *, user: str, **facts: object) -> None:
        """Record `event` of the mailbox of `user` (e-mail address)."""
        self._events.append(
            {"seq": len(self._events) + 1, "time": self._clock.now(), "event": event, "user": user} | facts
        )

    def since(self, seq: int) -> Iterator[dict[str, object]]:
        """The events with a greater sequence number."""
        yield from self._events[max(seq, 0) :]
