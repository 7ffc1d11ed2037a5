"""Lists of messages, newest first, paged by keyset: page 1,000 costs as much as page 1."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from services.mail.model import Role
from services.mail.read_model import MessageSummary, Position
from services.mail.search.syntax import InThread, Node
from services.mail.store.connection import Connection
from services.mail.store.reading.message_rows import SUMMARY, summary_of
from services.mail.store.reading.query_sql import (
    Arguments,
    Compiler,
    Query,
    carries,
    reads_lexemes,
    received,
)

PROBED = 400
"""Newest messages that are examined before an index is used.

A word in every eighth message fills a page from them; rarer words match so few messages that sorting them is fast.
Without this bound the planner scans the whole mailbox for a word that it expects to be common: 0.7 s.
"""

# If they fill a part of the page, this many times as many are examined: cheaper than sorting all matches.
_PROMISING = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """The request for one page."""

    user_id: UUID
    compiler: Compiler
    query: Query
    after: Position | None
    limit: int


async def newest_first(
    connection: Connection,
    user_id: UUID,
    mailbox_id: int,
    node: Node,
    *,
    after: Position | None,
    limit: int,
    label_names: Mapping[str, str],
    label_roles: Mapping[str, Role],
    probed: int = PROBED,
) -> list[MessageSummary]:
    """Return up to `limit` messages of the user's mailbox below `after` that fit the query."""
    compiler = Compiler(mailbox_id, label_names, label_roles)
    query = compiler.compile(node)
    wanted = _Wanted(user_id=user_id, compiler=compiler, query=query, after=after, limit=limit)

    async def ask(statement: Callable[[_Wanted, Arguments], str]) -> list[MessageSummary]:
        arguments = Arguments()
        rows = await connection.fetch(statement(wanted, arguments), *arguments.values)
        return [summary_of(row, label_names) for row in rows]

    in_a_thread = any(isinstance(part, InThread) for part in query.rest)
    if in_a_thread or (query.lexemes is None and not query.labels):
        return await ask(_walk)
    found = await ask(partial(_probe, rows=probed))
    if limit > len(found) >= limit / _PROMISING:
        found = await ask(partial(_probe, rows=probed * _PROMISING))
    return found if len(found) == limit else await ask(_look_up)


async def texts(connection: Connection, mailbox_id: int, message_ids: Sequence[int], *, longest: int) -> dict[int, str]:
    """Return the first `longest` characters of the bodies of messages that have one."""
    rows = await connection.fetch(
        """
        SELECT message_id, left(text, $3) AS text FROM message_contents
        WHERE mailbox_id = $1 AND message_id = ANY($2::bigint[]) AND text IS NOT NULL
        """,
        mailbox_id,
        message_ids,
        longest,
    )
    return {row["message_id"]: row["text"] for row in rows}


def _walk(wanted: _Wanted, arguments: Arguments) -> str:
    """Examine the whole list, or the thread, until the page is full."""
    bounds = [_of_mailbox(wanted, arguments, "m"), *_bounds(wanted, arguments, "m")]
    return _page(wanted, arguments, source=_joined(wanted, arguments), conditions=[*bounds, *_each(wanted, arguments)])


def _probe(wanted: _Wanted, arguments: Arguments, *, rows: int) -> str:
    """Examine the newest messages only."""
    bounds = [_of_mailbox(wanted, arguments, "m"), *_bounds(wanted, arguments, "m")]
    newest = f"""(
        SELECT m.* FROM messages m WHERE {" AND ".join(bounds)}
        ORDER BY m.received_at DESC, m.message_id DESC LIMIT {rows}
    ) m"""
    return _page(
        wanted, arguments, source=_joined(wanted, arguments, messages=newest), conditions=_each(wanted, arguments)
    )


