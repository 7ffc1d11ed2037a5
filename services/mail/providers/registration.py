"""How an adapter is entered in the registry: what the processes of mail need of a provider's folder."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

from services.kit.observe.http_calls import CallObserver
from services.mail.provider_access.quota import Quota
from services.mail.providers.base import DownloadSource, Provider
from services.mail.providers.limits import ProviderLimits
from services.mail.providers.notifications import NotificationSource
from services.mail.store.connection import Pool


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """The parts of a process that adapters share; quotas by provider."""

    pool: Pool
    quotas: Mapping[str, Quota]
    observer: CallObserver


@asynccontextmanager
async def no_notifications(settings: object, observer: CallObserver) -> AsyncIterator[Mapping[str, NotificationSource]]:
    """Open nothing, for a provider that sends no requests."""
    del settings, observer
    yield {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration[Settings, NotificationSettings]:
    """A folder's providers by the names that auth uses, built from their settings. Connections are opened as needed.

    `adapters` may hold connections across turns, under the id of the process. A provider that sends no requests, or
    whose settings name no sender, has no source of notifications.
    """

    limits: Callable[[Settings], Mapping[str, ProviderLimits]]
    adapters: Callable[[Settings, Resources, UUID], AbstractAsyncContextManager[Mapping[str, Provider]]]
    downloads: Callable[[Settings, Resources], AbstractAsyncContextManager[Mapping[str, DownloadSource]]]
    notifications: Callable[
        [NotificationSettings, CallObserver], AbstractAsyncContextManager[Mapping[str, NotificationSource]]
    ] = no_notifications
