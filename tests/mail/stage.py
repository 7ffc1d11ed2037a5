"""The whole mail service around one mailbox: real Postgres, Valkey, sandbox and worker; only auth is a fake."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import asyncpg
import httpx
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from services.kit.postgres import create_pool
from services.kit.settings import Postgres
from services.kit.telemetry import Telemetry
from services.mail.disconnecting import Disconnecting
from services.mail.ids import LocalId
from services.mail.mailboxes import Mailboxes
from services.mail.messages import Messages
from services.mail.model import Account, OpenMailbox, SyncReport
from services.mail.providers.gmail import GmailProvider
from services.mail.store.connection import Pool
from services.mail.sync.access_tokens import AccessTokens
from services.mail.sync.disconnect import Eraser
from services.mail.sync.fetch import Retries
from services.mail.sync.observer import SyncObserver
from services.mail.sync.parallelism import Parallelism
from services.mail.sync.quota import GMAIL_COSTS, GMAIL_LIMITS, Quota, QuotaProfile
from services.mail.sync.rest import RestingLooks
from services.mail.sync.turn import Turns
from services.mail.sync.worker import Worker
from services.mail.syncs import Syncs
from services.mail.views import MessageDetail, MessageFilter, MessageSummary
from tests.mail.fake_auth import FakeAuth
from tests.mail.sandbox_control import QUOTA_WINDOW, Sandbox, SandboxMailbox

BATCH_SIZE = 10
QUICK_RETRIES = Retries(base_seconds=0.01)
# How long a test waits for what must come.
PATIENCE = 20.0
EVERYTHING = MessageFilter()
_numbers = itertools.count(1)


async def eventually(condition: Callable[[], Awaitable[bool]], *, within: float = PATIENCE) -> None:
    """Returns as soon as the condition holds. Raises TimeoutError."""
    async with asyncio.timeout(within):
        while not await condition():  # noqa: ASYNC110 - what is waited for happens in a database
            await asyncio.sleep(0.01)


@dataclass(frozen=True)
class Servers:
    """What a whole test run shares: servers, and one migrated database that every stage empties."""

    sandbox: Sandbox
    database: Postgres
    pool: Pool
    redis: Redis

    async def empty(self) -> None:
        """Forgets all mailboxes, users to delete, quota and faults."""
        await self.pool.execute("TRUNCATE mailboxes, user_deletions CASCADE")
        await self.forget_quota()
        await self.sandbox.be_ordinary()

    async def forget_quota(self) -> None:
        """Loses what Redis knew of the service, scripts included."""
        keys = [key async for key in self.redis.scan_iter("mail:*")]
        if keys:
            await self.redis.delete(*keys)
        await self.redis.script_flush()


def quota_profile(*, window: float = QUOTA_WINDOW, name: str = "2026-05") -> QuotaProfile:
    """A profile of Google's with another window."""
    mailbox_limit, project_limit = GMAIL_LIMITS[name]
    return QuotaProfile(
        mailbox_limit=mailbox_limit, project_limit=project_limit, window=window, costs=GMAIL_COSTS[name]
    )


@dataclass
class WorkerOptions:
    """How a worker is set up; the defaults suit most tests."""

    batch: bool = True
    batch_size: int = BATCH_SIZE
    page_size: int = 500
    slots: int = 4
    lease_seconds: float = 5.0
    # Long, so that nothing but a sync or a trigger makes a mailbox due.
    poll_seconds: float = 600.0
    # Never by itself.
    verify_seconds: float = 0.0
    provider_timeout: float = 10.0
    retries: Retries = QUICK_RETRIES
    # Small, so that erasing a mailbox takes many steps.
    erase_batch: int = 3
    window: float = QUOTA_WINDOW
    # Units per window for all mailboxes together; None: Google's.
    project_limit: int | None = None
    push_topic: str | None = None
    # Where the provider is; None: the sandbox.
    api_url: str | None = None


@dataclass
class RunningWorker:
    """A worker at work; `name` is what its database connections are called."""

    worker: Worker
    name: str
    stop: asyncio.Event
    task: asyncio.Task[None]
    registry: CollectorRegistry

    def count(self, metric: str, **labels: str) -> float:
        """The value of a metric, 0 where it has none yet."""
        return self.registry.get_sample_value(f"mailroom_{metric}", labels) or 0.0

    async def crash(self) -> None:
        """Ends it and its turns on the spot, leases and all left behind."""
        tasks = [self.task, *self.worker._running]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def drain(self) -> None:
        """Lets it end as on SIGTERM."""
        self.stop.set()
        await self.task


