"""The progress of a mailbox's copy: cursor, coverage, and the current listing."""

import asyncpg

from services.mail.model import CursorLoss, Listing, PageTrail, Sync, SyncProgress
from services.mail.store.connection import Connection
from services.mail.store.sync import syncs

_FIRST_PAGE = """
    listing_page_token = NULL, listing_pages = 0, listing_trail = '{}', listed_count = 0, listing_ended_at = NULL
"""
_NEW_PASS = f"{_FIRST_PAGE}, listing_found = 0, listing_disturbed = false"
_FIRST_PASS = f"{_NEW_PASS}, listing_pass = 1, listing_resumes_at = NULL"
_PROGRESS = """
    s.*, extract(epoch FROM now() - s.caught_up_at)::float8 AS caught_up_ago,
    extract(epoch FROM s.listable_at - now())::float8 AS listable_in,
    extract(epoch FROM s.listing_resumes_at - now())::float8 AS listing_resumes_in,
    extract(epoch FROM s.labels_due_at - now())::float8 AS labels_due_in,
    coalesce(s.caught_up_at > s.listing_ended_at, false) AS caught_up_since,
    EXISTS (SELECT FROM thread_merges g WHERE g.mailbox_id = s.mailbox_id AND NOT g.is_moved) AS has_merged_threads
"""
_ACTIVE_SYNC = ", ".join(f"a.{column} AS active_{column}" for column in syncs.COLUMNS)
_EXISTS = "a scheduled mailbox has a sync state"


async def ensure(connection: Connection, mailbox_id: int) -> None:
    """Create the row of a mailbox that is synced for the first time."""
    await connection.execute("INSERT INTO sync_states (mailbox_id) VALUES ($1) ON CONFLICT DO NOTHING", mailbox_id)


async def load(connection: Connection, mailbox_id: int) -> SyncProgress:
    """Return the state of a mailbox with at least one sync."""
    row = await connection.fetchrow(f"SELECT {_PROGRESS} FROM sync_states s WHERE mailbox_id = $1", mailbox_id)
    assert row is not None, _EXISTS  # noqa: S101 - states what the schema guarantees
    return _progress_of(row)


async def load_with_sync(connection: Connection, mailbox_id: int) -> tuple[SyncProgress, Sync | None]:
    """Return the state of a mailbox with at least one sync, and the active sync, in one round trip."""
    row = await connection.fetchrow(
        f"""
        SELECT {_PROGRESS}, {_ACTIVE_SYNC} FROM sync_states s
        LEFT JOIN syncs a ON a.mailbox_id = s.mailbox_id AND a.ended_at IS NULL WHERE s.mailbox_id = $1
        """,
        mailbox_id,
    )
    assert row is not None, _EXISTS  # noqa: S101 - states what the schema guarantees
    sync = {column: row[f"active_{column}"] for column in syncs.COLUMNS}
    return _progress_of(row), None if sync["sync_id"] is None else syncs.sync_of(sync)


def _progress_of(row: asyncpg.Record) -> SyncProgress:
    return SyncProgress(
        cursor=None if row["cursor"] is None else int(row["cursor"]),
        cursor_loss=None if row["cursor_loss"] is None else CursorLoss(row["cursor_loss"]),
        caught_up_hint=row["caught_up_hint"],
        caught_up_ago=row["caught_up_ago"],
        covered_count=row["covered_count"],
        covered_all=row["covered_all"],
        listing=None if row["listing"] is None else Listing(row["listing"]),
        listing_target=row["listing_target"],
        listing_round=row["listing_round"],
        listing_label=row["listing_label"],
        listing_page_token=row["listing_page_token"],
        listing_trail=PageTrail(pages=row["listing_pages"], digests=tuple(row["listing_trail"])),
        listed_count=row["listed_count"],
        listing_pass=row["listing_pass"],
        listing_ended=row["listing"] is not None and row["listing_ended_at"] is not None,
        listing_found=row["listing_found"],
        listing_disturbed=row["listing_disturbed"],
        caught_up_since=row["caught_up_since"],
        listable_in=row["listable_in"],
        listing_resumes_in=row["listing_resumes_in"],
        labels_due_in=row["labels_due_in"],
        has_merged_threads=row["has_merged_threads"],
    )


async def move_cursor(
    connection: Connection,
    mailbox_id: int,
    *,
    previous: int | None,
    cursor: int | None,
    caught_up_hint: int | None = None,
) -> bool:
    """Move the cursor by compare-and-set; return whether it was `previous`.

    With the last page of history pass `caught_up_hint`: history is then read up to this hint.
    """
    done = await connection.execute(
        """
        UPDATE sync_states
        SET cursor = $3, cursor_loss = NULL, caught_up_hint = coalesce($4, caught_up_hint),
            caught_up_at = CASE WHEN $4::bigint IS NULL THEN caught_up_at ELSE now() END
        WHERE mailbox_id = $1 AND cursor IS NOT DISTINCT FROM $2
        """,
        mailbox_id,
        previous,
        cursor,
        caught_up_hint,
    )
    return done == "UPDATE 1"


async def set_cursor_loss(connection: Connection, mailbox_id: int, loss: CursorLoss | None) -> None:
    """Record why history cannot be read from the cursor; None if it can."""
    await connection.execute(
        "UPDATE sync_states SET cursor_loss = $2 WHERE mailbox_id = $1", mailbox_id, loss and loss.value
    )


async def expect_lag(connection: Connection, mailbox_id: int, *, seconds: float) -> None:
    """Record that listings may lack changes before the cursor for this many seconds."""
    await connection.execute(
        "UPDATE sync_states SET listable_at = now() + make_interval(secs => $2) WHERE mailbox_id = $1",
        mailbox_id,
        seconds,
    )


