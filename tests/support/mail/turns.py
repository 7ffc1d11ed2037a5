"""Turns that a test takes itself, step by step."""

from uuid import uuid4

from prometheus_client import CollectorRegistry

from services.kit.observe.setup import Telemetry
from services.mail.model import Lane
from services.mail.provider_access.access_tokens import AccessTokens
from services.mail.provider_access.calls import ProviderAccess
from services.mail.provider_access.concurrency import ConcurrencyLimit
from services.mail.provider_access.quota import Quota, QuotaProfile
from services.mail.providers.base import Provider
from services.mail.store.connection import Pool
from services.mail.store.control import schedule
from services.mail.sync.intervals import Intervals
from services.mail.sync.turn_context import TurnContext
from services.mail.sync.turn_metrics import TurnMetrics
from tests.support.mail.quota import NothingOwed
from tests.support.mail.running_worker import AT_ONCE
from tests.support.mail.stage import Stage

# More than any test takes.
PLENTY = 10**9
BATCH_UNITS = 1000


async def begin_turn(
    s: Stage, provider: Provider, *, pool: Pool | None = None, intervals: Intervals = AT_ONCE
) -> TurnContext:
    """A turn with the stage's mailbox, which has to be due; it may last for an hour and has quota for everything."""
    pool = pool or s.pool
    profile = QuotaProfile(
        mailbox_limit=PLENTY, project_limit=PLENTY, daily_limit=PLENTY, window=1.0, costs=provider.costs
    )
    async with pool.acquire() as connection:
        [lease] = await schedule.claim(
            connection,
            owner=uuid4(),
            lane=Lane.LIVE,
            limit=1,
            failing_limit=1,
            lease_seconds=3600,
            backoff_limit=1,
        )
    return TurnContext(
        lease=lease,
        mailbox=await s.mailbox(),
        pool=pool,
        provider=provider,
        access=ProviderAccess(
            quota=Quota(s.servers.redis, profile=profile, batch_units=BATCH_UNITS, watermarks=NothingOwed()),
            concurrency_limit=ConcurrencyLimit(s.servers.redis, batch_size=10),
            tokens=AccessTokens(s.auth),
        ),
        metrics=TurnMetrics(Telemetry(CollectorRegistry())),
        intervals=intervals,
    )
