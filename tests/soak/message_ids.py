"""Watches for messages that get another id, or leave a thread other than by a merge: users hold what they have seen."""

import asyncio
import threading

import asyncpg

# Seconds between two looks.
_PAUSE = 4.0
_IDS = """
    SELECT b.email, m.external_id, m.message_id, m.thread_id FROM messages m JOIN mailboxes b USING (mailbox_id)
"""
_MERGES = "SELECT b.email, g.thread_id, g.kept_id FROM thread_merges g JOIN mailboxes b USING (mailbox_id)"


class MessageIds:
    """The ids of all messages that were ever seen in copies. While the database is down none is seen."""

    def __init__(self, dsn: str) -> None:
        self.changed: set[str] = set()
        self._dsn = dsn
        # The id in the copy by address and id at the provider.
        self._seen: dict[tuple[str, str], int] = {}
        # The thread by address and id at the provider.
        self._threads: dict[tuple[str, str], str] = {}

    def run(self, stop: threading.Event) -> None:
        """Look until `stop` is set."""
        while not stop.wait(_PAUSE):
            self.look()

    def look(self) -> None:
        """Compare the ids with those seen before."""
        try:
            rows, merges = asyncio.run(self._read())
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
            return
        for row in rows:
            message = row["email"], row["external_id"]
            if self._seen.setdefault(message, row["message_id"]) != row["message_id"]:
                self.changed.add("/".join(message))
            seen, thread = (
                merges.get((row["email"], each), each)
                for each in (self._threads.get(message, row["thread_id"]), row["thread_id"])
            )
            if seen != thread:
                self.changed.add("/".join([*message, f"thread {seen}, now {thread}"]))
            self._threads[message] = row["thread_id"]

    async def _read(self) -> tuple[list[asyncpg.Record], dict[tuple[str, str], str]]:
        """Return the messages, and the kept threads of merged ones by address and id, as of one moment."""
        connection = await asyncpg.connect(self._dsn, timeout=5)
        try:
            async with connection.transaction(isolation="repeatable_read"):
                rows = await connection.fetch(_IDS, timeout=10)
                merges = await connection.fetch(_MERGES, timeout=10)
            return rows, {(row["email"], row["thread_id"]): row["kept_id"] for row in merges}
        finally:
            await connection.close(timeout=5)
