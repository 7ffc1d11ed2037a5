"""Turns that a test takes itself, step by step."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

from prometheus_client import CollectorRegistry

from services.kit.observe.http_calls import CallObserver
from services.kit.observe.setup import Telemetry
from services.mail.model import Lane
from services.mail.provider_access.calls import ProviderAccess
from services.mail.provider_access.concurrency import ConcurrencyLimit
from services.mail.provider_access.outages import ProviderOutages
from services.mail.provider_access.provider_tokens import ProviderTokenCache
from services.mail.provider_access.quota import Quota
from services.mail.providers.base import Provider
from services.mail.providers.gmail.adapter import GmailProvider
from services.mail.providers.gmail.http.client import create_gmail_client
from services.mail.providers.gmail.limits import GMAIL_COSTS
from services.mail.store.connection import Pool
from services.mail.store.control import leases
from services.mail.store.control.leases import Lease
from services.mail.sync.erase import Eraser
from services.mail.sync.fenced import FencedTransactions
from services.mail.sync.intervals import Intervals
from services.mail.sync.turn import TurnRunner
from services.mail.sync.turn_context import TurnContext
from services.mail.sync.turns.metrics import TurnMetrics
from tests.support.mail.quota import NothingOwed, limits, shared_quota, tracked
from tests.support.mail.running_worker import AT_ONCE, worker_limits
from tests.support.mail.stage import Stage

# More than any test takes.
PLENTY = 10**9
BATCH_UNITS = 1000
# Seconds.
FOR_EVER = 10.0**6


async def claim(pool: Pool) -> Lease:
    """The lease of the stage's mailbox, which has to be due; it lasts for an hour."""
    async with pool.acquire() as connection:
        [lease] = await leases.claim(
            connection,
            owner=uuid4(),
            lane=Lane.LIVE,
            limit=1,
            failing_limit=1,
            lease_seconds=3600,
            backoff_limit=1,
        )
    return lease


async def end_turn(turn: TurnContext) -> None:
    """Releases the lease of a turn; the mailbox is due again at once."""
    async with turn.reading() as connection:
        await leases.release(connection, turn.lease, lane=Lane.LIVE, after=0)


def provider_access(s: Stage, *, units: int = PLENTY, quota_type: type[Quota] = Quota) -> ProviderAccess:
    """Access with quota for so many units, and no more for as long as any test lasts."""
    given = limits(
        mailbox=units,
        window=1.0 if units == PLENTY else FOR_EVER,
        burst=1.0,
        live_share=0.0,
        batch_units=min(BATCH_UNITS, units - 1),
    )
    return ProviderAccess(
        quotas={"google": tracked(quota_type(s.servers.redis, limits=given, watermarks=NothingOwed()))},
        concurrency_limit=ConcurrencyLimit(s.servers.redis),
        tokens=ProviderTokenCache(s.auth),
    )


async def begin_turn(
    s: Stage,
    provider: Provider,
    *,
    pool: Pool | None = None,
    intervals: Intervals = AT_ONCE,
    units: int = PLENTY,
    quota_type: type[Quota] = Quota,
) -> TurnContext:
    """A turn with the stage's mailbox, which has to be due; it may last for an hour and has so many units."""
    pool = pool or s.pool
    if units != PLENTY:
        # What other turns have used is not to count.
        await s.servers.forget_quota()
    mailbox, access = await s.mailbox(), provider_access(s, units=units, quota_type=quota_type)
    transactions = FencedTransactions(pool, await claim(pool))
    return TurnContext(
        transactions=transactions,
        mailbox=mailbox,
        provider=provider,
        # These providers' sessions hold nothing that has to be closed.
        session=await access.open(provider, mailbox, writing=transactions.begin).__aenter__(),
        access=access,
        metrics=TurnMetrics(Telemetry(CollectorRegistry())),
        intervals=intervals,
    )


def worker_access(s: Stage) -> ProviderAccess:
    """What the calls of a worker's process share, under the quota of every other worker."""
    return ProviderAccess(
        quotas={"google": shared_quota(s.servers.redis, s.pool, limits=worker_limits())},
        concurrency_limit=ConcurrencyLimit(s.servers.redis),
        tokens=ProviderTokenCache(s.auth),
    )


def turn_runner(
    s: Stage, provider: Provider, *, pool: Pool | None = None, outages: ProviderOutages | None = None
) -> TurnRunner:
    """A runner of turns with the provider, which has plenty of units."""
    access = provider_access(s)
    return TurnRunner(
        pool=pool or s.pool,
        providers={"google": provider},
        auth=s.auth,
        access=access,
        eraser=Eraser(pool=s.pool, auth=s.auth, providers={}, access=access),
        metrics=TurnMetrics(Telemetry(CollectorRegistry())),
        outages=outages or ProviderOutages(),
        lease_seconds=60,
        poll_seconds=600,
        verify_seconds=0,
        intervals=AT_ONCE,
    )


@asynccontextmanager
async def sandbox_provider(s: Stage, *, page_size: int = 500) -> AsyncIterator[GmailProvider]:
    """The sandbox as the provider of turns that a test takes itself."""
    async with create_gmail_client(observer=CallObserver(Telemetry(CollectorRegistry()))) as http:
        yield GmailProvider(
            http,
            api_url=s.servers.sandbox.url,
            batch_url=f"{s.servers.sandbox.url}/batch",
            costs=GMAIL_COSTS["2026-05"],
            page_size=page_size,
        )
