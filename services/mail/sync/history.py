"""Catching up: everything that happened to a mailbox since the cursor, stored or queued before the cursor moves."""

import structlog

from services.mail.model import Changes, Listing, SyncProgress
from services.mail.providers.base import ChangePage, CursorLostError, PageTokenExpiredError
from services.mail.store import items, labels, messages, progress
from services.mail.store.connection import Connection
from services.mail.store.schedule import LeaseLostError
from services.mail.sync.run import MailboxRun

log = structlog.get_logger()


async def catch_up(run: MailboxRun, state: SyncProgress) -> None:
    """Reads history up to the present; on return the newest hint seen before it has been served.

    The cursor moves page by page, so that an interruption repeats one page at most.
    """
    hint = run.newest_hint
    if state.cursor is None:
        await _begin(run, state, hint=hint)
        return
    try:
        await _read_pages(run, state, hint=hint)
    except CursorLostError:
        log.warning("history cursor lost, comparing everything", mailbox_id=run.mailbox_id)
        await _begin(run, state, hint=hint)


async def _begin(run: MailboxRun, state: SyncProgress, *, hint: int) -> None:
    """Takes the present as the cursor BEFORE anything is listed; what was stored earlier has to be compared then."""
    cursor = await run.call(run.provider.costs.profile, run.provider.current_cursor)
    listed_before = state.caught_up_hint > 0
    async with run.writing() as connection:
        await _move(connection, run, previous=state.cursor, cursor=cursor, caught_up_hint=hint)
        if listed_before:
            await progress.start_listing(connection, run.mailbox_id, Listing.RELIST, target=None)
    await refresh_labels(run)


async def _read_pages(run: MailboxRun, state: SyncProgress, *, hint: int) -> None:
    assert state.cursor is not None  # noqa: S101 - for the type checker; the caller has looked
    start = position = state.cursor
    page_token: str | None = None
    while True:
        try:
            page = await _read_page(run, start, page_token)
        except PageTokenExpiredError:
            start, page_token = position, None
            continue
        async with run.writing() as connection:
            unknown = await _apply(connection, run.mailbox_id, page.changes, covered_all=state.covered_all)
            last = page.next_page_token is None
            reached = page.latest if last else max(position, page.last_record or position)
            await _move(connection, run, previous=position, cursor=reached, caught_up_hint=hint if last else None)
        position = reached
        if unknown:
            await refresh_labels(run)
        if last:
            return
        page_token = page.next_page_token


async def _read_page(run: MailboxRun, cursor: int, page_token: str | None) -> ChangePage:
    return await run.call(
        run.provider.costs.history_page,
        lambda token: run.provider.list_changes(token, cursor=cursor, page_token=page_token),
    )


async def _move(
    connection: Connection, run: MailboxRun, *, previous: int | None, cursor: int | None, caught_up_hint: int | None
) -> None:
    moved = await progress.move_cursor(
        connection, run.mailbox_id, previous=previous, cursor=cursor, caught_up_hint=caught_up_hint
    )
    if not moved:
        raise LeaseLostError


async def _apply(connection: Connection, mailbox_id: int, changes: Changes, *, covered_all: bool) -> bool:
    """Stores or queues what a page implies; true if it names labels that are not known yet."""
    if changes.deleted:
        gone = list(changes.deleted)
        await items.remove(connection, mailbox_id, gone)
        await messages.delete(connection, mailbox_id, gone)
    wanted = dict(changes.added)
    if changes.labels:
        wanted |= await _apply_labels(connection, mailbox_id, changes, covered_all=covered_all)
    if wanted:
        stored = await messages.versions(connection, mailbox_id, list(wanted))
        missing = {id_: version for id_, version in wanted.items() if stored.get(id_, -1) < version}
        await items.queue_changed(connection, mailbox_id, missing, threads=changes.threads)
    return await _names_unknown_label(connection, mailbox_id, changes)


async def _apply_labels(
    connection: Connection, mailbox_id: int, changes: Changes, *, covered_all: bool
) -> dict[str, int]:
    """Changes the labels of stored messages; returns those not stored that are wanted all the same."""
    stored = await messages.change_labels(connection, mailbox_id, changes.labels)
    others = {id_: listed[-1].version for id_, listed in changes.labels.items() if id_ not in stored}
    if covered_all:
        return others
    # Outside of the coverage nothing is wanted, but what is queued or new must arrive with these labels.
    queued = await items.queued_ids(connection, mailbox_id, list(others)) | changes.added.keys()
    return {id_: version for id_, version in others.items() if id_ in queued}


async def _names_unknown_label(connection: Connection, mailbox_id: int, changes: Changes) -> bool:
    named = {label for listed in changes.labels.values() for change in listed for label in change.added}
    return bool(named) and not named <= (await labels.names(connection, mailbox_id)).keys()


async def refresh_labels(run: MailboxRun) -> None:
    """Copies the provider's labels; renames do not show in history."""
    current = await run.call(run.provider.costs.labels, run.provider.list_labels)
    async with run.writing() as connection:
        await labels.replace(connection, run.mailbox_id, current)
