"""Watches for mailboxes that show neither progress nor the reason for which they wait, while their mail changes."""

import asyncio
import threading
import time

import asyncpg

# Seconds between two looks.
_PAUSE = 1.0
# What users and operators can see of a mailbox's sync, and whether it shows a wait for quota that ends within a window
# of a minute: where Valkey has lost the count, the window counts as used.
_SIGNS = """
    SELECT b.email, to_json((
        s.cursor::text, s.caught_up_at, s.last_synced_at, s.listing, s.listing_label, s.listing_pass, s.listed_count,
        q.waiting_for, q.last_error, y.progress_at, y.state, y.stored_count
    ))::text AS signs,
    q.waiting_for LIKE 'quota%' AND q.due_at BETWEEN now() AND now() + interval '61 seconds' AS waits
    FROM mailboxes b JOIN sync_states s USING (mailbox_id) JOIN mailbox_schedule q USING (mailbox_id)
    LEFT JOIN syncs y ON y.mailbox_id = b.mailbox_id AND y.ended_at IS NULL
"""


class Silence:
    """The longest silence of each mailbox in seconds; a database that is down is nobody's silence."""

    def __init__(self, dsn: str) -> None:
        self.longest: dict[str, float] = {}
        self._dsn = dsn
        # By address: the signs, and since when they are the same.
        self._seen: dict[str, tuple[str, float]] = {}

    def run(self, stop: threading.Event) -> None:
        """Look until `stop` is set."""
        while not stop.wait(_PAUSE):
            try:
                rows = asyncio.run(self._look())
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
                self._seen.clear()
                continue
            self._compare(rows, now=time.monotonic())

    async def _look(self) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self._dsn, timeout=5)
        try:
            return await connection.fetch(_SIGNS, timeout=5)
        finally:
            await connection.close(timeout=5)

    def _compare(self, rows: list[asyncpg.Record], *, now: float) -> None:
        for row in rows:
            address, signs = row["email"], row["signs"]
            before, since = self._seen.get(address, ("", now))
            self._seen[address] = (signs, since if signs == before and not row["waits"] else now)
            self.longest[address] = max(self.longest.get(address, 0.0), now - self._seen[address][1])
