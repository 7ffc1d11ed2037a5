"""Users' shares of the fetches that run at a time."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast
from uuid import UUID, uuid4

from services.mail.downloads.disk_cache import DiskCache
from services.mail.downloads.fetch import Download, Downloads
from services.mail.model import Mailbox, MailboxStatus
from services.mail.provider_access.calls import ProviderAccess
from services.mail.providers.base import DownloadSession, Write
from services.mail.store.connection import Pool
from tests.support.mail.waiting import eventually


class Access:
    """Calls of a provider, for which the mailboxes of some users have no quota."""

    def __init__(self) -> None:
        self.without_quota: set[UUID] = set()
        self.waiting = 0
        self._user_id = uuid4()

    def calls(self, mailbox: Mailbox) -> "Access":
        """Return the calls for a mailbox."""
        calls = Access()
        calls._user_id, calls.without_quota = mailbox.user_id, self.without_quota
        return calls

    def tokens_of(self, _: Mailbox) -> None:
        """Return no tokens: nothing is called."""

    async def call[T](self, _: int, ask: Callable[[], Awaitable[T]], **__: object) -> T:
        """Wait for quota, then call."""
        if self._user_id in self.without_quota:
            await asyncio.Event().wait()
        return await ask()


class Source:
    """A source whose sessions are not used."""

    raw_units = part_units = 1

    @asynccontextmanager
    async def open(self, *_: object) -> AsyncIterator[DownloadSession]:
        """Yield nothing that can be called."""
        yield cast("DownloadSession", None)


class Fetches:
    """Downloads of two users, in a cache of its own."""

    def __init__(self, directory: Path) -> None:
        self.access = Access()
        self.running = 0
        self.ada, self.grace = uuid4(), uuid4()
        cache = DiskCache(directory, max_bytes=1 << 20, max_age=3600)
        cache.open()
        # Nothing is looked up: the downloads are made here.
        self._downloads = Downloads(
            cast("Pool", None), sources={"google": Source()}, access=cast("ProviderAccess", self.access), cache=cache
        )

    async def fill_a_share(self) -> bool:
        """Tell whether as many fetches run as a user may have."""
        return self.running == 3

    async def read(self, user_id: UUID, number: int, *, stands_still: bool = False) -> bytes:
        """Return the content of a user's message."""

        async def copy(_: DownloadSession, write: Write) -> None:
            self.running += 1
            if stands_still:
                await asyncio.Event().wait()
            await write(b"content")

        mailbox = Mailbox(
            mailbox_id=1,
            account_id=uuid4(),
            user_id=user_id,
            provider="google",
            email="ada@example.com",
            status=MailboxStatus.ACTIVE,
        )
        download = Download(
            key=f"1-{number}-{'a' * 64}", mailbox=mailbox, filename="", mime_type="", units=1, copy=copy
        )
        with os.fdopen(await self._downloads.open(download), "rb") as file:
            return os.pread(file.fileno(), 100, 0)


@asynccontextmanager
async def background(fetches: Fetches, count: int, *, stands_still: bool = False) -> AsyncIterator[None]:
    """Read many messages of Ada's meanwhile."""
    tasks = [asyncio.create_task(fetches.read(fetches.ada, n, stands_still=stands_still)) for n in range(count)]
    async with asyncio.timeout(20):
        yield
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


class TestFetches:
    async def test_of_a_user_leave_slots_to_others(self, tmp_path: Path) -> None:
        fetches = Fetches(tmp_path)
        async with background(fetches, 60, stands_still=True):
            await eventually(fetches.fill_a_share)
            assert await fetches.read(fetches.grace, 1000) == b"content"
            assert fetches.running == 3 + 1

    async def test_that_wait_for_quota_hold_no_slot(self, tmp_path: Path) -> None:
        fetches = Fetches(tmp_path)
        fetches.access.without_quota.add(fetches.ada)
        async with background(fetches, 60):
            contents = [await fetches.read(fetches.grace, 1000 + number) for number in range(3)]
            assert contents == [b"content"] * 3
            assert fetches.running == 3
