"""Statements that a distributed Postgres can send to one node: no table of data without its mailbox, or with others.

The data tables are to be spread by `mailbox_id`, the control tables stay on one node. So every statement that reads or
writes data binds one `mailbox_id`, and names no control table.

The statements are collected from the source rather than from a run, which sends only those of the cases that it goes
through: literals, constants and f-strings are evaluated as the module would, with each value of a loop's variable. The
one function that composes a statement from a query is called with queries of each kind and keeps what it would send. A
statement that can be known in neither way fails the test.

Today's exceptions stand in EXCEPTIONS. The list may only get shorter: an entry that no longer occurs fails the test.
"""

import itertools
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from services.mail.model import Role
from services.mail.read_model import Position
from services.mail.search.parser import parse
from services.mail.search.syntax import InThread, Node
from services.mail.store.reading.message_list import newest_first
from services.mail.store.tables import metadata
from tests.support.architecture.sql_binding import examine
from tests.support.architecture.sql_statements import Recorder, Statement, statements_of, texts_with_statements

ROOT = Path(__file__).parents[2]
STORE = "services.mail.store"
CONTROL_TABLES = {
    *("mailboxes", "mailbox_schedule", "watches", "disconnections", "user_deletions", "workers"),
    *("quota_watermarks", "public_id_key", "id_origin", "idle_groups", "sync_requests", "feed_heads"),
    *("webhook_endpoints", "webhook_secrets", "webhook_cursors", "webhook_deliveries"),
    "usage_hours",
}
DATA_TABLES = set(metadata.tables) - CONTROL_TABLES
# Postgres's own, the same on every node.
_CATALOGUE = {"pg_database"}

_CHECKS_USER = "joins mailboxes"
EXCEPTIONS = {
    # A read names the user beside the mailbox.
    "changes.py: between": {_CHECKS_USER},
    "reading/downloads.py: find": {_CHECKS_USER},
    "reading/message_list.py: newest_first": {
        _CHECKS_USER,
        # The lexemes of its index carry their mailbox.
        "leaves message_search unbound",
    },
    "reading/message_rows.py: details": {_CHECKS_USER},
    "reading/message_rows.py: summaries": {_CHECKS_USER},
    "reading/threads.py: newest_first": {_CHECKS_USER},
    "reading/threads.py: one": {_CHECKS_USER},
    "sync/syncs.py: is_active": {_CHECKS_USER},
    "sync/syncs.py: report": {_CHECKS_USER},
    # Looks at several mailboxes at once.
    "changes.py: positions": {"leaves change_feeds unbound"},
    "control/idle_mailboxes.py: load": {_CHECKS_USER, "leaves sync_states unbound"},
    "control/mailboxes.py: of_user": {_CHECKS_USER, "leaves labels unbound"},
    "control/mailboxes.py: account_within": {_CHECKS_USER, "leaves labels unbound"},
    "control/mailboxes.py: address_within": {_CHECKS_USER, "leaves labels unbound"},
    "control/mailbox_overviews.py: overviews": {_CHECKS_USER, "leaves change_feeds, messages, sync_states unbound"},
    "control/schedule.py: hint": {"joins mailbox_schedule, mailboxes", "leaves sync_states unbound"},
    "reading/downloads.py: still_stored": {_CHECKS_USER, "leaves messages unbound"},
    # Counts over all mailboxes.
    "metrics.py: _oldest": {"joins idle_groups, mailbox_schedule, mailboxes", "leaves sync_states unbound"},
    "metrics.py: _counts": {
        *("leaves fetch_queue unbound", "leaves dead_letters unbound", "leaves syncs unbound"),
    },
}

# One query of each kind that compiles to other SQL, and the ways into the list.
_QUERIES = (
    *("", "word", '"two words"', "-word", '-"two words"', "word OR other", "from:anna@example.com", "to:example.com"),
    *(
        "label:work",
        "label:work word",
        "is:unread -label:work",
        "in:inbox is:read",
        "has:attachment word",
        "larger:1M",
        "has:attachment",
    ),
    *("after:2026/01/01 word", "before:2026/01/01", "rfc822msgid:<a@example.com>", "(word OR label:work) larger:1K"),
)


def lists(node: Node, *, after: Position | None, few: int) -> Callable[[Recorder], Any]:
    """Ask for a page of a list, for which an index finds many messages, or not more than are `few`."""

    def ask(connection: Any) -> Any:
        return newest_first(
            connection,
            UUID(int=1),
            1,
            node,
            after=after,
            limit=10,
            label_names={"Label_1": "work"},
            label_roles={"Label_2": Role.INBOX},
            few=few,
        )

    return ask


