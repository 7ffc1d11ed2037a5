"""Lists of syncs."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from services.mail.model import OpenMailbox, Sync, SyncReport
from services.mail.read_model import Position
from services.mail.reading.messages import checked_size
from services.mail.reading.page_tokens import PageTokens
from services.mail.reading.user_connections import UserConnections
from services.mail.store.connection import Connection
from services.mail.store.control import schedule
from services.mail.store.sync import syncs as store


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncPage:
    """A page of syncs, without their dead letters. The last page has an empty `next_page_token`."""

    reports: list[SyncReport]
    next_page_token: str


class SyncList:
    """The syncs of mailboxes, ended ones included."""

    def __init__(self, connections: UserConnections, *, tokens: PageTokens) -> None:
        self._connections = connections
        self._tokens = tokens

    async def page(self, mailboxes: Sequence[OpenMailbox], *, page_size: int, page_token: str) -> SyncPage:
        """Return a page of the syncs of a user's mailboxes, newest first.

        Raises AppError invalid_page_size, invalid_page_token.
        """
        size = checked_size(page_size)
        scope = {"list": "syncs", "mailboxes": sorted(mailbox.mailbox_id for mailbox in mailboxes)}
        after = self._tokens.decode(page_token, scope=scope)
        before = None if after is None else after.message_id
        if not mailboxes:
            return SyncPage(reports=[], next_page_token="")
        async with self._connections.of(mailboxes[0].user_id) as connection:
            found = await _newest(connection, mailboxes, before=before, limit=size + 1)
            reports = await _reports(connection, mailboxes, found[:size])
        token = ""
        if len(found) > size:
            last = found[size - 1]
            token = self._tokens.encode(Position(received_at=last.created_at, message_id=last.sync_id), scope=scope)
        return SyncPage(reports=reports, next_page_token=token)


async def _newest(
    connection: Connection, mailboxes: Sequence[OpenMailbox], *, before: int | None, limit: int
) -> list[Sync]:
    """Merge the newest syncs of each mailbox. Their ids grow with time."""
    lists = [await store.newest(connection, mailbox.mailbox_id, before=before, limit=limit) for mailbox in mailboxes]
    return list(heapq.merge(*lists, key=lambda sync: sync.sync_id, reverse=True))[:limit]


async def _reports(connection: Connection, mailboxes: Sequence[OpenMailbox], syncs: Sequence[Sync]) -> list[SyncReport]:
    by_id = {mailbox.mailbox_id: mailbox for mailbox in mailboxes}
    unfetched = {
        mailbox_id: await store.unfetched(connection, mailbox_id) for mailbox_id in {sync.mailbox_id for sync in syncs}
    }
    reports = []
    for sync in syncs:
        pending, dead = unfetched[sync.mailbox_id]
        is_active = sync.ended_at is None
        reports.append(
            SyncReport(
                sync=sync,
                mailbox=by_id[sync.mailbox_id],
                pending_count=pending if is_active else 0,
                dead_letter_count=dead,
                dead_letters=[],
                wait=await schedule.wait_of(connection, sync.mailbox_id) if is_active else None,
            )
        )
    return reports
