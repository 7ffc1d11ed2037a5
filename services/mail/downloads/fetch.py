"""Raw messages and attachments: from the disk, or from the provider onto the disk and then from there."""

import asyncio
import hashlib
import os
import re
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog

from services.kit.errors import AppError, Kind, service_unavailable
from services.mail.content.headers.filenames import name_download, sanitise_filename
from services.mail.content.model import Attachment
from services.mail.downloads.disk_cache import DiskCache, Draft
from services.mail.ids import PublicId
from services.mail.model import Mailbox
from services.mail.provider_access.calls import ProviderAccess
from services.mail.provider_access.quota import QuotaUnavailableError, QuotaWaitError
from services.mail.providers.base import (
    AccessDeniedError,
    DownloadSource,
    MessageGoneError,
    PartMissingError,
    ProviderError,
    ProviderUnavailableError,
    RateLimitedError,
    RejectedError,
    TooConcurrentError,
    Write,
)
from services.mail.store.connection import Pool
from services.mail.store.reading import downloads as store

# Contents that are fetched at a time: each holds about 2 MB of memory and a file beyond the cache's bound.
_PARALLEL_FETCHES = 8
# Tries for what the provider may do better the next time ("Precondition check failed" is one of those).
_ATTEMPTS = 3
_PAUSE_SECONDS = 0.5
_PATIENCE = 20.0
# What a client shall wait before it asks again.
_RETRY_SECONDS = 5
# For all of them together.
_FETCH_SECONDS = 120
_KEY = re.compile(r"(\d{1,18})-(\d{1,18})-[0-9a-f]{64}", re.ASCII)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """Where bytes can be read and what to call them. `etag` changes with the bytes."""

    key: str
    mailbox: Mailbox
    filename: str
    mime_type: str
    units: int
    copy: Callable[[str, Write], Coroutine[Any, Any, None]]

    @property
    def etag(self) -> str:
        """Messages never change at a provider, so whose bytes they are says which bytes they are."""
        return hashlib.sha256(f"etag {self.key}".encode()).hexdigest()[:32]


@dataclass(slots=True)
class _Fetch:
    """A fetch under way, for all who wait for it."""

    task: asyncio.Task[int]
    waiting: int = 0


class Downloads:
    """Finds what users download and opens it. `sources` are the providers by name.

    `patience` is how many seconds a user may wait for quota, of which workers in mid-sync leave little.
    """

    def __init__(
        self,
        pool: Pool,
        *,
        sources: Mapping[str, DownloadSource],
        access: ProviderAccess,
        cache: DiskCache,
        patience: float = _PATIENCE,
    ) -> None:
        self._pool = pool
        self._sources = sources
        self._access = access
        self._patience = patience
        self._cache = cache
        self._fetches: dict[str, _Fetch] = {}
        self._slots = asyncio.Semaphore(_PARALLEL_FETCHES)

    async def raw(self, user_id: UUID, message_id: PublicId | None) -> Download:
        """The message as RFC 5322. Raises AppError message_not_found."""
        found = await self._find(user_id, message_id)
        source = self._sources[found.mailbox.provider]
        return Download(
            key=_key(found, "raw"),
            mailbox=found.mailbox,
            filename=f"{_title(found.subject or '') or 'message'}.eml",
            mime_type="message/rfc822",
            units=source.raw_units,
            copy=lambda token, write: source.copy_raw(token, found.external_id, write),
        )

    async def attachment(self, user_id: UUID, message_id: PublicId | None, part_id: str) -> Download:
        """One attachment. Raises AppError message_not_found, attachment_not_found."""
        found = await self._find(user_id, message_id)
        attachment = next((item for item in found.attachments if item.part_id == part_id), None)
        if attachment is None:
            raise _no_attachment()
        source = self._sources[found.mailbox.provider]
        return Download(
            key=_key(found, f"part {part_id}"),
            mailbox=found.mailbox,
            filename=_filename(attachment),
            mime_type=attachment.mime_type,
            units=source.part_units,
            copy=lambda token, write: source.copy_part(token, found.external_id, part_id, write),
        )

    async def open(self, download: Download) -> int:
        """A descriptor of the download's bytes, for the caller to read with pread and to close. Raises AppError.

        Who asks for what is being fetched waits for the same fetch, which ends when nobody waits any more.
        """
        cached = await asyncio.to_thread(self._cache.read, download.key)
        if cached is not None:
            return cached
        fetch = self._fetches.get(download.key)
        if fetch is None:
            fetch = self._fetches[download.key] = _Fetch(asyncio.create_task(self._fetch(download)))
        fetch.waiting += 1
        try:
            await asyncio.wait({fetch.task})
            return os.dup(fetch.task.result())
        except (ProviderError, QuotaWaitError) as error:
            raise _to_app_error(error) from error
        finally:
            fetch.waiting -= 1
            if not fetch.waiting:
                del self._fetches[download.key]
                _release(fetch.task)

    async def _find(self, user_id: UUID, message_id: PublicId | None) -> store.DownloadableMessage:
        found = None
        if message_id is not None:
            async with self._pool.acquire() as connection:
                found = await store.find(connection, user_id, message_id.mailbox_id, message_id.local_id)
        if found is None:
            raise AppError(Kind.NOT_FOUND, "message_not_found", "There is no such message.")
        return found

    async def _fetch(self, download: Download) -> int:
        async with self._slots:
            try:
                async with asyncio.timeout(_FETCH_SECONDS):
                    return await self._fetch_patiently(download)
            except TimeoutError as error:
                raise ProviderUnavailableError(f"nothing within {_FETCH_SECONDS} s") from error

    async def _fetch_patiently(self, download: Download) -> int:
        for attempt in range(_ATTEMPTS):
            try:
                return await self._fetch_once(download)
            except (ProviderUnavailableError, RejectedError, TooConcurrentError) as error:
                log.info("download not fetched", attempt=attempt, error=str(error))
                if attempt + 1 == _ATTEMPTS:
                    raise
                await asyncio.sleep(_PAUSE_SECONDS)
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _fetch_once(self, download: Download) -> int:
        draft = await asyncio.to_thread(self._cache.draft)
        try:
            await self._access.calls(download.mailbox).call(
                download.units, lambda token: download.copy(token, _writer(draft)), patience=self._patience
            )
            return self._cache.keep(draft, download.key)
        except BaseException:
            # Not in a thread: a cancelled task may wait for nothing more.
            draft.discard()
            raise


