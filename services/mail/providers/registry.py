"""The mail providers by the names that auth uses, built from the settings. New providers are registered here."""

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final
from uuid import UUID

from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from services.kit.http.jwks import RETRY_INTERVAL, keys_at
from services.kit.http.outbound import Egress, create_http_client
from services.kit.jwks import KeySet
from services.kit.observe.http_calls import CallObserver
from services.mail.provider_access.calls import ProviderAccess
from services.mail.provider_access.concurrency import ConcurrencyLimit
from services.mail.provider_access.provider_tokens import ProviderTokenCache, TokenSource
from services.mail.provider_access.quota import Quota
from services.mail.provider_access.quota_metrics import QuotaMetrics
from services.mail.provider_access.watermarks import PostgresWatermarks
from services.mail.providers.base import DownloadSource, Provider, ProviderUnavailableError
from services.mail.providers.gmail.adapter import GmailProvider
from services.mail.providers.gmail.downloads import GmailDownloads
from services.mail.providers.gmail.http.client import create_gmail_client
from services.mail.providers.gmail.http.exchange import Exchange
from services.mail.providers.gmail.push import GmailPush
from services.mail.providers.imap.adapter import open_imap, open_imap_downloads
from services.mail.providers.imap.servers import imap_limits
from services.mail.providers.limits import ProviderLimits
from services.mail.providers.notifications import NotificationSource
from services.mail.providers.settings import NotificationSettings, ProviderSettings
from services.mail.store.connection import Pool

GOOGLE: Final = "google"
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
    servers = {name: imap_limits(name) for name in settings.mail_servers}
    return {GOOGLE: settings.gmail_limits, **servers}


@asynccontextmanager
async def open_adapters(
    settings: ProviderSettings, *, pool: Pool, redis: Redis, holder: UUID, observer: CallObserver
) -> AsyncIterator[Mapping[str, Provider]]:
    """Open the adapters. Callers limit their calls: connections are opened as needed, and held by `holder`."""
    async with (
        create_gmail_client(observer=observer) as http,
        open_imap(settings, pool=pool, redis=redis, holder=holder) as imap,
    ):
        gmail = GmailProvider(
            http,
            api_url=settings.gmail_api_url,
            batch_url=settings.batch_url,
            costs=settings.gmail_costs,
            push_topic=settings.gmail_push_topic,
        )
        yield {GOOGLE: gmail, **imap}


@asynccontextmanager
async def open_download_sources(
    settings: ProviderSettings, *, pool: Pool, redis: Redis, observer: CallObserver
) -> AsyncIterator[Mapping[str, DownloadSource]]:
    """Open the sources of raw messages and attachments. Connections are opened as needed."""
    async with (
        create_gmail_client(observer=observer) as http,
        open_imap_downloads(settings, pool=pool, redis=redis) as imap,
    ):
        gmail = GmailDownloads(Exchange(http), api_url=settings.gmail_api_url, costs=settings.gmail_costs)
        yield {GOOGLE: gmail, **imap}


@asynccontextmanager
async def open_notification_sources(
    settings: NotificationSettings, *, observer: CallObserver
) -> AsyncIterator[Mapping[str, NotificationSource]]:
    """Open the sources that verify and parse notifications, of the providers for which the settings name a sender."""
    if settings.push_sender is None:
        yield {}
        return
    async with create_http_client(observer=observer, name_call=lambda _: "google.keys") as http:
        fetch = keys_at(settings.google_jwks_url, egress=Egress(http, unavailable=ProviderUnavailableError))
        keys = KeySet(fetch, algorithm="RS256", retry_interval=RETRY_INTERVAL, monotonic=time.monotonic)
        yield {GOOGLE: GmailPush(settings.push_sender, keys=keys)}