@dataclass
class Stage:
    """One user with one mailbox, seen through the use cases; the worker's effects are awaited, never assumed."""

    servers: Servers
    auth: FakeAuth
    account: Account
    at_provider: SandboxMailbox
    mailboxes: Mailboxes
    messages: Messages
    syncs: Syncs
    disconnecting: Disconnecting
    workers: list[RunningWorker] = field(default_factory=list)

    @property
    def user_id(self) -> UUID:
        """The user."""
        return self.account.user_id

    @property
    def pool(self) -> Pool:
        """The database."""
        return self.servers.pool

    async def mailbox(self) -> OpenMailbox:
        """The user's mailbox."""
        return await self.mailboxes.find(self.user_id, account_id=self.account.account_id)

    async def request(self, *, count: int | None = 10) -> SyncReport:
        """Asks for a sync of the newest `count`, None for all."""
        return await self.syncs.start(await self.mailbox(), newest_count=count)

    async def sync(self, *, count: int | None = 10, within: float = PATIENCE) -> SyncReport:
        """Asks for a sync and waits for its end."""
        return await self.ended(await self.request(count=count), within=within)

    async def sync_with_worker(self, *, count: int | None = 10) -> SyncReport:
        """A sync done by a worker that is there for it only."""
        async with self.another_worker():
            return await self.sync(count=count)

    async def ended(self, report: SyncReport, *, user_id: UUID | None = None, within: float = PATIENCE) -> SyncReport:
        """The report of a sync that has ended."""
        found = report

        async def has_ended() -> bool:
            nonlocal found
            found = await self.report(report, user_id=user_id)
            return found.sync.ended_at is not None

        await eventually(has_ended, within=within)
        return found

    async def report(self, report: SyncReport, *, user_id: UUID | None = None) -> SyncReport:
        """How a sync is doing now, as this user or another one sees it."""
        return await self.syncs.get(user_id or self.user_id, id_of(report), wait_seconds=0)

    async def verify(self) -> SyncReport:
        """Asks for a verification and waits for its end."""
        return await self.ended(await self.syncs.verify(await self.mailbox()))

    async def cancel(self, report: SyncReport) -> SyncReport:
        """Cancels a sync."""
        return await self.syncs.cancel(self.user_id, id_of(report))

    async def retry(self, report: SyncReport) -> SyncReport:
        """Tries the dead letters again."""
        return await self.syncs.retry(self.user_id, id_of(report))

    async def listed(self, wanted: MessageFilter = EVERYTHING) -> list[MessageSummary]:
        """All messages of the list, page by page, newest first; no message is in it twice."""
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
        """What is stored, in the form of `SandboxMailbox.truth`, newest first."""
        ids = {known.label.name: known.label.label_id for known in await self.messages.labels(await self.mailbox())}
        return {
            message.external_id: frozenset(ids.get(name, name) for name in message.labels)
            for message in await self.listed()
        }

    async def detail(self, external_id: str) -> MessageDetail:
        """One stored message, whole."""
        [summary] = [message for message in await self.listed() if message.external_id == external_id]
        return await self.messages.get(self.user_id, LocalId(summary.mailbox_id, summary.message_id))

    async def mirrors(self) -> None:
        """Waits until the worker has done all it was told of, and compares what is stored with the provider's truth."""
        await self.until_idle()
        assert await self.stored() == await self.at_provider.truth()

    async def until_idle(self) -> None:
        """Waits until the worker has done all it was told of."""

        async def has_nothing_to_do() -> bool:
            return bool(
                await self.fetchval(
                    """
                    SELECT bool_and(s.caught_up_hint >= q.hint_seq AND s.listing IS NULL)
                        AND NOT EXISTS (SELECT FROM fetch_items)
                    FROM sync_states s JOIN mailbox_schedule q USING (mailbox_id)
                    """
                )
            )

        await eventually(has_nothing_to_do)

    async def until_caught_up(self) -> None:
        """Waits until history has been read after the last hint."""

        async def is_caught_up() -> bool:
            return bool(
                await self.fetchval(
                    """
                    SELECT bool_and(s.caught_up_hint >= q.hint_seq)
                    FROM sync_states s JOIN mailbox_schedule q USING (mailbox_id)
                    """
                )
            )

        await eventually(is_caught_up)

    async def until_turn_failed(self, times: int = 1) -> None:
        """Waits until so many turns in a row have failed."""

        async def has_failed() -> bool:
            return bool(
                await self.fetchval(
                    "SELECT bool_and(attempts > $1 OR (attempts = $1 AND lease_owner IS NULL)) FROM mailbox_schedule",
                    times,
                )
            )

        await eventually(has_failed)

    async def until_healing(self) -> None:
        """Waits until a worker compares everything after a lost cursor, or has done so."""

        async def is_healing() -> bool:
            return bool(
                await self.fetchval(
                    """
                    SELECT bool_and(s.listing IS NOT NULL OR s.caught_up_hint >= q.hint_seq)
                    FROM sync_states s JOIN mailbox_schedule q USING (mailbox_id)
                    """
                )
            )

        await eventually(is_healing)

    async def until_listing(self, condition: str) -> None:
        """Waits until the listing under way is as an SQL condition on `sync_states` says."""

        async def is_so() -> bool:
            return bool(await self.fetchval(f"SELECT bool_and({condition}) FROM sync_states"))  # noqa: S608 - the test's own

        await eventually(is_so)

    async def start_anew_at_provider(self, *, messages: int) -> None:
        """Replaces the user's mailbox at the provider by another one, whose history begins anew."""
        sandbox, email = self.servers.sandbox, self.account.email
        await sandbox.control("DELETE", f"users/{email}")
        await sandbox.control("POST", "users", {"email": email, "messages": messages})
        await self.auth.connect(email)

    async def until_fault_fired(self) -> None:
        """Waits until the fault plan has struck."""

        async def has_fired() -> bool:
            return any(await self.at_provider.fired())

        await eventually(has_fired)

    async def until_released(self) -> None:
        """Waits until no worker holds the mailbox or has a reason to take it now."""

        async def is_released() -> bool:
            return bool(
                await self.fetchval("SELECT bool_and(lease_owner IS NULL AND due_at > now()) FROM mailbox_schedule")
            )

        await eventually(is_released)

    async def disconnect(self) -> bool:
        """Gives up the mailbox; whether all of it is erased."""
        return await self.disconnecting.disconnect(self.user_id, self.account.account_id)

    async def until_erased(self) -> None:
        """Waits until nothing of the disconnected mailbox is left."""
        await eventually(self.disconnect)

    async def until_listed(self) -> None:
        """Waits until the active sync knows all ids that it wants."""

        async def is_listed() -> bool:
            return bool(await self.fetchval("SELECT bool_and(listing_done) FROM syncs WHERE ended_at IS NULL"))

        await eventually(is_listed)

    async def until_stored(self, external_id: str) -> None:
        """Waits until a message is stored."""

        async def is_stored() -> bool:
            return bool(await self.fetchval("SELECT EXISTS (SELECT FROM messages WHERE external_id = $1)", external_id))

        await eventually(is_stored)

    async def until_stored_some(self, least: int = 1) -> None:
        """Waits until so many messages are stored."""

        async def are_stored() -> bool:
            return int(await self.fetchval("SELECT count(*) FROM messages")) >= least

        await eventually(are_stored)

    async def hint(self) -> None:
        """Makes the mailbox due, as a notification would."""
        async with self.pool.acquire() as connection, connection.transaction():
            await connection.execute(
                "UPDATE mailbox_schedule SET due_at = least(due_at, now()), hint_seq = hint_seq + 1, lane = 0"
            )
            await connection.execute("NOTIFY mailbox_due")

    async def fetchval(self, query: str, *args: object) -> Any:
        """One value of the database, for what no use case shows."""
        return await self.pool.fetchval(query, *args)

    @asynccontextmanager
    async def another_worker(self, options: WorkerOptions | None = None) -> AsyncIterator[RunningWorker]:
        """One more worker, on connections of its own."""
        async with _working(self, options or WorkerOptions()) as running:
            self.workers.append(running)
            yield running