def _writer(draft: Draft) -> Write:
    async def write(data: bytes) -> None:
        writing = asyncio.ensure_future(asyncio.to_thread(draft.write, data))
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            # The thread cannot be stopped, and its file must not be closed beneath it.
            await asyncio.wait({writing})
            raise

    return write


def _release(task: asyncio.Task[int]) -> None:
    """Ends a fetch that nobody waits for, or closes what it brought."""

    def close(done: asyncio.Task[int]) -> None:
        if not done.cancelled() and done.exception() is None:
            os.close(done.result())

    task.cancel()
    task.add_done_callback(close)


def message_of_key(key: str) -> PublicId:
    """The message whose content a key names; zeros for what is no key."""
    match = _KEY.fullmatch(key)
    return PublicId(int(match[1]), int(match[2])) if match else PublicId(0, 0)


def _key(found: store.DownloadableMessage, what: str) -> str:
    digest = hashlib.sha256(f"{found.external_id}/{what}".encode()).hexdigest()
    return f"{found.mailbox.mailbox_id}-{found.message_id}-{digest}"


def _title(subject: str) -> str:
    """A subject as a file name: it is no path, whatever slashes it has."""
    return sanitise_filename(re.sub(r"[/\\]", "_", subject))


def _filename(attachment: Attachment) -> str:
    return name_download(attachment.filename, mime_type=attachment.mime_type, part_id=attachment.part_id)


def _rate_limited(seconds: float) -> AppError:
    return AppError(
        Kind.RATE_LIMITED,
        "provider_rate_limited",
        "The provider's quota for this mailbox is used up for the moment.",
        {"retry_after": str(max(1, round(seconds)))},
    )


def _no_attachment() -> AppError:
    return AppError(Kind.NOT_FOUND, "attachment_not_found", "The message has no such attachment.")


def _to_app_error(error: ProviderError | QuotaWaitError) -> AppError:
    match error:
        case MessageGoneError():
            return AppError(Kind.GONE, "message_gone", "The provider does not have this message any more.")
        case PartMissingError():
            return _no_attachment()
        case AccessDeniedError():
            return AppError(Kind.CONFLICT, "provider_access_denied", "The provider does not allow this.")
        case RateLimitedError():
            return _rate_limited(error.retry_after)
        case QuotaUnavailableError():
            return service_unavailable("A store")
        case QuotaWaitError():
            return _rate_limited(error.seconds)
        case _:
            # Tried often enough here: whoever asks shall not try again at once.
            later = {"retry_after": str(_RETRY_SECONDS)}
            return AppError(
                Kind.UNAVAILABLE, "provider_unavailable", "The provider cannot be reached, try again later.", later
            )
