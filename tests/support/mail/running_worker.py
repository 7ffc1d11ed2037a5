"""Workers in this process, put together as the real ones are."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID, uuid4

import httpx
from prometheus_client import CollectorRegistry

from services.kit.observe.http_calls import CallObserver
from services.kit.observe.setup import Telemetry
from services.kit.stores.postgres import create_pool
from services.mail.auth_client import AuthClient
from services.mail.disconnect import Disconnections
from services.mail.mailboxes import Mailboxes
from services.mail.provider_access.calls import ProviderAccess
from services.mail.provider_access.concurrency import ConcurrencyLimit
from services.mail.provider_access.outages import ProviderOutages
from services.mail.provider_access.provider_tokens import ProviderTokenCache
from services.mail.provider_access.quota_metrics import QuotaMetrics
from services.mail.providers.base import Provider
from services.mail.providers.gmail.adapter import GmailProvider
from services.mail.providers.gmail.http.client import create_gmail_client
from services.mail.providers.gmail.http.deadlines import DEADLINES, Deadlines
from services.mail.providers.gmail.limits import GMAIL_COSTS, QuotaGeneration, gmail_limits
from services.mail.providers.limits import ProviderLimits
from services.mail.store.connection import Pool
from services.mail.sync.accounts.access import DEFAULT_PATIENCE, Patience
from services.mail.sync.erase import Eraser
from services.mail.sync.idle.check import IdleCheck
from services.mail.sync.idle.metrics import IdleMetrics
from services.mail.sync.idle.rounds import IdleIntervals
from services.mail.sync.intervals import Intervals
from services.mail.sync.store_fetched import Retries
from services.mail.sync.turn import TurnRunner
from services.mail.sync.turns.lease_renewal import LONG_TURN, LONGEST_TURN
from services.mail.sync.turns.metrics import TurnMetrics
from services.mail.sync.worker import DEFAULT_LIMITS, Limits, Worker
from services.mail.usage import UsageCounter
from tests.support.mail.fake_auth import FakeAuth
from tests.support.mail.quota import shared_quota
from tests.support.mail.sandbox_control import QUOTA_WINDOW
from tests.support.mail.servers import Servers, connect

BATCH_SIZE = 10
QUICK_RETRIES = Retries(base_seconds=0.01, gone_seconds=0.01)
# The sandbox's listings show everything at once, and nothing else changes its labels.
AT_ONCE = Intervals(listing_lag=0, short_listing=0, labels_confirm=0)
_numbers = itertools.count(1)


def worker_limits(*, window: float = QUOTA_WINDOW, name: QuotaGeneration = "2026-05", **other: int) -> ProviderLimits:
    """Gmail's limits with another window."""
    return gmail_limits(name, window=window, **other)


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
    # None: all looks come as often as the first ones.
    longest_poll_seconds: float | None = None
    # Between two looks at the address of an idle mailbox.
    address_seconds: float = 86_400.0
    # Never by itself.
    verify_seconds: float = 0.0
    deadlines: Deadlines = DEADLINES
    retries: Retries = QUICK_RETRIES
    longest_turn: float = LONGEST_TURN
    long_turn: float = LONG_TURN
    limits: Limits = DEFAULT_LIMITS
    intervals: Intervals = AT_ONCE
    patience: Patience = DEFAULT_PATIENCE
    # Small, so that erasing a mailbox takes many steps.
    erase_batch: int = 3
    window: float = QUOTA_WINDOW
    # Units per window for all mailboxes together; None: Google's.
    project_limit: int | None = None
    push_topic: str | None = None
    # Where the provider is; None: the sandbox.
    api_url: str | None = None
    # Opens providers besides Google's, on the worker's own pool, whose connections it holds.
    further: Callable[[Pool, UUID], AbstractAsyncContextManager[Mapping[str, Provider]]] | None = None
    further_limits: Mapping[str, ProviderLimits] = field(default_factory=dict)


@dataclass
class RunningWorker:
    """A worker at work; `name` is what its database connections are called."""

    worker: Worker
    name: str
    stop: asyncio.Event
    task: asyncio.Task[None]
    registry: CollectorRegistry
    usage: UsageCounter

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


