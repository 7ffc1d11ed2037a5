"""Work of statements for a mailbox that the planner's statistics do not know yet, as those of a first sync do not.

The planner then expects no rows, and may compare each row with all others.
"""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from services.mail.model import LabelChange, ListedId, Mailbox
from services.mail.search.parser import parse
from services.mail.store import changes, message_labels, messages
from services.mail.store.connection import Connection
from services.mail.store.folder_history import arrivals, locations, settling
from services.mail.store.reading import message_list, message_rows
from services.mail.store.sync import fetch_queue, listing_diff
from services.mail.store.sync.listing_diff import IdRange
from tests.support.mail.query_plans import PlannedConnection
from tests.support.mail.stored import stored_message

OTHERS = 300
OWN = 2_000
# Messages that a statement is about, which are stored but not queued, and dead letters.
SOME = 20
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
_LISTED = """
    INSERT INTO listed_ids (mailbox_id, round, external_id, ordinal)
    SELECT $1, 1, 'm' || n, n FROM generate_series(1, $2::int) n
"""
_DEAD = """
    INSERT INTO dead_letters (mailbox_id, external_id, wanted_version, reason, attempts)
    SELECT $1, 'd' || n, 0, 'any', 1 FROM generate_series(1, $2::int) n
"""
_STORED = """
    INSERT INTO messages (mailbox_id, message_id, external_id, thread_id, version, received_at, to_addresses,
        cc_addresses, snippet, label_ids, has_attachments, size)
    OVERRIDING SYSTEM VALUE
    SELECT $1, 1000000 + n, 'm' || n, 't' || n, 1, now(), '[]', '[]', '', '{}', false, 1
    FROM generate_series(1, $2::int) n
"""
_SEARCHABLE = """
    INSERT INTO message_search (mailbox_id, message_id, received_at, vector)
    SELECT mailbox_id, message_id, received_at, (mailbox_id || '/any:1')::tsvector FROM messages
    WHERE mailbox_id = $1 LIMIT $2
"""
_CONTENTS = """
    INSERT INTO message_contents (mailbox_id, message_id, headers, recipients, attachments)
    SELECT mailbox_id, message_id, '[]', '[[],[],[],[]]', '[]' FROM messages WHERE mailbox_id = $1 LIMIT $2
"""
_CHANGED = """
    INSERT INTO message_changes (mailbox_id, seq, message_id, kind)
    SELECT mailbox_id, message_id, message_id, 'created' FROM messages WHERE mailbox_id = $1 LIMIT $2
"""
_ALL = {
    "messages": _STORED,
    "fetch_queue": _QUEUED,
    "listed_ids": _LISTED,
    "message_search": _SEARCHABLE,
    "message_contents": _CONTENTS,
    "message_changes": _CHANGED,
}
_IDS = [f"m{number}" for number in range(1, SOME + 1)]
_ABOUT_SOME: dict[str, Callable[[Any, Mailbox], Awaitable[object]]] = {
    "queue_listed": lambda planned, mailbox: fetch_queue.queue_listed(
        planned, mailbox.mailbox_id, [ListedId(external_id=f"new{id_}", thread_id=None) for id_ in _IDS], offset=0
    ),
    "unknown": lambda planned, mailbox: fetch_queue.unknown(
        planned, mailbox.mailbox_id, [ListedId(external_id=id_, thread_id=None) for id_ in _IDS]
    ),
    "note": lambda planned, mailbox: listing_diff.note(
        planned, mailbox.mailbox_id, _IDS, round_=2, offset=0, label_id="any"
    ),
    "queue_changed": lambda planned, mailbox: fetch_queue.queue_changed(
        planned, mailbox.mailbox_id, dict.fromkeys(_IDS, 2), threads={}
    ),
    "queue_missing": lambda planned, mailbox: listing_diff.queue_missing(
        planned, mailbox.mailbox_id, IdRange("", "~"), depth=None
    ),
    "deepest_stored": lambda planned, mailbox: listing_diff.deepest_stored(
        planned, mailbox.mailbox_id, IdRange("", "~")
    ),
    "change": lambda planned, mailbox: message_labels.change(
        planned, mailbox.mailbox_id, {id_: [LabelChange(version=2, added=frozenset({"new"}))] for id_ in _IDS}
    ),
    "upsert": lambda planned, mailbox: messages.upsert(
        planned, mailbox.mailbox_id, [stored_message(id_, version=2) for id_ in _IDS]
    ),
    "newest_ids": lambda planned, mailbox: messages.newest_ids(planned, mailbox.mailbox_id, limit=SOME),
    "between": lambda planned, mailbox: changes.between(
        planned, mailbox.user_id, mailbox.mailbox_id, 0, 10**7, limit=OWN, label_names={}
    ),
    "to_tell": lambda planned, mailbox: changes.to_tell(
        planned,
        mailbox.mailbox_id,
        account_id=mailbox.account_id,
        after=0,
        until=10**7,
        live_from=0,
        limit=OWN,
        label_names={},
    ),
    "details": lambda planned, mailbox: message_rows.details(
        planned, mailbox.user_id, mailbox.mailbox_id, list(range(10**6, 10**6 + SOME)), label_names={}
    ),
    "newest_first": lambda planned, mailbox: message_list.newest_first(
        planned,
        mailbox.user_id,
        mailbox.mailbox_id,
        parse("-any", now=datetime.now(UTC), me=[]),
        after=None,
        limit=SOME,
        label_names={},
        label_roles={},
    ),
}
# As many as a query has room for.
_MANY_WORDS = "{" + " ".join(f"none{number}" for number in range(110)) + "}"


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

    async def test_read_the_marks_of_the_last_messages_of_folders(
        self, connection: Connection, planned: Any, mailbox_id: int, other_id: int
    ) -> None:
        await fill(connection, _PLACES, table="mail_locations", known=other_id, new=mailbox_id)
        last = [locations.MarkedFolder(folder_id, 1, f"{OWN - 100:010}") for folder_id in range(1, 13)]
        await locations.by_mark(planned, mailbox_id, last, lacked="seen")
        assert planned.rows < OWN / 2

    async def test_look_up_messages_without_an_id_that_can_be_lost_ones(
        self, connection: Connection, planned: Any, mailbox_id: int, other_id: int
    ) -> None:
        await fill(connection, _PLACES, table="mail_locations", known=other_id, new=mailbox_id)
        await connection.execute(
            "UPDATE mail_locations SET external_id = NULL, size = size % 500 WHERE mailbox_id = $1 AND size > 50",
            mailbox_id,
        )
        await connection.execute(_FOLDERS, mailbox_id)
        lost = [f"{number}m".ljust(200, "x") for number in range(1, 21)]
        asked = list(range(1, 13))
        await settling.unidentified_of_equal_size(planned, mailbox_id, lost, folder_ids=asked, limit=200)
        assert planned.rows < OWN / 2
        found = await settling.unidentified_of_equal_size(connection, mailbox_id, lost, folder_ids=asked, limit=200)
        assert sum(map(len, found.values())) == 3 * len(lost)

    async def test_look_up_the_queued_messages_that_were_fetched(
        self, connection: Connection, planned: Any, mailbox_id: int, other_id: int
    ) -> None:
        await fill(connection, _QUEUED, table="fetch_queue", known=other_id, new=mailbox_id)
        fetched = {f"m{number}": 1 for number in range(1, 201)}
        async with connection.transaction():
            await fetch_queue.finish(planned, mailbox_id, fetched, pauses=[1.0])
        assert planned.rows < 30 * OWN

    @pytest.mark.parametrize("ask", _ABOUT_SOME.values(), ids=_ABOUT_SOME)
    async def test_go_through_the_mailbox_a_few_times_at_most(
        self,
        connection: Connection,
        planned: Any,
        mailbox: Mailbox,
        other_id: int,
        ask: Callable[[Any, Mailbox], Awaitable[object]],
    ) -> None:
        for table, statement in _ALL.items():
            await fill(connection, statement, table=table, known=other_id, new=mailbox.mailbox_id)
        await connection.execute(_DEAD, mailbox.mailbox_id, SOME)
        await connection.execute(
            "DELETE FROM fetch_queue WHERE mailbox_id = $1 AND external_id = ANY($2::text[])", mailbox.mailbox_id, _IDS
        )
        async with connection.transaction():
            await ask(planned, mailbox)
        assert planned.rows < 20 * OWN


class TestSearch:
    async def test_reads_no_mail_of_others_for_many_words(
        self, connection: Connection, mailbox: Mailbox, other_id: int
    ) -> None:
        for table in ("messages", "message_search"):
            await connection.execute(_ALL[table], other_id, OWN)
            await connection.execute(_ALL[table], mailbox.mailbox_id, SOME)
            await connection.execute(f"ANALYZE {table}")
        # Of more messages than are examined first.
        planned: Any = PlannedConnection(connection, value=10**6)
        await message_list.newest_first(
            planned,
            mailbox.user_id,
            mailbox.mailbox_id,
            parse(_MANY_WORDS, now=datetime.now(UTC), me=[]),
            after=None,
            limit=SOME,
            label_names={},
            label_roles={},
        )
        assert planned.rows < OWN / 2
