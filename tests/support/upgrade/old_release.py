"""A release as it was recorded: its tables, and the statements that its processes go on sending."""

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from services.kit.stores.postgres import Connection
from tests.support.upgrade.record import ACCOUNT, MAILBOX, USER
from tests.support.upgrade.recorder import Sent, read

RELEASES = Path(__file__).parents[2] / "e2e" / "upgrade" / "releases"

# What a turn leaves in these is copied for each mailbox; words are not, whose index takes longest.
_COPIED = ("labels", "sync_states", "mailbox_schedule", "messages", "message_changes", "change_feeds")


class OldRelease:
    """One of the recorded releases."""

    def __init__(self, name: str) -> None:
        self._folder = RELEASES / name

    @cached_property
    def statements(self) -> dict[str, list[str]]:
        """All statements of mail's store by place."""
        return json.loads((self._folder / "statements.json").read_text())  # type: ignore[no-any-return]

    def sent(self, name: str, *, replaced: Mapping[Any, Any]) -> list[Sent]:
        """Return recorded statements (turn, reads, auth), with other values in place of the recorded ones."""
        recorded = json.loads((self._folder / f"{name}.json").read_text())
        return [Sent(sql, tuple(read(arguments, replaced=replaced))) for sql, arguments in recorded]

    async def create(self, connection: Connection, service: str) -> None:
        """Make the tables of a service in an empty database."""
        await connection.execute((self._folder / f"{service}.sql").read_text())

    async def turn(self, connection: Connection, *, user_id: UUID) -> int:
        """Connect a mailbox of the user and fill it as a turn does; return its id.

        Each statement is a transaction, as short as most of a turn's: turns without pause that lock all tables at once
        would leave no moment to a migration.
        """
        account_id = uuid4()
        await send(connection, self.sent("turn", replaced={ACCOUNT: account_id, USER: user_id})[:1])
        mailbox_id: int = await connection.fetchval(
            "SELECT mailbox_id FROM mailboxes WHERE account_id = $1", account_id
        )
        await send(connection, self.sent("turn", replaced={MAILBOX: mailbox_id, USER: user_id})[1:])
        return mailbox_id

    async def read(self, connection: Connection, *, user_id: UUID, mailbox_id: int) -> int:
        """Read the mailbox as clients do; return the number of rows."""
        return await send(connection, self.sent("reads", replaced={MAILBOX: mailbox_id, USER: user_id}))

    async def use_auth(self, connection: Connection) -> None:
        """Sign a new user in, use their tokens, and revoke a grant."""
        await send(connection, self.sent("auth", replaced={ACCOUNT: uuid4(), USER: uuid4()}))


async def send(connection: Connection, sent: Sequence[Sent]) -> int:
    """Send statements in order; return how many rows they returned."""
    return sum([len(await connection.fetch(each.sql, *each.arguments)) for each in sent])


async def fill(connection: Connection, mailbox_id: int, *, mailboxes: int) -> None:
    """Add mailboxes, each like the given one."""
    first = 1_000_000_000
    await _copy(
        connection,
        "mailboxes",
        mailbox_id,
        first,
        mailboxes,
        account_id="gen_random_uuid()",
        user_id="gen_random_uuid()",
    )
    for table in _COPIED:
        await _copy(connection, table, mailbox_id, first, mailboxes)
    await connection.execute("ANALYZE")


async def _copy(
    connection: Connection, table: str, mailbox_id: int, first: int, copies: int, **expressions: str
) -> None:
    columns = [
        row["attname"]
        for row in await connection.fetch(
            "SELECT attname FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped "
            "AND attname <> 'mailbox_id'",
            table,
        )
    ]
    values = ", ".join(expressions.get(column, f"t.{column}") for column in columns)
    await connection.execute(
        f"INSERT INTO {table} (mailbox_id, {', '.join(columns)}) OVERRIDING SYSTEM VALUE "  # noqa: S608 - names of columns
        f"SELECT n, {values} FROM {table} t, generate_series($2::bigint, $2 + $3 - 1) n WHERE t.mailbox_id = $1",
        mailbox_id,
        first,
        copies,
    )


async def digest(connection: Connection, columns: Mapping[str, Sequence[str]]) -> dict[str, tuple[int, str]]:
    """Return the number of rows of each table and a digest of these columns of them."""
    found = {}
    for table, names in columns.items():
        row = await connection.fetchrow(
            f"SELECT count(*), md5(string_agg(h, '' ORDER BY h)) FROM "  # noqa: S608 - names of columns
            f"(SELECT md5(ROW({', '.join(names)})::text) AS h FROM {table} WHERE mailbox_id >= 1000000000) rows"
        )
        assert row is not None
        found[table] = (row[0], row[1])
    return found


async def columns_of(connection: Connection) -> dict[str, list[str]]:
    """Return the columns of the tables that `fill` copies, in alphabetical order."""
    rows = await connection.fetch(
        "SELECT table_name, array_agg(column_name::text ORDER BY column_name) FROM information_schema.columns "
        "WHERE table_name = ANY($1) GROUP BY 1",
        ["mailboxes", *_COPIED],
    )
    return {row[0]: row[1] for row in rows}
