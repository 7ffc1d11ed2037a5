"""Quota as tests need it."""

import weakref
from collections.abc import Collection, Iterable, Mapping

from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from services.mail.provider_access.quota import Quota, QuotaProfile
from services.mail.provider_access.quota_metrics import QuotaMetrics
from services.mail.provider_access.watermarks import Mark, PostgresWatermarks
from services.mail.store.connection import Pool

_made: weakref.WeakSet[Quota] = weakref.WeakSet()


def tracked(quota: Quota) -> Quota:
    """Return the quota, whose reports are sent before the next test counts."""
    _made.add(quota)
    return quota


async def flush_tracked() -> None:
    """Send the reports of all quotas of earlier tests: a later one would count in the next test."""
    for quota in list(_made):
        await quota.flush()
    _made.clear()


class NothingOwed:
    """Watermarks of mailboxes that have called nothing yet."""

    async def cover(self, units: Mapping[int, int], *, many: Collection[int] = ()) -> Mapping[int, Mark]:  # noqa: ARG002 - the port's
        """Allow everything."""
        return dict.fromkeys(units, Mark(allowed=10**12, owes=0))

    def called(self, mailbox_ids: Iterable[int]) -> None:
        """It stays so."""

    async def project_owes(self) -> int:
        """Nothing."""
        return 0


def shared_quota(
    redis: Redis, pool: Pool, *, profile: QuotaProfile, batch_units: int, registry: CollectorRegistry | None = None
) -> Quota:
    """The quota of a process, put together as the registry of providers does."""
    watermarks = PostgresWatermarks(
        pool, mailbox_limit=profile.mailbox_limit, window=profile.window, longest_call=profile.longest_call
    )
    metrics = QuotaMetrics(registry or CollectorRegistry())
    return tracked(Quota(redis, profile=profile, batch_units=batch_units, watermarks=watermarks, metrics=metrics))