def _look_up(wanted: _Wanted, arguments: Arguments) -> str:
    """Read all matches of the index, then the newest of them. MATERIALIZED keeps the planner from the reverse order."""
    in_phrase = False
    if wanted.query.lexemes:
        table, name = "message_search s", "s"
        # These lexemes exist in this mailbox only. With its id as a condition Postgres would intersect them with all
        # its messages.
        anchors = [f"s.vector @@ {arguments.add(wanted.query.unordered, 'tsquery')}"]
        conditions = [*_labels(wanted, arguments), *_rest(wanted, arguments)]
        in_phrase = wanted.query.unordered != wanted.query.lexemes
        if in_phrase:
            conditions.append(f"(s.vector @@ {arguments.add(wanted.query.lexemes, 'tsquery')}) IS TRUE")
    else:
        table, name = "messages m", "m"
        anchors = [_of_mailbox(wanted, arguments, name), *_labels(wanted, arguments)]
        conditions = _rest(wanted, arguments)
    # Other conditions are tested after the join, which goes through the messages in order and stops at a full page.
    enough = "" if conditions else f"LIMIT {wanted.limit}"
    found = f"""
        WITH found AS MATERIALIZED (
            SELECT {name}.message_id, {name}.received_at FROM {table}
            WHERE {" AND ".join([*anchors, *_bounds(wanted, arguments, name)])}
        ), newest AS MATERIALIZED (SELECT * FROM found ORDER BY received_at DESC, message_id DESC {enough})
    """
    source = _joined(wanted, arguments, messages="newest JOIN messages m USING (message_id)", lexemes=in_phrase)
    conditions = [_of_mailbox(wanted, arguments, "m"), *conditions]
    return found + _page(wanted, arguments, source=source, conditions=conditions, order="newest")


def _page(wanted: _Wanted, arguments: Arguments, *, source: str, conditions: list[str], order: str = "m") -> str:
    conditions = [*conditions, f"b.user_id = {arguments.add(wanted.user_id, 'uuid')}"]
    return f"""
        SELECT {SUMMARY} FROM {source} JOIN mailboxes b ON b.mailbox_id = m.mailbox_id
        WHERE {" AND ".join(conditions)}
        ORDER BY {order}.received_at DESC, {order}.message_id DESC LIMIT {wanted.limit}
    """


def _joined(wanted: _Wanted, arguments: Arguments, *, messages: str = "messages m", lexemes: bool = True) -> str:
    looked_at = lexemes and wanted.query.lexemes is not None
    if not looked_at and not any(map(reads_lexemes, wanted.query.rest)):
        return messages
    # OFFSET lets the planner look each one up, also in a mailbox that its statistics do not know.
    searchable = f"SELECT * FROM message_search s WHERE {_of_mailbox(wanted, arguments, 's')}"
    return f"{messages} CROSS JOIN LATERAL ({searchable} AND s.message_id = m.message_id OFFSET 0) s"


def _of_mailbox(wanted: _Wanted, arguments: Arguments, table: str) -> str:
    return f"{table}.mailbox_id = {arguments.add(wanted.compiler.mailbox_id, 'bigint')}"


def _bounds(wanted: _Wanted, arguments: Arguments, table: str) -> list[str]:
    conditions = [received(bounds, arguments, table) for bounds in wanted.query.received]
    if wanted.after:
        received_at = arguments.add(wanted.after.received_at, "timestamptz")
        message_id = arguments.add(wanted.after.message_id, "bigint")
        conditions.append(f"({table}.received_at, {table}.message_id) < ({received_at}, {message_id})")
    return conditions


def _each(wanted: _Wanted, arguments: Arguments) -> list[str]:
    """Return the conditions that are tested message by message."""
    conditions = [*_rest(wanted, arguments), *_labels(wanted, arguments)]
    if wanted.query.lexemes:
        # IS TRUE keeps the planner from using an index.
        conditions.append(f"(s.vector @@ {arguments.add(wanted.query.lexemes, 'tsquery')}) IS TRUE")
    return conditions


def _labels(wanted: _Wanted, arguments: Arguments) -> list[str]:
    return [carries(label_ids, arguments) for label_ids in wanted.query.labels]


def _rest(wanted: _Wanted, arguments: Arguments) -> list[str]:
    return [wanted.compiler.sql(node, arguments) for node in wanted.query.rest]
