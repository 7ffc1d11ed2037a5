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
    received,
)

PROBED = 400
"""Newest messages that are examined before an index is used.

A word in every eighth message fills a page from them; rarer words match so few messages that sorting them is fast.
Without this bound the planner scans the whole mailbox for a word that it expects to be common: 0.7 s.
"""

# If they fill a part of the page, this many times as many are examined: cheaper than sorting all matches. Where no
# index finds messages, it is done twice at once: cheaper than comparing the mailbox with what is excluded.
_PROMISING = 4
# Matches of an index, of which each is then looked at. With more, whole sets are compared: with 200,000 messages that
# takes 0.1 to 0.3 s, and to look at each more than a second.
_FEW = 2_000


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
    few: int = _FEW,
) -> list[MessageSummary]:
    """Return up to `limit` messages of the user's mailbox below `after` that fit the query."""
    compiler = Compiler(mailbox_id, label_names, label_roles)
    query = compiler.compile(node)
    wanted = _Wanted(user_id=user_id, compiler=compiler, query=query, after=after, limit=limit)

    async def ask(statement: Callable[[_Wanted, Arguments], str]) -> list[MessageSummary]:
        arguments = Arguments()
        rows = await connection.fetch(statement(wanted, arguments), *arguments.values)
        return [summary_of(row, label_names) for row in rows]

    async def exceeds(source: Callable[[_Wanted, Arguments], str], rows: int) -> bool:
        """Return whether a source has more rows."""
        arguments = Arguments()
        counted = f"SELECT count(*) FROM (SELECT FROM {source(wanted, arguments)} LIMIT {rows + 1}) counted"
        return bool(await connection.fetchval(counted, *arguments.values) > rows)

    in_a_thread = any(isinstance(part, InThread) for part in query.facts)
    if in_a_thread or not (query.has_index or (query.excluded and not query.mixed)):
        return await ask(_walk)
    found = await ask(partial(_probe, rows=probed))
    if len(found) < limit and (not query.has_index or len(found) >= limit / _PROMISING):
        probed *= _PROMISING if query.has_index else _PROMISING**2
        found = await ask(partial(_probe, rows=probed))
    if len(found) == limit or not await exceeds(_in_range, probed):
        return found
    async with connection.transaction():
        # Of many words the planner adds up a guess for each, and would read the table of all mailboxes, not the index.
        await connection.execute("SET LOCAL enable_seqscan = off")
        many = not query.has_index or (query.has_more and await exceeds(_indexed, few))
        return await ask(_compare_sets if many and not query.mixed else _look_up)


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
    conditions = [*_range(wanted, arguments, "m"), *_each(wanted, arguments)]
    return _page(wanted, arguments, source=_joined(wanted, arguments), conditions=conditions)


def _probe(wanted: _Wanted, arguments: Arguments, *, rows: int) -> str:
    """Examine the newest messages only."""
    newest = f"""(
        SELECT m.* FROM {_in_range(wanted, arguments)}
        ORDER BY m.received_at DESC, m.message_id DESC LIMIT {rows}
    ) m"""
    return _page(
        wanted, arguments, source=_joined(wanted, arguments, messages=newest), conditions=_each(wanted, arguments)
    )


def _look_up(wanted: _Wanted, arguments: Arguments) -> str:
    """Read all matches of the index, then the newest of them. MATERIALIZED keeps the planner from the reverse order."""
    query = wanted.query
    conditions = _mixed(wanted, arguments)
    if query.lexemes:
        conditions += [*_labels(wanted, arguments), *_facts(wanted, arguments)]
    looked_at = query.excluded is not None or query.unordered != query.lexemes
    if looked_at:
        conditions += _lexemes(wanted, arguments)
    # Other conditions are tested after the join, which goes through the messages in order and stops at a full page.
    enough = "" if conditions else f"LIMIT {wanted.limit}"
    found = f"""
        WITH found AS MATERIALIZED (SELECT message_id, received_at FROM {_indexed(wanted, arguments)}),
        newest AS MATERIALIZED (SELECT * FROM found ORDER BY received_at DESC, message_id DESC {enough})
    """
    source = _joined(wanted, arguments, messages="newest JOIN messages m USING (message_id)", lexemes=looked_at)
    conditions = [_of_mailbox(wanted, arguments, "m"), *conditions]
    return found + _page(wanted, arguments, source=source, conditions=conditions, order="newest")


