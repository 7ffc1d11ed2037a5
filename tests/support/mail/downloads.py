"""Downloads on a stage: the real cache and quota, against the real sandbox."""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from redis.asyncio import Redis

from services.kit.tls.authorities import public_authorities
from services.mail.downloads.disk_cache import DiskCache
from services.mail.downloads.fetch import Download, Downloads
from services.mail.ids import PublicId
from services.mail.provider_access.calls import ProviderAccess
from services.mail.provider_access.concurrency import ConcurrencyLimit
from services.mail.provider_access.provider_tokens import ProviderTokenCache
from services.mail.providers.base import DownloadSource
from services.mail.providers.gmail.downloads import GmailDownloads
from services.mail.providers.gmail.http.exchange import Exchange
from services.mail.providers.gmail.limits import GMAIL_COSTS
from services.mail.providers.limits import ProviderLimits
from services.mail.read_model import MessageDetail
from tests.support.mail.quota import shared_quota
from tests.support.mail.running_worker import worker_limits
from tests.support.mail.stage import Stage


@dataclass
class StageDownloads:
    """Downloads from a stage's mailbox."""

    stage: Stage
    downloads: Downloads
    cache: DiskCache
    directory: Path

    async def raw(self, message: MessageDetail) -> bytes:
        """A message as it was sent."""
        return await self.read(await self.downloads.raw(self.stage.user_id, _id(message)))

    async def attachment(self, message: MessageDetail, part_id: str) -> bytes:
        """One attachment."""
        return await self.read(await self.downloads.attachment(self.stage.user_id, _id(message), part_id))

    async def read(self, download: Download) -> bytes:
        """All of its bytes."""
        with os.fdopen(await self.downloads.open(download), "rb") as file:
            return os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0)

    def files(self) -> list[str]:
        """What is on the disk."""
        return sorted(path.name for path in self.directory.iterdir())


def _id(message: MessageDetail) -> PublicId:
    return PublicId(message.summary.mailbox_id, message.summary.message_id)


@asynccontextmanager
async def downloads(
    stage: Stage,
    directory: Path,
    *,
    max_bytes: int = 1 << 30,
    patience: float = 20.0,
    timeout: float = 10.0,
    redis: Redis | None = None,
    further: Mapping[str, DownloadSource] = {},
    further_limits: Mapping[str, ProviderLimits] = {},
) -> AsyncIterator[StageDownloads]:
    """The stage's downloads, cached in `directory`."""
    servers = stage.servers
    cache = DiskCache(directory, max_bytes=max_bytes, max_age=3600)
    cache.open()
    access = ProviderAccess(
        quotas={
            name: shared_quota(redis or servers.redis, servers.mail_pool, limits=limits)
            for name, limits in {"google": worker_limits(), **further_limits}.items()
        },
        concurrency_limit=ConcurrencyLimit(servers.redis),
        tokens=ProviderTokenCache(stage.auth),
    )
    async with httpx.AsyncClient(timeout=timeout, trust_env=False, verify=public_authorities(trust_env=False)) as http:
        source = GmailDownloads(Exchange(http), api_url=servers.sandbox.url, costs=GMAIL_COSTS["2026-05"])
        yield StageDownloads(
            stage,
            Downloads(
                servers.mail_pool,
                sources={"google": source, **further},
                access=access,
                cache=cache,
                patience=patience,
            ),
            cache,
            directory,
        )