def composed() -> Mapping[str, list[Callable[[Recorder], Any]]]:
    """Return the calls of functions that compose statements."""
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    nodes = [parse(query, now=moment, me=["me@example.com"]) for query in _QUERIES]
    below = Position(received_at=moment, message_id=1)
    ways = itertools.product((*nodes, InThread("t")), (None, below), (1, 10**9))
    calls = [lists(node, after=after, few=few) for node, after, few in ways]
    return {"reading/message_list.py: newest_first": calls}


def findings(statement: Statement) -> set[str]:
    """Describe what keeps a statement from being sent to one node."""
    found = examine(statement.sql)
    unknown = found.tables - CONTROL_TABLES - DATA_TABLES - _CATALOGUE
    assert not unknown, f"{statement.place} names unknown tables {unknown}"
    unbound, control = sorted(found.unbound & DATA_TABLES), sorted(found.tables & CONTROL_TABLES)
    described = {f"leaves {', '.join(unbound)} unbound"} if unbound else set()
    if control and found.tables & DATA_TABLES:
        described.add(f"joins {', '.join(control)}")
    return described


class TestStatementsOnData:
    def test_bind_one_mailbox_and_join_no_control_table(self) -> None:
        found: dict[str, set[str]] = {}
        for statement in statements_of(ROOT, STORE, recorded=composed()):
            if described := findings(statement):
                found.setdefault(statement.place, set()).update(described)
        assert found == EXCEPTIONS

    def test_name_every_table_of_the_service(self) -> None:
        named = {
            table for each in statements_of(ROOT, STORE, recorded=composed()) for table in examine(each.sql).tables
        }
        # A function that migrations make is alone with this one.
        assert named >= set(metadata.tables) - {"id_origin"}

    def test_are_in_the_store_only(self) -> None:
        # The migrations' are run once, by hand of an operator.
        elsewhere = texts_with_statements(ROOT / "services/mail", set(metadata.tables), besides=("store", "migrations"))
        assert elsewhere == []


class TestStatement:
    @pytest.mark.parametrize(
        "sql",
        [
            "SELECT FROM messages WHERE mailbox_id = $1",
            "SELECT FROM messages m WHERE m.mailbox_id = $1::bigint AND m.size > 1",
            "SELECT FROM messages m JOIN message_contents c USING (mailbox_id, message_id) WHERE m.mailbox_id = $1",
            "SELECT FROM syncs s LEFT JOIN labels l ON (l.mailbox_id, 1) = (s.mailbox_id, 1) WHERE s.mailbox_id = $1",
            "SELECT FROM unnest($2) AS u(id) WHERE EXISTS (SELECT FROM labels WHERE mailbox_id = $1 AND label_id = id)",
            "SELECT FROM labels l WHERE mailbox_id = $1 AND EXISTS (SELECT FROM syncs WHERE mailbox_id = l.mailbox_id)",
            "WITH x AS (SELECT * FROM labels WHERE mailbox_id = $1) SELECT FROM x JOIN syncs USING (mailbox_id)",
            "WITH x AS (SELECT 1 AS id) SELECT FROM labels, x WHERE mailbox_id = $1",
            "SELECT FROM labels l, LATERAL (SELECT FROM syncs WHERE mailbox_id = l.mailbox_id) WHERE l.mailbox_id = $1",
            "INSERT INTO labels (mailbox_id, label_id) VALUES ($1, $2)",
            "INSERT INTO labels (label_id, mailbox_id) SELECT label_id, $1 FROM labels WHERE mailbox_id = $1",
            "INSERT INTO labels (mailbox_id) SELECT l.mailbox_id FROM labels l WHERE l.mailbox_id = $1",
            "UPDATE messages m SET size = 0 FROM labels l WHERE l.mailbox_id = m.mailbox_id AND m.mailbox_id = $1",
            "DELETE FROM messages WHERE mailbox_id = $1",
        ],
    )
    def test_of_one_mailbox_is_bound(self, sql: str) -> None:
        assert examine(sql).unbound == set()

    @pytest.mark.parametrize(
        ("sql", "table"),
        [
            ("SELECT FROM messages", "messages"),
            ("SELECT FROM messages WHERE mailbox_id = ANY($1)", "messages"),
            ("SELECT FROM messages WHERE mailbox_id = $1 OR size > 1", "messages"),
            ("SELECT FROM messages WHERE NOT mailbox_id = $1", "messages"),
            ("SELECT FROM messages WHERE message_id = $1", "messages"),
            ("SELECT FROM messages m JOIN labels l ON true WHERE m.mailbox_id = $1", "labels"),
            ("SELECT FROM messages m LEFT JOIN labels l ON m.mailbox_id = $1 AND l.mailbox_id = $1", "messages"),
            ("SELECT FROM messages m JOIN labels l USING (label_id) WHERE m.mailbox_id = $1", "labels"),
            ("SELECT FROM labels WHERE mailbox_id = $1 AND EXISTS (SELECT FROM messages)", "messages"),
            ("SELECT (SELECT count(*) FROM messages) FROM labels WHERE mailbox_id = $1", "messages"),
            ("SELECT FROM labels WHERE mailbox_id = $1 UNION SELECT FROM messages", "messages"),
            ("WITH x AS (SELECT mailbox_id FROM messages) SELECT FROM x WHERE mailbox_id = $1", "messages"),
            ("SELECT FROM unnest($1) AS u(mailbox_id) JOIN messages USING (mailbox_id)", "messages"),
            ("SELECT FROM syncs s, LATERAL (SELECT FROM labels WHERE type = $2) x WHERE s.mailbox_id = $1", "labels"),
            ("INSERT INTO labels (label_id) VALUES ($1)", "labels"),
            ("INSERT INTO labels (mailbox_id) VALUES ($1), (2)", "labels"),
            ("INSERT INTO labels (mailbox_id, label_id) SELECT unnest($1::bigint[]), 'x'", "labels"),
            ("INSERT INTO labels (mailbox_id) SELECT mailbox_id FROM labels", "labels"),
            ("UPDATE messages m SET size = 0 FROM unnest($1) AS u(mailbox_id) WHERE m.mailbox_id = u.mailbox_id",
             "messages"),
            ("DELETE FROM messages USING labels l WHERE l.mailbox_id = $1", "messages"),
        ],
    )  # fmt: skip
    def test_of_several_mailboxes_is_found(self, sql: str, table: str) -> None:
        assert table in examine(sql).unbound

    def test_names_tables_of_all_its_parts(self) -> None:
        sql = "WITH x AS (DELETE FROM labels RETURNING 1) SELECT (SELECT 1 FROM watches) FROM x, messages"
        assert examine(sql).tables == {"labels", "watches", "messages"}


