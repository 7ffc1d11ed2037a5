"""The whole mail service around one mailbox: real Postgres, Valkey, sandbox and worker; only auth is a fake."""

import asyncio
import contextlib
import itertools
import os
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from services.mail.disconnect import Disconnections
from services.mail.ids import PublicId
from services.mail.mailboxes import Mailboxes
from services.mail.model import Account, OpenMailbox, SyncReport
from services.mail.read_model import MessageDetail, MessageFilter, MessageSummary
from services.mail.reading.messages import Messages
from services.mail.reading.page_tokens import PageTokens
from services.mail.reading.user_connections import UserConnections
from services.mail.store.connection import Pool
from services.mail.store.control.schedule import HINTED
from services.mail.syncs import Syncs
from tests.support.mail.cost import Cost, count
from tests.support.mail.fake_auth import FakeAuth
from tests.support.mail.running_worker import RunningWorker, WorkerOptions, working
from tests.support.mail.sandbox_control import Sandbox, SandboxMailbox
from tests.support.mail.servers import Servers
from tests.support.mail.waiting import PATIENCE, Waits, eventually

EVERYTHING = MessageFilter()
# Seconds in which a worker ends what is left to do for a test's mailbox, on a machine that is not overloaded.
END_SECONDS = 5.0


@dataclass
class Stage(Waits):
    """A user with a mailbox, seen through the use cases. Methods wait for the worker's effects."""

    servers: Servers
    auth: FakeAuth
    account: Account
    at_provider: SandboxMailbox
    mailboxes: Mailboxes
    messages: Messages
    syncs: Syncs
    disconnections: Disconnections
    workers: list[RunningWorker] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    @property
    def user_id(self) -> UUID:
        """The user's id."""
        return self.account.user_id

    @property
    def pool(self) -> Pool:
        """The database, entered as its owner."""
        return self.servers.pool

    async def mailbox(self) -> OpenMailbox:
        """Return the user's mailbox."""
        return await self.mailboxes.find(self.user_id, account_id=self.account.account_id)

    async def request(self, *, count: int | None = 10) -> SyncReport:
        """Request a sync of the newest `count` messages, None for all."""
        return await self.syncs.start(await self.mailbox(), newest_count=count)

    async def sync(self, *, count: int | None = 10, within: float = PATIENCE) -> SyncReport:
        """Request a sync and wait for its end."""
        return await self.ended(await self.request(count=count), within=within)

    async def sync_with_worker(self, *, count: int | None = 10) -> SyncReport:
        """Run a sync with a worker that exists for it only."""
        async with self.another_worker():
            return await self.sync(count=count)

    async def ended(self, report: SyncReport, *, user_id: UUID | None = None, within: float = PATIENCE) -> SyncReport:
        """Wait for the end of a sync; return its report."""
        found = report

        async def has_ended() -> bool:
            nonlocal found
            found = await self.report(report, user_id=user_id)
            return found.sync.ended_at is not None

        await eventually(has_ended, within=within)
        return found

    async def report(self, report: SyncReport, *, user_id: UUID | None = None) -> SyncReport:
        """Return the current report of a sync, as this user or another one sees it."""
        return await self.syncs.get(user_id or self.user_id, id_of(report), wait_seconds=0)

    async def verify(self) -> SyncReport:
        """Request a verification and wait for its end."""
        return await self.ended(await self.syncs.verify(await self.mailbox()))

    async def cancel(self, report: SyncReport) -> SyncReport:
        """Cancel a sync."""
        return await self.syncs.cancel(self.user_id, id_of(report))

    async def retry(self, report: SyncReport) -> SyncReport:
        """Retry the dead letters."""
        return await self.syncs.retry(self.user_id, id_of(report))

    async def listed(self, wanted: MessageFilter = EVERYTHING) -> list[MessageSummary]:
        """Return all messages of a list, page by page, newest first; no message may appear twice."""
        found: list[MessageSummary] = []
        token = ""
        while True:
            page = await self.messages.page(await self.mailbox(), wanted, page_size=200, page_token=token)
            found += page.messages
            token = page.next_page_token
            if not token:
                break
        assert len({message.external_id for message in found}) == len(found)
        return found

    async def stored(self) -> dict[str, frozenset[str]]:
        """Return the stored messages in the form of `SandboxMailbox.truth`, newest first."""
        ids = {known.label.name: known.label.label_id for known in await self.messages.labels(await self.mailbox())}
        return {
            message.external_id: frozenset(ids.get(name, name) for name in message.labels)
            for message in await self.listed()
        }

    async def detail(self, external_id: str) -> MessageDetail:
        """Return a whole stored message."""
        [summary] = [message for message in await self.listed() if message.external_id == external_id]
        return await self.messages.get(self.user_id, PublicId(summary.mailbox_id, summary.message_id))

    async def mirrors(self, *, exactly_paid: bool = True, within: float | None = None) -> None:
        """Assert that the worker is idle soon (`within` seconds), and that the copy then equals the provider's mailbox.

        Also assert that the provider refused no call for its quota, that few turns were taken, and that all calls were
        paid for, and nothing else. Without `exactly_paid` more may be: calls that were lost, or that a fault answered.
        """
        await self.until_idle(within=within or _seconds_to_the_end())
        assert await self.stored() == await self.at_provider.truth()
        await self.is_paid(exactly=exactly_paid)

    async def is_paid(self, *, exactly: bool = True) -> None:
        """Check what was spent, after the worker's last calls and its reports of units that it did not use."""

        found = await self.cost()

        async def is_settled() -> bool:
            nonlocal found
            found = await self.cost()
            return found.units_taken == found.units_counted

        if exactly:
            with contextlib.suppress(TimeoutError):
                await eventually(is_settled, within=2.0)
        # The cost at that moment: looks can go on.
        found.check(exactly_paid=exactly)

    async def cost(self) -> Cost:
        """Return what was spent since the stage was set."""
        servers = self.servers
        return await count(redis=servers.redis, pool=self.pool, sandbox=servers.sandbox, began=self.began)

    async def start_anew_at_provider(self, *, messages: int) -> None:
        """Replace the user's mailbox at the provider by another one, whose history starts again."""
        sandbox, email = self.servers.sandbox, self.account.email
        await sandbox.control("DELETE", f"users/{email}")
        await sandbox.control("POST", "users", {"email": email, "messages": messages})
        await self.auth.connect(email)

    async def until_fault_fired(self) -> None:
        """Wait until the fault plan has fired."""

        async def has_fired() -> bool:
            return any(await self.at_provider.fired())

        await eventually(has_fired)

    async def disconnect(self) -> bool:
        """Disconnect the mailbox; return whether all of it is erased."""
        return await self.disconnections.disconnect(self.user_id, self.account.account_id)

    async def until_erased(self) -> None:
        """Wait until no data of the disconnected mailbox is left."""
        await eventually(self.disconnect)

    async def hint(self) -> None:
        """Make the mailbox due, as a notification does."""
        async with self.pool.acquire() as connection, connection.transaction():
            await connection.execute(f"UPDATE mailbox_schedule s SET due_at = least(due_at, now()), {HINTED}, lane = 0")  # noqa: S608 - a constant
            await connection.execute("NOTIFY mailbox_due")

    @asynccontextmanager
    async def another_worker(self, options: WorkerOptions | None = None) -> AsyncIterator[RunningWorker]:
        """Run another worker on connections of its own."""
        async with working(self.servers, self.auth, options or WorkerOptions()) as running:
            self.workers.append(running)
            yield running


