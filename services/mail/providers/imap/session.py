"""Commands with a mailbox's connection; errors of the protocol become the engine's."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from services.mail.providers.errors import RejectedError
from services.mail.providers.imap.client.connection import Connection
from services.mail.providers.imap.client.errors import ImapError
from services.mail.providers.imap.client.folders import Examined, examine
from services.mail.providers.imap.client.login import log_out
from services.mail.providers.imap.refusals import provider_error

# Opens a connection and signs in. Raises ImapError, ProviderError.
type Open = Callable[[], Awaitable[Connection]]


class ImapSession:
    """Methods raise ProviderError. One caller at a time.

    `open_` opens the connection when it is needed, and again after its end.
    """

    def __init__(self, open_: Open) -> None:
        self._open = open_
        self._connection: Connection | None = None

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Yield the connection."""
        try:
            if self._connection is None or not self._connection.is_open:
                self._connection = await self._open()
            yield self._connection
        except ImapError as error:
            raise provider_error(error) from error

    async def ensure_open(self) -> None:
        """Open the connection unless it is open: what the server refuses shows here."""
        async with self.connection():
            pass

    @asynccontextmanager
    async def selected(self, name: bytes, *, validity: int | None) -> AsyncIterator[Connection]:
        """Yield the connection with a folder selected. What it is numbered by cannot change while it is.

        Raises RejectedError if that is another UIDVALIDITY; None matches any.
        """
        async with self.connection() as connection:
            if connection.selected is None or connection.selected.name != name:
                await examine(connection, name)
            check_numbering(connection, validity)
            yield connection

    @asynccontextmanager
    async def examined(self, name: bytes, *, since: tuple[int, int] | None = None) -> AsyncIterator[Examined]:
        """Select a folder, anew if it is selected; yield what the server says of it."""
        async with self.connection() as connection:
            yield await examine(connection, name, since=since)

    def note_look(self) -> None:
        """Note that a folder was looked at over the connection."""
        if self._connection is not None:
            self._connection.has_looked = True

    @asynccontextmanager
    async def without_looks(self) -> AsyncIterator[Connection]:
        """Yield a connection over which no folder was looked at: its answers do not depend on what a look has asked.

        It is a new one in place of one that has looked: one beside that would be more than some servers allow.
        """
        async with self.connection() as connection:
            if not connection.has_looked:
                yield connection
                return
        await self.close()
        async with self.connection() as connection:
            yield connection

    async def close(self) -> None:
        """Sign out."""
        if self._connection is not None:
            await log_out(self._connection)


def check_numbering(connection: Connection, validity: int | None) -> None:
    """Raise RejectedError if the selected folder has another UIDVALIDITY; None matches any."""
    if validity is not None and connection.selected is not None and (connection.selected.validity or 0) != validity:
        raise RejectedError("the folder is numbered anew")