_numbers = itertools.count()


@pytest.fixture
def collect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
    """Call it with the source of a module to get the statements that it sends."""
    monkeypatch.syspath_prepend(tmp_path)

    def collect(source: str) -> list[str]:
        name = f"made_up_store_{next(_numbers)}"
        (tmp_path / name).mkdir()
        (tmp_path / name / "module.py").write_text(source, encoding="utf-8")
        return [statement.sql for statement in statements_of(tmp_path, name)]

    return collect


class TestCollection:
    @pytest.mark.parametrize(
        ("body", "expected"),
        [
            ('await connection.execute("SELECT 1")', ["SELECT 1"]),
            ('await connection.execute(f"SELECT {COLUMNS}")', ["SELECT a, b"]),
            ("await connection.fetch(COLUMNS)", ["a, b"]),
            ('for t in ("x", "y"):\n        await connection.execute(f"DELETE FROM {t}")',
             ["DELETE FROM x", "DELETE FROM y"]),
            ('return [row async for row in connection.cursor("SELECT 2")]', ["SELECT 2"]),
        ],
    )  # fmt: skip
    def test_reads_what_is_constant(self, collect: Callable[[str], list[str]], body: str, expected: list[str]) -> None:
        assert collect(f"COLUMNS = 'a, b'\n\n\nasync def send(connection):\n    {body}\n") == expected

    def test_reads_what_is_passed(self, collect: Callable[[str], list[str]]) -> None:
        source = """
async def count(connection, query):
    return await connection.fetch(query)


async def read(connection):
    return await count(connection, "SELECT 1"), await count(connection, "SELECT 2")
"""
        assert collect(source) == ["SELECT 1", "SELECT 2"]

    @pytest.mark.parametrize(
        "body",
        [
            "await connection.execute(made)",
            'await connection.execute(f"SELECT {made}")',
            'made = compose()\n    await connection.execute(f"SELECT {made}")',
            'await connection.copy_records_to_table("messages", records=[])',
        ],
    )
    def test_refuses_what_it_cannot_know(self, collect: Callable[[str], list[str]], body: str) -> None:
        with pytest.raises(ValueError, match=r"module\.py: send"):
            collect(f"async def send(connection, made):\n    {body}\n")

    def test_refuses_to_record_what_needs_no_recording(self) -> None:
        with pytest.raises(ValueError, match="Nothing has to be recorded"):
            list(statements_of(ROOT, STORE, recorded={**composed(), "labels.py: gone": []}))