async def start_listing(connection: Connection, mailbox_id: int, listing: Listing, *, target: int | None) -> None:
    """Start a listing from the top. Messages queued by an earlier listing stay queued."""
    await connection.execute("DELETE FROM listed_ids WHERE mailbox_id = $1", mailbox_id)
    await connection.execute(
        f"""
        UPDATE sync_states
        SET listing = $2, listing_target = $3, listing_round = 1, listing_label = NULL, {_FIRST_PASS},
            listing_floor = cursor, listable_at = CASE WHEN listable_at > now() THEN listable_at END
        WHERE mailbox_id = $1
        """,
        mailbox_id,
        listing.value,
        target,
    )


async def still_lists(connection: Connection, mailbox_id: int, state: SyncProgress) -> bool:
    """Return whether the current listing is that of `state`, at the same page. A cancelled sync may have ended it."""
    same: bool = await connection.fetchval(
        """
        SELECT (listing, listing_label, listing_round, listing_pass, listing_page_token)
            IS NOT DISTINCT FROM ($2::text, $3::text, $4::smallint, $5::bigint, $6::text)
        FROM sync_states WHERE mailbox_id = $1
        """,
        mailbox_id,
        state.listing and state.listing.value,
        state.listing_label,
        state.listing_round,
        state.listing_pass,
        state.listing_page_token,
    )
    return same


async def restart_pass(connection: Connection, mailbox_id: int) -> None:
    """Start the pass again from the top, after the provider dropped the page token."""
    await connection.execute(f"UPDATE sync_states SET {_FIRST_PAGE} WHERE mailbox_id = $1", mailbox_id)


async def begin_pass(connection: Connection, mailbox_id: int, *, after: float = 0.0) -> None:
    """Start another pass in `after` seconds, to find messages that the last one missed."""
    await connection.execute(
        f"""
        UPDATE sync_states
        SET {_NEW_PASS}, listing_pass = listing_pass + 1, listing_resumes_at = now() + make_interval(secs => $2)
        WHERE mailbox_id = $1
        """,
        mailbox_id,
        after,
    )


async def record_page(
    connection: Connection, mailbox_id: int, *, listed: int, found: int, next_page_token: str | None, trail: PageTrail
) -> None:
    """Record a page of `listed` ids with `found` unknown ones, the token of the next page, and the trail up to it.

    A token of None ends the pass.
    """
    await connection.execute(
        """
        UPDATE sync_states
        SET listed_count = listed_count + $2, listing_found = listing_found + $3,
            listing_page_token = coalesce($4, listing_page_token), listing_pages = $5, listing_trail = $6,
            listing_ended_at = CASE WHEN $4::text IS NULL THEN now() END
        WHERE mailbox_id = $1
        """,
        mailbox_id,
        listed,
        found,
        next_page_token,
        trail.pages,
        list(trail.digests),
    )


async def disturb_listing(connection: Connection, mailbox_id: int) -> None:
    """Record that messages were deleted during the listing."""
    await connection.execute(
        """
        UPDATE sync_states SET listing_disturbed = true
        WHERE mailbox_id = $1 AND listing IS NOT NULL AND NOT listing_disturbed
        """,
        mailbox_id,
    )


async def begin_second_round(connection: Connection, mailbox_id: int) -> None:
    """Continue with a listing of Spam and Trash."""
    await connection.execute(
        f"UPDATE sync_states SET listing_round = 2, {_FIRST_PASS} WHERE mailbox_id = $1", mailbox_id
    )


async def begin_label(connection: Connection, mailbox_id: int, label_id: str, *, listing: Listing) -> None:
    """Continue with a listing of the messages with this label."""
    await connection.execute("DELETE FROM listed_ids WHERE mailbox_id = $1", mailbox_id)
    await connection.execute(
        f"""
        UPDATE sync_states SET listing = $3, listing_label = $2, listing_round = 1, {_FIRST_PASS} WHERE mailbox_id = $1
        """,
        mailbox_id,
        label_id,
        listing.value,
    )


async def end_listing(connection: Connection, mailbox_id: int, *, covers: bool) -> None:
    """End the current listing; add its coverage if `covers` is set."""
    await connection.execute("DELETE FROM listed_ids WHERE mailbox_id = $1", mailbox_id)
    await connection.execute(
        """
        UPDATE sync_states
        SET covered_all = covered_all OR $2 AND coalesce(listing = 'all', false),
            covered_count = CASE WHEN $2 AND listing = 'newest' THEN greatest(covered_count, listing_target)
                            ELSE covered_count END,
            listing = NULL, listing_target = NULL, listing_label = NULL, listing_page_token = NULL
        WHERE mailbox_id = $1
        """,
        mailbox_id,
        covers,
    )


async def cancel_listing(connection: Connection, mailbox_id: int) -> None:
    """End the listing of a sync, if there is one, and reset the coverage to what was fetched.

    Also postpones the next verification, so that one that has ended does not start again at once.
    """
    await connection.execute(
        """
        UPDATE sync_states
        SET covered_count = fetched_count, covered_all = fetched_all,
            listing = CASE WHEN listing IN ('relist', 'relabel') THEN listing END,
            verify_at = NULL
        WHERE mailbox_id = $1
        """,
        mailbox_id,
    )


async def mark_synced(connection: Connection, mailbox_id: int) -> None:
    """Record that the copy is now complete."""
    await connection.execute(
        """
        UPDATE sync_states SET last_synced_at = now(), fetched_count = covered_count, fetched_all = covered_all
        WHERE mailbox_id = $1
        """,
        mailbox_id,
    )
