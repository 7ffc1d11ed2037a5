"""Reading the stored mail of a user."""

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from msgspec.structs import replace

from services.kit.errors import AppError, Kind
from services.kit.fair_share import FairShare
from services.mail.ids import PublicId
from services.mail.mailboxes import mailbox_not_found
from services.mail.model import Mailbox, OpenMailbox
from services.mail.read_model import CountedLabel, MessageDetail, MessageFilter, MessageSummary, Position
from services.mail.reading.page_tokens import PageTokens
from services.mail.reading.user_connections import UserConnections
from services.mail.search import filters
from services.mail.search.highlight import highlight, wanted_terms
from services.mail.search.syntax import Node
from services.mail.store import labels as label_store
from services.mail.store.connection import Connection, Pool
from services.mail.store.control import mailboxes as mailbox_store
from services.mail.store.reading import message_rows as store
from services.mail.store.reading.message_list import newest_first, texts

DEFAULT_PAGE_SIZE = 50
LARGEST_PAGE_SIZE = 200
EXPORT_BYTES = 1 << 20
"""Bytes of messages, as they were sent, that an export reads at a time."""
HIGHLIGHTED_CHARACTERS = 50_000
"""Characters of each body that are searched for words to highlight."""
# Exports at a time, and those of one user: an unread one holds up to 20 MB.
_MOST_EXPORTS = 12
_EXPORTS_PER_USER = 2


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page of messages. The last page has an empty `next_page_token`."""

    messages: list[MessageSummary]
    next_page_token: str


class Messages:
    """Stored messages of users. Every query names the user."""

    def __init__(
        self, pool: Pool, connections: UserConnections, *, tokens: PageTokens, now: Callable[[], datetime] = _now
    ) -> None:
        self._pool = pool
        self._connections = connections
        self._tokens = tokens
        self._exports = FairShare(_MOST_EXPORTS, per_user=_EXPORTS_PER_USER, waiting=0, work="exports are running")
        self._now = now

    async def page(
        self, mailbox: OpenMailbox, wanted: MessageFilter, *, page_size: int, page_token: str, highlighted: bool = False
    ) -> Page:
        """Return a page of the matching messages, newest first. An unknown label matches nothing.

        Raises AppError invalid_page_size, invalid_page_token, invalid_query.
        """
        size = checked_size(page_size)
        scope = {"mailbox": mailbox.mailbox_id, **wanted.fingerprint()}
        after = self._tokens.decode(page_token, scope=scope)
        node = filters.node_of(wanted, me=mailbox.own_addresses, now=self._now())
        async with self._connections.of(mailbox.user_id) as connection:
            found = await newest_first(
                connection,
                mailbox.user_id,
                mailbox.mailbox_id,
                node,
                after=after,
                limit=size + 1,
                label_names=mailbox.label_names,
                label_roles=mailbox.label_roles,
            )
            shown = found[:size]
            if highlighted:
                shown = await _highlighted(connection, shown, node)
        token = ""
        if len(found) > size:
            last = Position(received_at=shown[-1].received_at, message_id=shown[-1].message_id)
            token = self._tokens.encode(last, scope=scope)
        return Page(messages=shown, next_page_token=token)

    async def get(self, user_id: UUID, message_id: PublicId | None) -> MessageDetail:
        """Return a message. Raises AppError message_not_found."""
        found: list[MessageDetail] = []
        if message_id is not None:
            async with self._pool.acquire() as connection:
                names = await label_store.names(connection, message_id.mailbox_id)
                found = await store.details(
                    connection, user_id, message_id.mailbox_id, [message_id.local_id], label_names=names
                )
        if not found:
            raise AppError(Kind.NOT_FOUND, "message_not_found", "There is no such message.")
        return found[0]

    async def export(self, mailbox: OpenMailbox, wanted: MessageFilter) -> AsyncGenerator[MessageDetail]:
        """Yield all matching messages in full, newest first.

        Holds at most a megabyte of messages, or a single larger one, and neither a connection nor a snapshot while the
        consumer is busy. Raises AppError invalid_query; too_many_requests if too many exports run; mailbox_not_found if
        the mailbox is disconnected before the end.
        """
        async with self._exports.of(str(mailbox.user_id)), aclosing(self._export(mailbox, wanted)) as details:
            async for detail in details:
                yield detail

    async def _export(self, mailbox: OpenMailbox, wanted: MessageFilter) -> AsyncGenerator[MessageDetail]:
        node = filters.node_of(wanted, me=mailbox.own_addresses, now=self._now())
        names = mailbox.label_names
        after = None
        while True:
            async with self._connections.of(mailbox.user_id) as connection:
                page = await newest_first(
                    connection,
                    mailbox.user_id,
                    mailbox.mailbox_id,
                    node,
                    after=after,
                    limit=LARGEST_PAGE_SIZE,
                    label_names=names,
                    label_roles=mailbox.label_roles,
                )
            for portion in _portions(page):
                async with self._pool.acquire() as connection:
                    details = await store.details(
                        connection, mailbox.user_id, mailbox.mailbox_id, portion, label_names=names
                    )
                for detail in details:
                    yield detail
            if len(page) < LARGEST_PAGE_SIZE:
                await self._confirm(mailbox)
                return
            after = Position(received_at=page[-1].received_at, message_id=page[-1].message_id)

    async def _confirm(self, mailbox: Mailbox) -> None:
        """Raise AppError mailbox_not_found if the mailbox is disconnected: its list ends like a complete one."""
        async with self._pool.acquire() as connection:
            known = await mailbox_store.of_user(connection, mailbox.user_id)
        if mailbox.mailbox_id not in {one.mailbox_id for one in known}:
            raise mailbox_not_found()

    async def labels(self, mailbox: Mailbox) -> list[CountedLabel]:
        """Return the labels of a mailbox, ordered by name, with their counts."""
        async with self._pool.acquire() as connection:
            return await label_store.counted(connection, mailbox.mailbox_id)


def checked_size(page_size: int) -> int:
    """Return the number of entries of a page; 0 means the default. Raises AppError invalid_page_size."""
    size = page_size or DEFAULT_PAGE_SIZE
    if not 1 <= size <= LARGEST_PAGE_SIZE:
        raise AppError(Kind.INVALID, "invalid_page_size", f"The page size is 1 to {LARGEST_PAGE_SIZE}.")
    return size


def _portions(page: list[MessageSummary]) -> Iterator[list[int]]:
    portion: list[int] = []
    size = 0
    for message in page:
        if portion and size + message.size > EXPORT_BYTES:
            yield portion
            portion, size = [], 0
        portion.append(message.message_id)
        size += message.size
    if portion:
        yield portion


async def _highlighted(connection: Connection, messages: list[MessageSummary], node: Node) -> list[MessageSummary]:
    wanted = wanted_terms(node)
    if not wanted or not messages:
        return messages
    ids = [message.message_id for message in messages]
    bodies = await texts(connection, messages[0].mailbox_id, ids, longest=HIGHLIGHTED_CHARACTERS)

    def places(message: MessageSummary) -> str | None:
        shown = (highlight(text, wanted) for text in _texts(message, bodies.get(message.message_id, "")))
        return next(filter(None, shown), None)

    return [replace(message, highlight=places(message)) for message in messages]


def _texts(message: MessageSummary, body: str) -> Iterator[str]:
    """Yield the texts to search for highlights, the preferred one first."""
    yield body
    yield message.subject or ""
    for person in (*filter(None, [message.sender]), *message.to, *message.cc):
        yield f"{person.name} {person.email}"
