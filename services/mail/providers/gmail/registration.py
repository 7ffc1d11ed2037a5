"""Gmail's entry in the registry."""

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final
from uuid import UUID

from services.kit.http.jwks import RETRY_INTERVAL, keys_at
from services.kit.http.outbound import Egress, create_http_client
from services.kit.jwks import KeySet
from services.kit.observe.http_calls import CallObserver
from services.mail.providers.base import DownloadSource, Provider
from services.mail.providers.errors import ProviderUnavailableError
from services.mail.providers.gmail.adapter import GmailProvider
from services.mail.providers.gmail.downloads import GmailDownloads
from services.mail.providers.gmail.http.client import create_gmail_client
from services.mail.providers.gmail.http.exchange import Exchange
from services.mail.providers.gmail.push import GmailPush
from services.mail.providers.gmail.settings import GmailPushSettings, GmailSettings
from services.mail.providers.limits import ProviderLimits
from services.mail.providers.notifications import NotificationSource
from services.mail.providers.registration import Registration, Resources

NAME: Final = "google"


def _limits(settings: GmailSettings) -> Mapping[str, ProviderLimits]:
    return {NAME: settings.gmail_limits}


@asynccontextmanager
async def _adapters(
    settings: GmailSettings, resources: Resources, holder: UUID
) -> AsyncIterator[Mapping[str, Provider]]:
    del holder
    async with create_gmail_client(observer=resources.observer) as http:
        gmail = GmailProvider(
            http,
            api_url=settings.gmail_api_url,
            batch_url=settings.batch_url,
            costs=settings.gmail_costs,
            push_topic=settings.gmail_push_topic,
        )
        yield {NAME: gmail}


@asynccontextmanager
async def _downloads(settings: GmailSettings, resources: Resources) -> AsyncIterator[Mapping[str, DownloadSource]]:
    async with create_gmail_client(observer=resources.observer) as http:
        yield {NAME: GmailDownloads(Exchange(http), api_url=settings.gmail_api_url, costs=settings.gmail_costs)}


@asynccontextmanager
async def _notifications(
    settings: GmailPushSettings, observer: CallObserver
) -> AsyncIterator[Mapping[str, NotificationSource]]:
    if settings.push_sender is None:
        yield {}
        return
    async with create_http_client(observer=observer, name_call=lambda _: "google.keys") as http:
        fetch = keys_at(settings.google_jwks_url, egress=Egress(http, unavailable=ProviderUnavailableError))
        keys = KeySet(fetch, algorithm="RS256", retry_interval=RETRY_INTERVAL, monotonic=time.monotonic)
        yield {NAME: GmailPush(settings.push_sender, keys=keys)}


GMAIL: Final = Registration[GmailSettings, GmailPushSettings](
    limits=_limits, adapters=_adapters, downloads=_downloads, notifications=_notifications
)
