"""The folders of a mailbox as its history knows them."""

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from services.mail.providers.folder_history.model import HistoryState, KnownFolder
from services.mail.providers.folder_history.port import Folder
from services.mail.store.connection import Connection
from services.mail.store.folder_history.passes import state_of

_COLUMNS = """
    folder_id, key, path, name, role, state, token, generation, known, looked_pass, is_retiring, is_gone, failures,
    doubtful_in,
    extract(epoch FROM now() - missing_since)::float8 AS missing_for,
    extract(epoch FROM now() - failing_since)::float8 AS failing_for,
    extract(epoch FROM now() - restarted_at)::float8 AS restarted_ago
"""


async def all_of(connection: Connection, mailbox_id: int) -> list[KnownFolder]:
    """Return all folders, the inbox first, then in the order in which they were found."""
    rows = await connection.fetch(
        f"SELECT {_COLUMNS} FROM mail_folders WHERE mailbox_id = $1 ORDER BY role <> 'inbox', folder_id", mailbox_id
    )
    return [_folder_of(row) for row in rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """The state of a mailbox's history, and all folders.

    `misses_some` says that messages are in no folder as far as it knows.
    """

    state: HistoryState
    folders: Sequence[KnownFolder] = ()
    misses_some: bool = False


async def overview(connection: Connection, mailbox_id: int) -> Overview:
    """Return the state of the history and all folders."""
    rows = await connection.fetch(
        f"""
        SELECT {_COLUMNS}, revision, pass_number, phase, extract(epoch FROM now() - ended_at)::float8 AS ended_ago,
            EXISTS (SELECT FROM mail_locations WHERE mailbox_id = $1 AND gone_in IS NOT NULL) AS misses_some
        FROM folder_histories LEFT JOIN mail_folders USING (mailbox_id) WHERE mailbox_id = $1
        ORDER BY role <> 'inbox', folder_id
        """,
        mailbox_id,
    )
    if not rows:
        return Overview(state=HistoryState.before_first_pass())
    return Overview(
        state=state_of(rows[0]),
        folders=[_folder_of(row) for row in rows if row["folder_id"] is not None],
        misses_some=rows[0]["misses_some"],
    )


async def next_to_look_at(connection: Connection, mailbox_id: int, pass_number: int) -> KnownFolder | None:
    """Return the next folder that this pass has not looked at."""
    row = await connection.fetchrow(
        f"""
        SELECT {_COLUMNS} FROM mail_folders WHERE mailbox_id = $1 AND (looked_pass < $2 OR is_retiring)
        ORDER BY role <> 'inbox', folder_id LIMIT 1
        """,
        mailbox_id,
        pass_number,
    )
    return None if row is None else _folder_of(row)


def _folder_of(row: asyncpg.Record) -> KnownFolder:
    return KnownFolder(
        folder_id=row["folder_id"],
        folder=Folder(key=row["key"], path=row["path"], name=row["name"], role=row["role"]),
        state=row["state"],
        token=row["token"],
        generation=row["generation"],
        known=row["known"],
        looked_pass=row["looked_pass"],
        is_retiring=row["is_retiring"],
        is_gone=row["is_gone"],
        missing_for=row["missing_for"],
        failing_for=row["failing_for"],
        restarted_ago=row["restarted_ago"],
        failures=row["failures"],
        doubtful_in=row["doubtful_in"],
    )


async def record_listed(
    connection: Connection, mailbox_id: int, listed: Sequence[Folder], *, is_complete: bool
) -> None:
    """Store the listed folders; note since when others are missing, if the listing was complete."""
    await connection.execute(
        """
        INSERT INTO mail_folders AS f (mailbox_id, folder_id, key, path, name, role)
        SELECT $1, (SELECT coalesce(max(folder_id), 0) FROM mail_folders WHERE mailbox_id = $1) + l.place,
            l.key, l.path, l.name, l.role
        FROM unnest($2::text[], $3::text[], $4::text[], $5::text[]) WITH ORDINALITY AS l(key, path, name, role, place)
        ON CONFLICT (mailbox_id, key) WHERE NOT is_gone DO UPDATE
        SET path = excluded.path, name = excluded.name, role = excluded.role, missing_since = NULL
        WHERE (f.path, f.name, f.role, f.missing_since)
            IS DISTINCT FROM (excluded.path, excluded.name, excluded.role, NULL::timestamptz)
        """,
        mailbox_id,
        [folder.key for folder in listed],
        [folder.path for folder in listed],
        [folder.name for folder in listed],
        [folder.role for folder in listed],
    )
    if is_complete:
        await connection.execute(
            """
            UPDATE mail_folders SET missing_since = now()
            WHERE mailbox_id = $1 AND missing_since IS NULL AND NOT is_gone AND key <> ALL($2::text[])
            """,
            mailbox_id,
            [folder.key for folder in listed],
        )


async def rename(connection: Connection, mailbox_id: int, folder_id: int, folder: Folder) -> None:
    """Give a folder another key and other names; it keeps its id, its messages and its state."""
    await connection.execute(
        """
        UPDATE mail_folders SET key = $3, path = $4, name = $5, role = $6, missing_since = NULL
        WHERE mailbox_id = $1 AND folder_id = $2
        """,
        mailbox_id,
        folder_id,
        folder.key,
        folder.path,
        folder.name,
        folder.role,
    )


async def go_on(
    connection: Connection,
    mailbox_id: int,
    folder_id: int,
    *,
    token: str | None,
    state: str | None,
    more: int,
    pass_number: int,
) -> None:
    """Note where the look at a folder goes on, and `more` known messages; a token of None ends it in this state."""
    await connection.execute(
        """
        UPDATE mail_folders
        SET token = $3, state = CASE WHEN $3::text IS NULL THEN $4 ELSE state END,
            looked_pass = CASE WHEN $3::text IS NULL THEN $5 ELSE looked_pass END,
            known = known + $6, failing_since = NULL, failures = 0
        WHERE mailbox_id = $1 AND folder_id = $2
        """,
        mailbox_id,
        folder_id,
        token,
        state,
        pass_number,
        more,
    )


async def count(connection: Connection, mailbox_id: int, folder_id: int, more: int) -> None:
    """Add to the number of known messages of a folder."""
    await connection.execute(
        "UPDATE mail_folders SET known = known + $3 WHERE mailbox_id = $1 AND folder_id = $2",
        mailbox_id,
        folder_id,
        more,
    )


async def skip(connection: Connection, mailbox_id: int, folder_ids: Sequence[int], *, pass_number: int) -> None:
    """Leave folders out of this pass."""
    await connection.execute(
        "UPDATE mail_folders SET looked_pass = $3 WHERE mailbox_id = $1 AND folder_id = ANY($2::bigint[])",
        mailbox_id,
        folder_ids,
        pass_number,
    )


async def fail(
    connection: Connection, mailbox_id: int, folder_id: int, *, pass_number: int, skips: bool, is_refused: bool
) -> None:
    """Note a failure of a folder, a refusal or an outage, and leave it out of this pass if it `skips`."""
    await connection.execute(
        """
        UPDATE mail_folders
        SET failing_since = coalesce(failing_since, now()), failures = CASE WHEN $5 THEN 0 ELSE failures + 1 END,
            looked_pass = CASE WHEN $4 THEN $3 ELSE looked_pass END
        WHERE mailbox_id = $1 AND folder_id = $2
        """,
        mailbox_id,
        folder_id,
        pass_number,
        skips,
        is_refused,
    )


async def doubt(connection: Connection, mailbox_id: int, folder_id: int, *, pass_number: int) -> None:
    """Note that losses of a folder need a proof until this pass ends."""
    await connection.execute(
        "UPDATE mail_folders SET doubtful_in = $3 WHERE mailbox_id = $1 AND folder_id = $2",
        mailbox_id,
        folder_id,
        pass_number,
    )


async def restart(connection: Connection, mailbox_id: int, folder_id: int, *, is_gone: bool) -> None:
    """Begin another generation of a folder's messages, or the end of a folder that is gone, which fails no more."""
    await connection.execute(
        """
        UPDATE mail_folders
        SET generation = generation + 1, known = 0, state = NULL, token = NULL, is_retiring = true,
            restarted_at = now(), is_gone = $3, failing_since = CASE WHEN $3 THEN NULL ELSE failing_since END
        WHERE mailbox_id = $1 AND folder_id = $2
        """,
        mailbox_id,
        folder_id,
        is_gone,
    )


async def end_retiring(connection: Connection, mailbox_id: int, folder_id: int, *, looked_pass: int | None) -> None:
    """Note that all messages of earlier generations are marked as gone."""
    await connection.execute(
        """
        UPDATE mail_folders SET is_retiring = false, looked_pass = coalesce($3, looked_pass)
        WHERE mailbox_id = $1 AND folder_id = $2
        """,
        mailbox_id,
        folder_id,
        looked_pass,
    )


async def remove_gone(connection: Connection, mailbox_id: int) -> None:
    """Delete the folders that are gone and of which no message is known."""
    await connection.execute(
        """
        DELETE FROM mail_folders f WHERE f.mailbox_id = $1 AND f.is_gone AND NOT EXISTS (
            SELECT FROM mail_locations l WHERE l.mailbox_id = $1 AND l.folder_id = f.folder_id)
        """,
        mailbox_id,
    )