def _compare_sets(wanted: _Wanted, arguments: Arguments) -> str:
    """Compare the set of matches of the index with that of messages that fit otherwise: each is read once at most."""
    query = wanted.query
    facts = [*_range(wanted, arguments, "m"), *_labels(wanted, arguments), *_facts(wanted, arguments)]
    between, lexemes = ("INTERSECT", query.lexemes) if query.lexemes else ("EXCEPT", query.excluded)
    matches = [f"s.vector @@ {arguments.add(lexemes, 'tsquery')}", *_bounds(wanted, arguments, "s")]
    newest = f"""
        WITH newest AS MATERIALIZED (
            SELECT m.message_id, m.received_at FROM messages m WHERE {" AND ".join(facts)}
            {between} SELECT s.message_id, s.received_at FROM message_search s WHERE {" AND ".join(matches)}
            ORDER BY received_at DESC, message_id DESC LIMIT {wanted.limit}
        )
    """
    conditions = [_of_mailbox(wanted, arguments, "m")]
    source = "newest JOIN messages m USING (message_id)"
    return newest + _page(wanted, arguments, source=source, conditions=conditions, order="newest")


def _in_range(wanted: _Wanted, arguments: Arguments) -> str:
    """Return the source of the messages between the bounds."""
    return f"messages m WHERE {' AND '.join(_range(wanted, arguments, 'm'))}"


def _indexed(wanted: _Wanted, arguments: Arguments) -> str:
    """Return the source of the rows that the index finds, which has all that fit."""
    if wanted.query.lexemes:
        # These lexemes exist in this mailbox only. With its id as a condition Postgres would intersect them with all
        # its messages.
        anchor = f"s.vector @@ {arguments.add(wanted.query.unordered, 'tsquery')}"
        return f"message_search s WHERE {' AND '.join([anchor, *_bounds(wanted, arguments, 's')])}"
    conditions = [*_labels(wanted, arguments), *_facts(wanted, arguments)]
    return f"{_in_range(wanted, arguments)} AND {' AND '.join(conditions)}"


def _page(wanted: _Wanted, arguments: Arguments, *, source: str, conditions: list[str], order: str = "m") -> str:
    conditions = [*conditions, f"b.user_id = {arguments.add(wanted.user_id, 'uuid')}"]
    return f"""
        SELECT {SUMMARY} FROM {source} JOIN mailboxes b ON b.mailbox_id = m.mailbox_id
        WHERE {" AND ".join(conditions)}
        ORDER BY {order}.received_at DESC, {order}.message_id DESC LIMIT {wanted.limit}
    """


def _joined(wanted: _Wanted, arguments: Arguments, *, messages: str = "messages m", lexemes: bool = True) -> str:
    query = wanted.query
    looked_at = lexemes and (query.lexemes or query.excluded)
    if not looked_at and not query.mixed:
        return messages
    # OFFSET lets the planner look each one up, also in a mailbox that its statistics do not know.
    searchable = f"SELECT * FROM message_search s WHERE {_of_mailbox(wanted, arguments, 's')}"
    return f"{messages} CROSS JOIN LATERAL ({searchable} AND s.message_id = m.message_id OFFSET 0) s"


def _of_mailbox(wanted: _Wanted, arguments: Arguments, table: str) -> str:
    return f"{table}.mailbox_id = {arguments.add(wanted.compiler.mailbox_id, 'bigint')}"


def _range(wanted: _Wanted, arguments: Arguments, table: str) -> list[str]:
    return [_of_mailbox(wanted, arguments, table), *_bounds(wanted, arguments, table)]


def _bounds(wanted: _Wanted, arguments: Arguments, table: str) -> list[str]:
    conditions = [received(bounds, arguments, table) for bounds in wanted.query.received]
    if wanted.after:
        received_at = arguments.add(wanted.after.received_at, "timestamptz")
        message_id = arguments.add(wanted.after.message_id, "bigint")
        conditions.append(f"({table}.received_at, {table}.message_id) < ({received_at}, {message_id})")
    return conditions


def _each(wanted: _Wanted, arguments: Arguments) -> list[str]:
    """Return the conditions that are tested message by message."""
    others = [*_facts(wanted, arguments), *_mixed(wanted, arguments), *_labels(wanted, arguments)]
    return [*others, *_lexemes(wanted, arguments)]


def _lexemes(wanted: _Wanted, arguments: Arguments) -> list[str]:
    """Return the conditions on the lexemes of a message. IS TRUE keeps the planner from using an index."""
    wanted_and_not = ((wanted.query.lexemes, "TRUE"), (wanted.query.excluded, "NOT TRUE"))
    return [
        f"(s.vector @@ {arguments.add(lexemes, 'tsquery')}) IS {holds}" for lexemes, holds in wanted_and_not if lexemes
    ]


def _labels(wanted: _Wanted, arguments: Arguments) -> list[str]:
    return [carries(label_ids, arguments) for label_ids in wanted.query.labels]


def _facts(wanted: _Wanted, arguments: Arguments) -> list[str]:
    return [wanted.compiler.sql(node, arguments) for node in wanted.query.facts]


def _mixed(wanted: _Wanted, arguments: Arguments) -> list[str]:
    return [wanted.compiler.sql(node, arguments) for node in wanted.query.mixed]