def _seconds_to_the_end() -> float:
    """Return END_SECONDS, or as many times them as there are processes that wait for each core."""
    overload = os.getloadavg()[0] / (os.process_cpu_count() or 1)
    return min(PATIENCE, END_SECONDS * max(1.0, overload))


def id_of(report: SyncReport) -> PublicId:
    """Return the id of a report's sync."""
    return PublicId(report.sync.mailbox_id, report.sync.sync_id)


@asynccontextmanager
async def open_stage(
    servers: Servers, *, messages: int = 0, workers: int = 1, user: Mapping[str, object] | None = None, **options: Any
) -> AsyncIterator[Stage]:
    """Yield a connected user with `messages` generated messages, and `workers` workers with the same options.

    `user` are further fields of the sandbox's user; `options` are those of WorkerOptions.
    """
    await servers.empty()
    auth = FakeAuth(servers.sandbox)
    account, at_provider = await connect_user(servers.sandbox, auth, messages=messages, fields=user or {})
    mailboxes = Mailboxes(servers.mail_pool, auth)
    stage = Stage(
        servers=servers,
        auth=auth,
        account=account,
        at_provider=at_provider,
        mailboxes=mailboxes,
        messages=Messages(servers.mail_pool, UserConnections(servers.mail_pool), tokens=PageTokens(bytes(16))),
        syncs=Syncs(servers.mail_pool, mailboxes, stop=asyncio.Event()),
        disconnections=Disconnections(servers.mail_pool, mailboxes, auth),
    )
    async with AsyncExitStack() as stack:
        for _ in range(workers):
            await stack.enter_async_context(stage.another_worker(WorkerOptions(**options)))
        yield stage


async def connect_user(
    sandbox: Sandbox,
    auth: FakeAuth,
    *,
    messages: int = 0,
    user_id: UUID | None = None,
    fields: Mapping[str, object] = {},
) -> tuple[Account, SandboxMailbox]:
    """Create a user of the sandbox who has consented; `fields` are further fields of the user.

    The address is the first one that is free, since the mail follows from it: that of a test is the same in every run.
    """
    taken = await sandbox.emails()
    email = next(email for number in itertools.count(1) if (email := f"ada{number}@example.com") not in taken)
    await sandbox.control("POST", "users", {"email": email, "messages": messages, "seed": 1, **fields})
    return await auth.connect(email, user_id=user_id), SandboxMailbox(sandbox, email)
