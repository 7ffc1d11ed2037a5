"""The mail providers by the names that auth uses, built from the settings. New providers are registered here."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final
from uuid import UUID

from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from services.kit.observe.http_calls import CallObserver
from services.mail.provider_access.calls import ProviderAccess
from services.mail.provider_access.concurrency import ConcurrencyLimit
from services.mail.provider_access.provider_tokens import ProviderTokenCache, TokenSource
from services.mail.provider_access.quota import Quota
from services.mail.provider_access.quota_metrics import QuotaMetrics
from services.mail.provider_access.watermarks import PostgresWatermarks
from services.mail.providers.base import DownloadSource, Provider
from services.mail.providers.gmail.registration import GMAIL
from services.mail.providers.gmail.registration import NAME as GOOGLE
from services.mail.providers.imap.adapter import IMAP
from services.mail.providers.limits import ProviderLimits
from services.mail.providers.notifications import NotificationSource
from services.mail.providers.registration import Registration, Resources
from services.mail.providers.settings import NotificationSettings, ProviderSettings
from services.mail.store.connection import Pool

_PROVIDERS: Final[tuple[Registration[ProviderSettings, NotificationSettings], ...]] = (
    GMAIL,
    IMAP,
)
# The provider of a notification that names none: gateways of earlier releases know this one only.
FIRST_NOTIFIER: Final = GOOGLE


def provider_access(
    settings: ProviderSettings, *, redis: Redis, pool: Pool, auth: TokenSource, registry: CollectorRegistry
) -> ProviderAccess:
    """Create the access to quota and tokens. Processes with the same Redis and settings share the quota."""
    metrics = QuotaMetrics(registry)
    return ProviderAccess(
        quotas={
            provider: Quota(
                redis, limits=limits, watermarks=PostgresWatermarks(pool, provider, limits), metrics=metrics
            )
            for provider, limits in provider_limits(settings).items()
        },
        concurrency_limit=ConcurrencyLimit(redis),
        tokens=ProviderTokenCache(auth),
    )


def provider_limits(settings: ProviderSettings) -> Mapping[str, ProviderLimits]:
    """Return the limits of each provider."""
    return {name: limits for each in _PROVIDERS for name, limits in each.limits(settings).items()}


@asynccontextmanager
async def open_adapters(
    settings: ProviderSettings, *, pool: Pool, access: ProviderAccess, holder: UUID, observer: CallObserver
) -> AsyncIterator[Mapping[str, Provider]]:
    """Open the adapters. Callers limit their calls: connections are opened as needed, and held by `holder`."""
    resources = Resources(pool=pool, quotas=access.quotas, observer=observer)
    opened: dict[str, Provider] = {}
    async with AsyncExitStack() as stack:
        for each in _PROVIDERS:
            opened |= await stack.enter_async_context(each.adapters(settings, resources, holder))
        yield opened


@asynccontextmanager
async def open_download_sources(
    settings: ProviderSettings, *, pool: Pool, access: ProviderAccess, observer: CallObserver
) -> AsyncIterator[Mapping[str, DownloadSource]]:
    """Open the sources of raw messages and attachments. Connections are opened as needed."""
    resources = Resources(pool=pool, quotas=access.quotas, observer=observer)
    opened: dict[str, DownloadSource] = {}
    async with AsyncExitStack() as stack:
        for each in _PROVIDERS:
            opened |= await stack.enter_async_context(each.downloads(settings, resources))
        yield opened


@asynccontextmanager
async def open_notification_sources(
    settings: NotificationSettings, *, observer: CallObserver
) -> AsyncIterator[Mapping[str, NotificationSource]]:
    """Open the sources that verify and parse notifications, of the providers for which the settings name a sender."""
    opened: dict[str, NotificationSource] = {}
    async with AsyncExitStack() as stack:
        for each in _PROVIDERS:
            opened |= await stack.enter_async_context(each.notifications(settings, observer))
        yield opened