@asynccontextmanager
async def _working(stage: Stage, options: WorkerOptions) -> AsyncIterator[RunningWorker]:
    name = f"mail-worker-{next(_numbers)}"
    async with AsyncExitStack() as stack:
        pool = await create_pool(stage.servers.database, application_name=name, size=2 * options.slots + 1)
        stack.push_async_callback(pool.close)
        http = await stack.enter_async_context(
            httpx.AsyncClient(timeout=options.provider_timeout, trust_env=False, headers={"User-Agent": "gzip"})
        )
        registry = CollectorRegistry()
        worker = _worker(stage, options, pool=pool, http=http, name=name, registry=registry)
        stop = asyncio.Event()
        running = RunningWorker(worker, name, stop, asyncio.create_task(worker.run(stop)), registry)
        try:
            yield running
        finally:
            if not running.task.done():
                await running.drain()


def _worker(
    stage: Stage,
    options: WorkerOptions,
    *,
    pool: Pool,
    http: httpx.AsyncClient,
    name: str,
    registry: CollectorRegistry,
) -> Worker:
    profile = quota_profile(window=options.window)
    if options.project_limit is not None:
        profile = replace(profile, project_limit=options.project_limit)
    api_url = options.api_url or stage.servers.sandbox.url
    gmail = GmailProvider(
        http,
        api_url=api_url,
        batch_url=f"{api_url}/batch" if options.batch else None,
        costs=profile.costs,
        page_size=options.page_size,
        push_topic=options.push_topic,
    )
    redis = stage.servers.redis
    providers = {"google": gmail}
    quota = Quota(redis, profile=profile, batch_units=profile.costs.get * options.batch_size)
    tokens = AccessTokens(stage.auth)
    observer = SyncObserver(Telemetry(registry))
    turns = Turns(
        pool=pool,
        providers=providers,
        quota=quota,
        parallelism=Parallelism(redis, batch_size=options.batch_size),
        tokens=tokens,
        eraser=Eraser(
            pool=pool, auth=stage.auth, providers=providers, quota=quota, tokens=tokens, batch=options.erase_batch
        ),
        observer=observer,
        lease_seconds=options.lease_seconds,
        poll_seconds=options.poll_seconds,
        verify_seconds=options.verify_seconds,
        retries=options.retries,
    )
    return Worker(
        pool=pool,
        connect_listener=lambda: connect(stage.servers.database, name=name),
        turns=turns,
        resting=RestingLooks(
            pool=pool, providers=providers, quota=quota, tokens=tokens, poll_seconds=options.poll_seconds
        ),
        finish_deletions=Disconnecting(pool, Mailboxes(pool, stage.auth), stage.auth).finish_deletions,
        observer=observer,
        slots=options.slots,
    )