@asynccontextmanager
async def working(
    servers: Servers, auth: FakeAuth | AuthClient, options: WorkerOptions
) -> AsyncIterator[RunningWorker]:
    """A worker at work until the block ends, on connections of its own."""
    name = f"mail-worker-{next(_numbers)}"
    async with AsyncExitStack() as stack:
        pool = await create_pool(servers.worker_database, application_name=name, size=2 * options.slots + 1)
        stack.push_async_callback(pool.close)
        registry = CollectorRegistry()
        http = await stack.enter_async_context(create_gmail_client(observer=CallObserver(Telemetry(registry))))
        access = _access(servers, auth, options, pool=pool, registry=registry)
        stack.push_async_callback(access.usage.close, pool)
        holder = uuid4()
        further = {} if options.further is None else await stack.enter_async_context(options.further(pool, holder))
        worker = _worker(
            servers,
            auth,
            options,
            access=access,
            pool=pool,
            http=http,
            name=name,
            registry=registry,
            further=further,
            holder=holder,
        )
        stop = asyncio.Event()
        running = RunningWorker(worker, name, stop, asyncio.create_task(worker.run(stop)), registry, access.usage)
        try:
            yield running
        finally:
            if not running.task.done():
                await running.drain()


def _limits(options: WorkerOptions) -> ProviderLimits:
    return gmail_limits(
        "2026-05", window=options.window, project_limit=options.project_limit, batch_size=options.batch_size
    )


def _access(
    servers: Servers, auth: FakeAuth | AuthClient, options: WorkerOptions, *, pool: Pool, registry: CollectorRegistry
) -> ProviderAccess:
    limits = {"google": _limits(options), **options.further_limits}
    metrics = QuotaMetrics(registry)
    return ProviderAccess(
        quotas={
            provider: shared_quota(servers.redis, pool, limits=of, provider=provider, metrics=metrics)
            for provider, of in limits.items()
        },
        concurrency_limit=ConcurrencyLimit(servers.redis),
        tokens=ProviderTokenCache(auth),
    )


def _worker(
    servers: Servers,
    auth: FakeAuth | AuthClient,
    options: WorkerOptions,
    *,
    access: ProviderAccess,
    pool: Pool,
    http: httpx.AsyncClient,
    name: str,
    registry: CollectorRegistry,
    further: Mapping[str, Provider],
    holder: UUID,
) -> Worker:
    api_url = options.api_url or servers.sandbox.url
    gmail = GmailProvider(
        http,
        api_url=api_url,
        batch_url=f"{api_url}/batch" if options.batch else None,
        costs=GMAIL_COSTS["2026-05"],
        page_size=options.page_size,
        push_topic=options.push_topic,
        deadlines=options.deadlines,
    )
    providers: Mapping[str, Provider] = {"google": gmail, **further}
    observer, outages = TurnMetrics(Telemetry(registry)), ProviderOutages()
    turns = TurnRunner(
        pool=pool,
        providers=providers,
        access=access,
        auth=auth,
        eraser=Eraser(pool=pool, auth=auth, providers=providers, access=access, batch=options.erase_batch),
        metrics=observer,
        outages=outages,
        lease_seconds=options.lease_seconds,
        poll_seconds=options.poll_seconds,
        verify_seconds=options.verify_seconds,
        retries=options.retries,
        longest_turn=options.longest_turn,
        long_turn=options.long_turn,
        intervals=options.intervals,
        patience=options.patience,
    )
    return Worker(
        pool=pool,
        connect_listener=lambda: connect(servers.worker_database, name=name),
        turns=turns,
        idle_check=IdleCheck(
            pool=pool,
            providers=providers,
            access=access,
            intervals=IdleIntervals(
                shortest=options.poll_seconds,
                longest=options.longest_poll_seconds or options.poll_seconds,
                addresses=options.address_seconds,
            ),
            metrics=IdleMetrics(registry),
            outages=outages,
            parallel=16,
        ),
        finish_deletions=Disconnections(pool, Mailboxes(pool, auth), auth).finish_deletions,
        metrics=observer,
        slots=options.slots,
        limits=options.limits,
        holder=holder,
    )
