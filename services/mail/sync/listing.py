"""Listing the provider's ids into the queue, a page at a time; after a lost cursor also what is gone or relabelled."""

import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.mail.model import ListedId, Listing, SyncProgress
from services.mail.providers.base import MessageGoneError, PageTokenExpiredError, RejectedError
from services.mail.store import items, labels, messages, progress, syncs, verification
from services.mail.store.connection import Connection
from services.mail.sync.run import MailboxRun

_BY_LABEL = (Listing.RELABEL, Listing.VERIFY_LABEL)


class _ListingEndedError(Exception):
    """The sync was cancelled while a page was under way."""


async def begin(run: MailboxRun) -> None:
    """Starts the listing that the active sync asks for; none if it was cancelled meanwhile."""
    async with run.writing() as connection:
        sync = await syncs.active(connection, run.mailbox_id)
        if sync is None:
            return
        listing = Listing.ALL if sync.newest_count is None else Listing.NEWEST
        await progress.start_listing(connection, run.mailbox_id, listing, target=sync.newest_count)
        await syncs.restart_count(connection, run.mailbox_id)


async def list_page(run: MailboxRun, state: SyncProgress) -> None:
    """Lists one page and records, in one transaction, what it implies and where the next one begins."""
    with contextlib.suppress(_ListingEndedError):
        await _list_page(run, state)


async def _list_page(run: MailboxRun, state: SyncProgress) -> None:
    room = run.provider.page_size
    if state.listing_target is not None:
        room = min(room, state.listing_target - state.listed_count)
    try:
        page = await run.call(
            run.provider.costs.list_page,
            lambda token: run.provider.list_ids(
                token,
                page_token=state.listing_page_token,
                page_size=max(1, room),
                hidden=_includes_hidden(state),
                label_id=state.listing_label,
            ),
            live=False,
        )
    except PageTokenExpiredError:
        async with _recording(run, state) as connection:
            await progress.restart_listing(connection, run.mailbox_id)
            await syncs.restart_count(connection, run.mailbox_id)
        # It counts as a failed turn, so that a provider whose tokens never last is noticed.
        raise
    except (MessageGoneError, RejectedError):
        if state.listing not in _BY_LABEL:
            raise
        # The label was deleted meanwhile.
        async with _recording(run, state) as connection:
            await _next_label(connection, run.mailbox_id, state.listing, after=state.listing_label)
        return
    listed = page.listed[: max(0, room)]
    full = state.listing_target is not None and state.listed_count + len(listed) >= state.listing_target
    async with _recording(run, state) as connection:
        await _record(connection, run.mailbox_id, state, listed)
        if page.next_page_token is None or full:
            await _end(connection, run.mailbox_id, state)
        else:
            await progress.advance_listing(
                connection, run.mailbox_id, page_token=page.next_page_token, listed=len(listed)
            )


def _includes_hidden(state: SyncProgress) -> bool:
    if state.listing is Listing.VERIFY_IDS:
        return state.covered_all or state.listing_round > 1
    return state.listing is not Listing.NEWEST


@asynccontextmanager
async def _recording(run: MailboxRun, state: SyncProgress) -> AsyncIterator[Connection]:
    async with run.writing() as connection:
        if not await progress.still_lists(connection, run.mailbox_id, state):
            raise _ListingEndedError
        yield connection


async def _record(connection: Connection, mailbox_id: int, state: SyncProgress, listed: list[ListedId]) -> None:
    if state.listing in (Listing.NEWEST, Listing.ALL):
        await items.queue_listed(connection, mailbox_id, listed, offset=state.listed_count)
        await syncs.count(connection, mailbox_id, listed=len(listed))
    else:
        ids = [entry.external_id for entry in listed]
        await items.note_relisted(connection, mailbox_id, ids, round_=state.listing_round, offset=state.listed_count)


async def _end(connection: Connection, mailbox_id: int, state: SyncProgress) -> None:
    match state.listing:
        case Listing.NEWEST | Listing.ALL:
            await progress.end_listing(connection, mailbox_id)
            await syncs.set_listing_done(connection, mailbox_id, covered=state.listing_target)
        case Listing.RELIST:
            await _end_relist(connection, mailbox_id, state)
        case Listing.RELABEL:
            assert state.listing_label is not None  # noqa: S101 - for the type checker; begin_label sets it
            await messages.set_label_as_listed(connection, mailbox_id, state.listing_label)
            await _next_label(connection, mailbox_id, Listing.RELABEL, after=state.listing_label)
        case Listing.VERIFY_IDS:
            await _end_verifying_ids(connection, mailbox_id, state)
        case Listing.VERIFY_LABEL:
            assert state.listing_label is not None  # noqa: S101 - for the type checker; begin_label sets it
            drift = await verification.suspect_drifted(connection, mailbox_id, state.listing_label)
            await verification.count(connection, mailbox_id, drift=drift)
            await _next_label(connection, mailbox_id, Listing.VERIFY_LABEL, after=state.listing_label)
        case None:
            raise AssertionError("no listing is under way")


async def _end_relist(connection: Connection, mailbox_id: int, state: SyncProgress) -> None:
    """Queues what is missing here, then deletes what two rounds agree is gone there.

    One listing is not enough to delete: the provider's index is only eventually consistent.
    """
    if state.listing_round == 1:
        await items.queue_relisted(
            connection, mailbox_id, covered_all=state.covered_all, covered_count=state.covered_count
        )
    missing = await items.missing_from_listing(connection, mailbox_id)
    if missing and state.listing_round == 1:
        await progress.begin_second_round(connection, mailbox_id)
        return
    await items.remove(connection, mailbox_id, missing)
    await messages.delete(connection, mailbox_id, missing)
    await _next_label(connection, mailbox_id, Listing.RELABEL, after=None)


async def _end_verifying_ids(connection: Connection, mailbox_id: int, state: SyncProgress) -> None:
    """Queues what is missing here, and what is not listed there.

    The newest N are counted without Spam and Trash, so the first round of a part of a mailbox leaves them out; only
    what neither round has shown is suspected to be gone.
    """
    if state.listing_round == 1:
        missing = await items.queue_relisted(
            connection, mailbox_id, covered_all=state.covered_all, covered_count=state.covered_count
        )
        await verification.count(connection, mailbox_id, missing=missing)
        if not state.covered_all:
            await progress.begin_second_round(connection, mailbox_id)
            return
    unlisted = await items.missing_from_listing(connection, mailbox_id)
    extra = await verification.suspect(connection, mailbox_id, unlisted)
    await verification.count(connection, mailbox_id, extra=extra)
    await _next_label(connection, mailbox_id, Listing.VERIFY_LABEL, after=None)


async def _next_label(connection: Connection, mailbox_id: int, listing: Listing, *, after: str | None) -> None:
    label_ids = sorted(label.label_id for label in await labels.of_mailbox(connection, mailbox_id))
    following = next((label_id for label_id in label_ids if after is None or label_id > after), None)
    if following is not None:
        await progress.begin_label(connection, mailbox_id, following, listing=listing)
        return
    await progress.end_listing(connection, mailbox_id)
    if listing is Listing.VERIFY_LABEL:
        await verification.set_done(connection, mailbox_id)