def id_of(report: SyncReport) -> LocalId:
    """The id of a report's sync."""
    return LocalId(report.sync.mailbox_id, report.sync.sync_id)


async def connect(database: Postgres, *, name: str = "test") -> "asyncpg.Connection[asyncpg.Record]":
    """A connection of one's own."""
    return await asyncpg.connect(
        host=database.host,
        port=database.port,
        user=database.user,
        password=database.password.get_secret_value(),
        database=database.database,
        server_settings={"application_name": name},
    )


@asynccontextmanager
async def open_stage(
    servers: Servers, *, messages: int = 0, workers: int = 1, user: Mapping[str, object] | None = None, **options: Any
) -> AsyncIterator[Stage]:
    """A connected user whose mailbox holds so many generated messages, and `workers` workers with the same options.

    `user` are further fields of the sandbox's user; `options` those of WorkerOptions.
    """
    await servers.empty()
    auth = FakeAuth(servers.sandbox)
    account, at_provider = await connect_user(servers.sandbox, auth, messages=messages, fields=user or {})
    mailboxes = Mailboxes(servers.pool, auth)
    stage = Stage(
        servers=servers,
        auth=auth,
        account=account,
        at_provider=at_provider,
        mailboxes=mailboxes,
        messages=Messages(servers.pool),
        syncs=Syncs(servers.pool, mailboxes, stop=asyncio.Event()),
        disconnecting=Disconnecting(servers.pool, mailboxes, auth),
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
    """A new user of the sandbox who has consented; `fields` are further ones of the sandbox's user."""
    number = next(_numbers)
    email = f"ada{number}@example.com"
    await sandbox.control("POST", "users", {"email": email, "messages": messages, "seed": 1, **fields})
    return await auth.connect(email, user_id=user_id), SandboxMailbox(sandbox, email)
