"""Reading the stored mail of a user."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from uuid import UUID

from services.kit.errors import AppError, Kind
from services.mail import page_tokens
from services.mail.ids import LocalId
from services.mail.model import Label, Mailbox, MessageDetail, MessageFilter, MessageSummary
from services.mail.search import filters
from services.mail.search.highlight import highlight, wanted_terms
from services.mail.search.syntax import Node
from services.mail.store import labels as label_store
from services.mail.store import messages as store
from services.mail.store.connection import Connection, Pool
from services.mail.store.lists import Position, newest_first, texts

DEFAULT_PAGE_SIZE = 50
LARGEST_PAGE_SIZE = 200
HIGHLIGHTED_CHARACTERS = 50_000
"""Of each body, so much is searched for words to highlight."""


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page of a list; an empty `next_page_token` means that it is the last one."""

    messages: list[MessageSummary]
    next_page_token: str


class Messages:
    """Lists and shows messages; every query names the user."""

    def __init__(self, pool: Pool, *, now: Callable[[], datetime] = _now) -> None:
        self._pool = pool
        self._now = now

    async def page(
        self, mailbox: Mailbox, wanted: MessageFilter, *, page_size: int, page_token: str, highlighted: bool = False
    ) -> Page:
        """A page of the messages that fit, newest first. An unknown label matches nothing.

        Raises AppError invalid_page_size, invalid_page_token, invalid_query.
        """
        size = page_size or DEFAULT_PAGE_SIZE
        if not 1 <= size <= LARGEST_PAGE_SIZE:
            raise AppError(Kind.INVALID, "invalid_page_size", f"The page size is 1 to {LARGEST_PAGE_SIZE}.")
        scope = {"mailbox": mailbox.mailbox_id, **wanted.fingerprint()}
        after = page_tokens.decode(page_token, scope=scope)
        node = filters.node_of(wanted, me=mailbox.email, now=self._now())
        async with self._pool.acquire() as connection:
            names = await label_store.names(connection, mailbox.mailbox_id)
            found = await newest_first(
                connection,
                mailbox.user_id,
                mailbox.mailbox_id,
                node,
                after=after,
                limit=size + 1,
                label_names=names,
            )
            shown = found[:size]
            if highlighted:
                shown = await _highlighted(connection, shown, node)
        token = ""
        if len(found) > size:
            last = Position(received_at=shown[-1].received_at, message_id=shown[-1].message_id)
            token = page_tokens.encode(last, scope=scope)
        return Page(messages=shown, next_page_token=token)

    async def get(self, user_id: UUID, message_id: LocalId | None) -> MessageDetail:
        """One message. Raises AppError message_not_found."""
        detail = None
        if message_id is not None:
            async with self._pool.acquire() as connection:
                names = await label_store.names(connection, message_id.mailbox_id)
                detail = await store.detail(
                    connection, user_id, message_id.mailbox_id, message_id.local_id, label_names=names
                )
        if detail is None:
            raise AppError(Kind.NOT_FOUND, "message_not_found", "There is no such message.")
        return detail

    async def labels(self, mailbox: Mailbox) -> list[Label]:
        """The labels of a mailbox by name."""
        async with self._pool.acquire() as connection:
            return await label_store.of_mailbox(connection, mailbox.mailbox_id)


async def _highlighted(connection: Connection, messages: list[MessageSummary], node: Node) -> list[MessageSummary]:
    wanted = wanted_terms(node)
    if not wanted or not messages:
        return messages
    ids = [message.message_id for message in messages]
    bodies = await texts(connection, messages[0].mailbox_id, ids, longest=HIGHLIGHTED_CHARACTERS)

    def places(message: MessageSummary) -> str | None:
        return highlight(bodies.get(message.message_id, ""), wanted) or highlight(message.subject or "", wanted)

    return [replace(message, highlight=places(message)) for message in messages]
