"""Contents on a stage: the real cache and quota, against the real sandbox."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from services.mail.downloads.disk_cache import DiskCache
from services.mail.downloads.fetch import Content, Contents
from services.mail.ids import PublicId
from services.mail.provider_access.access_tokens import AccessTokens
from services.mail.provider_access.calls import ProviderCalls
from services.mail.provider_access.concurrency import ConcurrencyLimit
from services.mail.provider_access.quota import Quota
from services.mail.providers.gmail.downloads import GmailContent
from services.mail.read_model import MessageDetail
from tests.support.mail.running_worker import BATCH_SIZE, quota_profile
from tests.support.mail.stage import Stage


@dataclass
class Downloads:
    """The contents of a stage's mailbox as its user reads them."""

    stage: Stage
    contents: Contents
    cache: DiskCache
    directory: Path

    async def raw(self, message: MessageDetail) -> bytes:
        """A message as it was sent."""
        return await self.read(await self.contents.raw(self.stage.user_id, _id(message)))

    async def attachment(self, message: MessageDetail, part_id: str) -> bytes:
        """One attachment."""
        return await self.read(await self.contents.attachment(self.stage.user_id, _id(message), part_id))

    async def read(self, content: Content) -> bytes:
        """All of a content."""
        with os.fdopen(await self.contents.open(content), "rb") as file:
            return os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0)

    def files(self) -> list[str]:
        """What is on the disk."""
        return sorted(path.name for path in self.directory.iterdir())


def _id(message: MessageDetail) -> PublicId:
    return PublicId(message.summary.mailbox_id, message.summary.message_id)


@asynccontextmanager
async def downloads(
    stage: Stage, directory: Path, *, max_bytes: int = 1 << 30, patience: float = 20.0, timeout: float = 10.0
) -> AsyncIterator[Downloads]:
    """The stage's contents, cached in `directory`."""
    servers, profile = stage.servers, quota_profile()
    cache = DiskCache(directory, max_bytes=max_bytes, max_age=3600)
    cache.open()
    calls = ProviderCalls(
        quota=Quota(servers.redis, profile=profile, batch_units=profile.costs.get * BATCH_SIZE),
        concurrency_limit=ConcurrencyLimit(servers.redis, batch_size=BATCH_SIZE),
        tokens=AccessTokens(stage.auth),
        patience=patience,
    )
    async with httpx.AsyncClient(timeout=timeout, trust_env=False) as http:
        source = GmailContent(http, api_url=servers.sandbox.url, costs=profile.costs)
        yield Downloads(
            stage, Contents(stage.pool, sources={"google": source}, calls=calls, cache=cache), cache, directory
        )
