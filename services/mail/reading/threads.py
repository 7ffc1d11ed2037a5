"""Lists of threads, and single threads."""

from collections.abc import Iterable
from dataclasses import dataclass

from services.kit.errors import AppError, Kind
from services.mail.model import OpenMailbox
from services.mail.read_model import MessageSummary, Position, Thread
from services.mail.reading.messages import checked_size
from services.mail.reading.page_tokens import PageTokens
from services.mail.reading.user_connections import UserConnections
from services.mail.store.reading import threads as store


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadPage:
    """A page of threads. The last page has an empty `next_page_token`."""

    threads: list[Thread]
    next_page_token: str


class Threads:
    """The threads of stored messages."""

    def __init__(self, connections: UserConnections, *, tokens: PageTokens) -> None:
        self._connections = connections
        self._tokens = tokens

    async def page(self, mailbox: OpenMailbox, *, page_size: int, page_token: str) -> ThreadPage:
        """Return a page of threads, ordered by their newest message, newest first.

        A thread that gets a message between two pages moves to the top, so later pages do not show it. Raises AppError
        invalid_page_size, invalid_page_token.
        """
        size = checked_size(page_size)
        scope = {"mailbox": mailbox.mailbox_id, "list": "threads"}
        after = self._tokens.decode(page_token, scope=scope)
        async with self._connections.of(mailbox.user_id) as connection:
            found = await store.newest_first(
                connection,
                mailbox.user_id,
                mailbox.mailbox_id,
                after=after,
                limit=size + 1,
                label_names=mailbox.label_names,
            )
        shown = found[:size]
        token = ""
        if len(found) > size:
            last = Position(received_at=shown[-1].last_message_at, message_id=shown[-1].last_message_id)
            token = self._tokens.encode(last, scope=scope)
        return ThreadPage(threads=shown, next_page_token=token)

    async def find(self, mailboxes: Iterable[OpenMailbox], thread_id: str) -> tuple[Thread, list[MessageSummary]]:
        """Return the thread of the first of these mailboxes that has it, and its messages, oldest first.

        Raises AppError thread_not_found.
        """
        for mailbox in mailboxes:
            if (found := await self._get(mailbox, thread_id)) is not None:
                return found
        raise AppError(Kind.NOT_FOUND, "thread_not_found", "There is no such thread.")

    async def _get(self, mailbox: OpenMailbox, thread_id: str) -> tuple[Thread, list[MessageSummary]] | None:
        # Postgres refuses NUL in parameters.
        if "\0" in thread_id:
            return None
        async with self._connections.of(mailbox.user_id) as connection:
            return await store.one(
                connection, mailbox.user_id, mailbox.mailbox_id, thread_id, label_names=mailbox.label_names
            )
