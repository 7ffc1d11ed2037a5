"""The present pass of a mailbox's history, and its records."""

from collections.abc import Sequence

import asyncpg

from services.mail.providers.folder_history.model import HistoryState, Phase, Record, RecordKind
from services.mail.store.connection import Connection

_SEPARATOR = "\x1f"


async def load(connection: Connection, mailbox_id: int) -> HistoryState:
    """Return the state of the history; a mailbox without one is before its first pass."""
    row = await connection.fetchrow(
        """
        SELECT revision, pass_number, phase, extract(epoch FROM now() - ended_at)::float8 AS ended_ago
        FROM folder_histories WHERE mailbox_id = $1
        """,
        mailbox_id,
    )
    return HistoryState.before_first_pass() if row is None else state_of(row)


def state_of(row: asyncpg.Record) -> HistoryState:
    """Return the state in a row of `folder_histories`."""
    return HistoryState(
        revision=row["revision"],
        pass_number=row["pass_number"],
        phase=Phase(row["phase"]),
        ended_ago=row["ended_ago"],
    )


async def begin(connection: Connection, mailbox_id: int) -> int:
    """Begin the next pass; return its number."""
    number: int = await connection.fetchval(
        """
        INSERT INTO folder_histories AS h (mailbox_id, pass_number, phase) VALUES ($1, 1, $2)
        ON CONFLICT (mailbox_id) DO UPDATE SET pass_number = h.pass_number + 1, phase = excluded.phase
        RETURNING pass_number
        """,
        mailbox_id,
        Phase.LOOK,
    )
    return number


async def enter(connection: Connection, mailbox_id: int, phase: Phase) -> None:
    """Go on with another phase; the pass ends with IDLE."""
    await connection.execute(
        """
        UPDATE folder_histories SET phase = $2, ended_at = CASE WHEN $3 THEN now() ELSE ended_at END
        WHERE mailbox_id = $1
        """,
        mailbox_id,
        phase,
        phase is Phase.IDLE,
    )


async def append(connection: Connection, mailbox_id: int, records: Sequence[Record]) -> None:
    """Number and store records, in their order."""
    if not records:
        return
    await connection.execute(
        """
        WITH numbered AS (
            UPDATE folder_histories SET revision = revision + $6 WHERE mailbox_id = $1
            RETURNING revision - $6 AS last
        )
        INSERT INTO folder_records (mailbox_id, revision, external_id, kind, added, removed)
        SELECT $1, numbered.last + r.place, r.external_id, r.kind,
            string_to_array(r.added, $7), string_to_array(r.removed, $7)
        FROM numbered, unnest($2::text[], $3::text[], $4::text[], $5::text[]) WITH ORDINALITY
            AS r(external_id, kind, added, removed, place)
        """,
        mailbox_id,
        [record.external_id for record in records],
        [record.kind.value for record in records],
        [_SEPARATOR.join(sorted(record.added)) for record in records],
        [_SEPARATOR.join(sorted(record.removed)) for record in records],
        len(records),
        _SEPARATOR,
    )


async def after(connection: Connection, mailbox_id: int, revision: int, *, limit: int) -> list[Record]:
    """Return up to `limit` records after number `revision`, in order."""
    rows = await connection.fetch(
        """
        SELECT revision, external_id, kind, added, removed FROM folder_records
        WHERE mailbox_id = $1 AND revision > $2 ORDER BY revision LIMIT $3
        """,
        mailbox_id,
        revision,
        limit,
    )
    return [
        Record(
            revision=row["revision"],
            external_id=row["external_id"],
            kind=RecordKind(row["kind"]),
            added=frozenset(row["added"]),
            removed=frozenset(row["removed"]),
        )
        for row in rows
    ]


async def forget(connection: Connection, mailbox_id: int, revision: int) -> None:
    """Delete the records up to number `revision`, which the copy contains."""
    await connection.execute(
        "DELETE FROM folder_records WHERE mailbox_id = $1 AND revision <= $2", mailbox_id, revision
    )
