"""Watches for messages that get another id: users hold the one that they have seen."""

import asyncio
import threading

import asyncpg

# Seconds between two looks.
_PAUSE = 4.0
_IDS = "SELECT b.email, m.external_id, m.message_id FROM messages m JOIN mailboxes b USING (mailbox_id)"


class MessageIds:
    """The ids of all messages that were ever seen in copies. While the database is down none is seen."""

    def __init__(self, dsn: str) -> None:
        self.changed: set[str] = set()
        self._dsn = dsn
        # The id in the copy by address and id at the provider.
        self._seen: dict[tuple[str, str], int] = {}

    def run(self, stop: threading.Event) -> None:
        """Look until `stop` is set."""
        while not stop.wait(_PAUSE):
            self.look()

    def look(self) -> None:
        """Compare the ids with those seen before."""
        try:
            rows = asyncio.run(self._read())
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
            return
        for row in rows:
            message = row["email"], row["external_id"]
            if self._seen.setdefault(message, row["message_id"]) != row["message_id"]:
                self.changed.add("/".join(message))

    async def _read(self) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self._dsn, timeout=5)
        try:
            return await connection.fetch(_IDS, timeout=10)
        finally:
            await connection.close(timeout=5)
