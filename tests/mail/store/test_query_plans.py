"""Work of statements for a mailbox that the planner's statistics do not know yet, as those of a first sync do not.

The planner then expects no rows, and may compare each row with all others.
"""

from typing import Any

import pytest

from services.mail.store.connection import Connection
from services.mail.store.folder_history import arrivals, locations
from services.mail.store.sync import fetch_queue
from tests.support.mail.query_plans import PlannedConnection

OTHERS = 300
OWN = 2_000
# Long ids make their index the one that costs most, as some sizes of a table do.
_PLACES = """
    INSERT INTO mail_locations (mailbox_id, folder_id, generation, key, external_id, size, arrived_at, marks)
    SELECT $1, 1 + n % 12, 1, lpad(n::text, 10, '0'), rpad(n || 'm', 200, 'x'), n,
        now() - make_interval(secs => n), '{}'
    FROM generate_series(1, $2::int) n
"""
_FOLDERS = """
    INSERT INTO mail_folders (mailbox_id, folder_id, key, path, name, role)
    SELECT $1, n, 'name:' || n, n, n, '' FROM generate_series(1, 12) n
"""
_QUEUED = """
    INSERT INTO fetch_queue (mailbox_id, external_id, lane, ordinal)
    SELECT $1, 'm' || n, 2, n FROM generate_series(1, $2::int) n
"""


@pytest.fixture
def planned(connection: Connection) -> Any:
    """Return a connection that tells the work of its queries."""
    return PlannedConnection(connection)


async def fill(connection: Connection, statement: str, *, table: str, known: int, new: int) -> None:
    """Store rows of two mailboxes; only those of the first are in the statistics."""
    await connection.execute(statement, known, OTHERS)
    await connection.execute(f"ANALYZE {table}")
    await connection.execute(statement, new, OWN)


class TestStatementsForANewMailbox:
    async def test_look_up_whether_a_listed_message_is_elsewhere(
        self, connection: Connection, planned: Any, mailbox_id: int, other_id: int
    ) -> None:
        await fill(connection, _PLACES, table="mail_locations", known=other_id, new=mailbox_id)
        await arrivals.newest(planned, mailbox_id, hidden=[], limit=500)
        assert planned.rows < 3 * OWN

    async def test_look_up_where_messages_are(
        self, connection: Connection, planned: Any, mailbox_id: int, other_id: int
    ) -> None:
        await fill(connection, _PLACES, table="mail_locations", known=other_id, new=mailbox_id)
        await locations.of_messages(planned, mailbox_id, [f"{number}m".ljust(200, "x") for number in range(1, 51)])
        assert planned.rows < OWN / 10

    async def test_look_up_messages_without_an_id(
        self, connection: Connection, planned: Any, mailbox_id: int, other_id: int
    ) -> None:
        await fill(connection, _PLACES, table="mail_locations", known=other_id, new=mailbox_id)
        await connection.execute("UPDATE mail_locations SET external_id = NULL WHERE mailbox_id = $1", mailbox_id)
        await connection.execute(_FOLDERS, mailbox_id)
        newest = await connection.fetch(
            "SELECT size, arrived_at FROM mail_locations WHERE mailbox_id = $1 ORDER BY size LIMIT 20", mailbox_id
        )
        await locations.unidentified(planned, mailbox_id, [(row["size"], row["arrived_at"]) for row in newest])
        assert planned.rows < OWN / 10

    async def test_look_for_dead_letters_in_no_long_queue(
        self, connection: Connection, planned: Any, mailbox_id: int, other_id: int
    ) -> None:
        await fill(connection, _QUEUED, table="fetch_queue", known=other_id, new=mailbox_id)
        await fetch_queue.clear_dead_letters(planned, mailbox_id)
        assert planned.rows < 10

    async def test_look_up_the_queued_messages_that_were_fetched(
        self, connection: Connection, planned: Any, mailbox_id: int, other_id: int
    ) -> None:
        await fill(connection, _QUEUED, table="fetch_queue", known=other_id, new=mailbox_id)
        fetched = {f"m{number}": 1 for number in range(1, 201)}
        async with connection.transaction():
            await fetch_queue.finish(planned, mailbox_id, fetched, pauses=[1.0])
        assert planned.rows < 30 * OWN
