"""Append-only log of all changes of mailboxes, the reference for completeness checks."""

from collections.abc import Iterator

from services.sandbox.clock import Clock


class AuditLog:
    """Events in order, each with a sequence number that starts at 1."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._events: list[dict[str, object]] = []

    def append(self, event: str, *, user: str, **facts: object) -> None:
        """Record an event of the mailbox of `user` (an e-mail address)."""
        self._events.append(
            {"seq": len(self._events) + 1, "time": self._clock.now(), "event": event, "user": user} | facts
        )

    def since(self, seq: int) -> Iterator[dict[str, object]]:
        """Yield the events with a greater sequence number."""
        yield from self._events[max(seq, 0) :]
