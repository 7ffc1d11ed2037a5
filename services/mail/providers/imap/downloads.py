"""The bytes of messages and attachments over IMAP, on a connection beside the worker's."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from services.mail.content.mime.raw import read_raw
from services.mail.content.mime.tree import Part
from services.mail.model import Mailbox
from services.mail.providers.base import Tokens, Write
from services.mail.providers.errors import MessageGoneError, PartMissingError, UnreadableMessageError
from services.mail.providers.folder_history.model import KnownFolder, Location
from services.mail.providers.imap.connections import Connections
from services.mail.providers.imap.content.contents import ImapContents
from services.mail.providers.imap.fetch import MovedError, Snapshots, state_of
from services.mail.providers.imap.session import ImapSession
from services.mail.providers.imap.sign_in import SignIn
from services.mail.store.connection import Pool

# Bytes of a message whose parts are looked for in memory, and how many messages at a time. Servers take 30 MB or so.
_LARGEST: Final = 128 * 1024 * 1024
_AT_ONCE: Final = 2
_PIECE: Final = 512 * 1024


class ImapDownloadSession:
    """The `DownloadSession` for IMAP."""

    def __init__(self, mailbox_id: int, *, session: ImapSession, pool: Pool, slots: asyncio.Semaphore) -> None:
        self._mailbox_id = mailbox_id
        self._contents = ImapContents(session)
        self._pool = pool
        self._slots = slots

    async def copy_raw(self, external_id: str, write: Write) -> None:
        """Write the bytes of a message from the folder in which the last pass has found it."""
        folder, place = await self._find(external_id)
        try:
            await self._contents.copy_raw(folder.folder, place.key, write, state=state_of(folder))
        except MessageGoneError as error:
            raise MovedError(error.detail) from error

    async def copy_part(self, external_id: str, part_id: str, write: Write) -> None:
        """Fetch the message, and write the part: a server's own numbers of parts need not be those of the reader."""
        async with self._slots:
            body = bytearray()

            async def collect(data: bytes) -> None:
                body.extend(data)
                if len(body) > _LARGEST:
                    raise UnreadableMessageError("the message is too large to look for a part in it")

            await self.copy_raw(external_id, collect)
            part = await asyncio.to_thread(_find_part, bytes(body), part_id)
        if part is None:
            raise PartMissingError(part_id)
        content = part.content or b""
        for begin in range(0, len(content), _PIECE):
            await write(content[begin : begin + _PIECE])

    async def _find(self, external_id: str) -> tuple[KnownFolder, Location]:
        found = await Snapshots(self._pool, self._mailbox_id).take([external_id])
        place = found.place_of(external_id)
        if place is not None:
            return found.folders[place.folder_id], place
        raise MovedError(external_id) if found.knows(external_id) else MessageGoneError(external_id)


def _find_part(raw: bytes, part_id: str) -> Part | None:
    waiting = [read_raw(raw, keeps_content=True).root]
    while waiting:
        part = waiting.pop()
        if part.part_id == part_id and not part.is_multipart:
            return part
        waiting.extend(part.children)
    return None


class ImapDownloads:
    """The `DownloadSource` for one IMAP server."""

    raw_units = 1
    part_units = 1

    def __init__(self, *, sign_in: SignIn, connections: Connections, pool: Pool) -> None:
        self._sign_in = sign_in
        self._connections = connections
        self._pool = pool
        self._slots = asyncio.Semaphore(_AT_ONCE)

    @asynccontextmanager
    async def open(self, mailbox: Mailbox, tokens: Tokens) -> AsyncIterator[ImapDownloadSession]:
        """Yield a session; downloads of one mailbox come one after the other."""
        async with self._connections.session(
            mailbox.mailbox_id, lambda: self._sign_in.open(mailbox, tokens)
        ) as session:
            yield ImapDownloadSession(mailbox.mailbox_id, session=session, pool=self._pool, slots=self._slots)
