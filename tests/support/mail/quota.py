"""Quota as tests need it."""

import weakref
from collections.abc import Collection, Iterable, Mapping

from redis.asyncio import Redis

from services.mail.provider_access.quota import Quota
from services.mail.provider_access.quota_metrics import QuotaMetrics
from services.mail.provider_access.watermarks import Level, Mark, PostgresWatermarks
from services.mail.providers.gmail.limits import GMAIL_COSTS
from services.mail.providers.limits import Bucket, DayBucket, Per, ProviderLimits
from services.mail.store.connection import Pool
from services.mail.store.control.quota_watermarks import Recent

_made: weakref.WeakSet[Quota] = weakref.WeakSet()


def tracked(quota: Quota) -> Quota:
    """Return the quota, which is closed before the next test counts."""
    _made.add(quota)
    return quota


async def close_tracked() -> None:
    """Close all quotas of earlier tests: a report would count in the next test, or come after the last one."""
    for quota in list(_made):
        await quota.close()
    _made.clear()


def limits(
    *,
    mailbox: int,
    project: int = 10**9,
    day: int = 10**9,
    window: float = 60.0,
    burst: float = 5 / 12,
    live_share: float = 0.02,
    batch_units: int = 200,
    longest_call: float = 130.0,
) -> ProviderLimits:
    """Limits with Gmail's costs and names: units per window of a mailbox and of the project, and units per day."""
    of = {"mailbox": (Per.MAILBOX, mailbox), "project": (Per.PROJECT, project)}
    return ProviderLimits(
        buckets=tuple(
            Bucket(name=name, per=per, limit=limit, window=window, burst=burst, live_share=live_share)
            for name, (per, limit) in of.items()
        ),
        day=DayBucket(name="day", limit=day, begins=0.0),
        costs=GMAIL_COSTS["2026-05"],
        concurrency=10,
        batch_units=batch_units,
        longest_call=longest_call,
    )


def limit_of(limits: ProviderLimits, per: Per = Per.MAILBOX) -> int:
    """Units per window."""
    bucket = limits.smallest(per)
    assert bucket is not None
    return bucket.limit


class NothingOwed:
    """Watermarks of mailboxes that have called nothing yet."""

    async def cover(self, units: Mapping[str, int], *, many: Collection[str] = ()) -> Mapping[str, Mark]:  # noqa: ARG002 - the port's
        """Allow everything."""
        return dict.fromkeys(units, Mark(allows=Level.MANY, owes=Level.NONE))

    def called(self, identities: Iterable[str]) -> None:
        """It stays so."""

    async def recent(self) -> Recent:
        """None."""
        return Recent(many=0, few=0)


def shared_quota(
    redis: Redis,
    pool: Pool,
    *,
    limits: ProviderLimits,
    provider: str = "google",
    metrics: QuotaMetrics | None = None,
) -> Quota:
    """The quota of a process, put together as the registry of providers does."""
    watermarks = PostgresWatermarks(pool, provider, limits)
    return tracked(Quota(redis, limits=limits, watermarks=watermarks, metrics=metrics))
