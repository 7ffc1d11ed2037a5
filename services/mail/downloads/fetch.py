"""Raw messages and attachments, read from the disk cache or fetched from the provider into it."""

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
from services.kit.fair_share import FairShare
from services.mail.content.headers.filenames import name_download, sanitise_filename
from services.mail.content.model import Attachment
from services.mail.downloads.disk_cache import DiskCache, Draft
from services.mail.ids import PublicId
from services.mail.model import Mailbox
from services.mail.provider_access.calls import ProviderAccess
from services.mail.provider_access.quota import QuotaUnavailableError, QuotaWaitError
from services.mail.providers.base import DownloadSession, DownloadSource, Write
from services.mail.providers.errors import (
    AccessDeniedError,
    MessageGoneError,
    PartMissingError,
    ProviderError,
    ProviderUnavailableError,
    RateLimitedError,
    RejectedError,
    TooConcurrentError,
)
from services.mail.store.connection import Pool
from services.mail.store.reading import downloads as store

# Fetches at a time, and those of one user. Each one holds about 2 MB of memory and a file beyond the cache's bound.
_PARALLEL_FETCHES = 8
_FETCHES_PER_USER = 3
_MOST_WAITING = 64
# Attempts per download. Rejections such as "Precondition check failed" often pass on the next one.
_ATTEMPTS = 3
_PAUSE_SECONDS = 0.5
_PATIENCE = 20.0
# Retry-After of a failed download.
_RETRY_SECONDS = 5
# Seconds for all attempts of a download.
_FETCH_SECONDS = 120
_KEY = re.compile(r"(\d{1,18})-(\d{1,18})-[0-9a-f]{64}", re.ASCII)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """A download's metadata and the function that copies its bytes from the provider."""

    key: str
    mailbox: Mailbox
    filename: str
    mime_type: str
    units: int
    copy: Callable[[DownloadSession, Write], Coroutine[Any, Any, None]]

    @property
    def etag(self) -> str:
        """Entity tag of the bytes, which a provider never changes.

        Derived from ids that the user knows: from our numbers, which count all mailboxes, the user could guess them.
        """
        content = self.key.rpartition("-")[2]
        return hashlib.sha256(f"etag {self.mailbox.account_id} {content}".encode()).hexdigest()[:32]


@dataclass(slots=True)
class _Fetch:
    """A running fetch, shared by all calls that wait for it."""

    task: asyncio.Task[int]
    waiting: int = 0


class Downloads:
    """Downloads of users' messages. `sources` maps provider names to their download sources.

    `patience` is how long a download waits for quota, in seconds: during a sync the workers leave little of it.
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
        self._slots = FairShare(
            _PARALLEL_FETCHES, per_user=_FETCHES_PER_USER, waiting=_MOST_WAITING, work="downloads are running"
        )

    async def raw(self, user_id: UUID, message_id: PublicId | None) -> Download:
        """Return the download of a message in RFC 5322 form. Raises AppError message_not_found."""
        found = await self._find(user_id, message_id)
        source = self._sources[found.mailbox.provider]
        return Download(
            key=_key(found, "raw"),
            mailbox=found.mailbox,
            filename=f"{_title(found.subject or '') or 'message'}.eml",
            mime_type="message/rfc822",
            units=source.raw_units,
            copy=lambda session, write: session.copy_raw(found.external_id, write),
        )

    async def attachment(self, user_id: UUID, message_id: PublicId | None, part_id: str) -> Download:
        """Return the download of an attachment. Raises AppError message_not_found, attachment_not_found."""
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
            copy=lambda session, write: session.copy_part(found.external_id, part_id, write),
        )

    async def open(self, download: Download) -> int:
        """Return a descriptor of the download's bytes. The caller reads it with pread and closes it.

        Concurrent calls for the same download share one fetch, which is cancelled when the last of them gives up.
        Raises AppError.
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
        mailbox = download.mailbox
        # The slot comes after the quota: a mailbox that waits for quota must not keep others from theirs.
        async with self._sources[mailbox.provider].open(mailbox, self._access.tokens_of(mailbox)) as session:
            return await self._access.calls(mailbox).call(
                download.units, lambda: self._copy(download, session), patience=self._patience
            )

    async def _copy(self, download: Download, session: DownloadSession) -> int:
        async with self._slots.of(str(download.mailbox.user_id)):
            draft = await asyncio.to_thread(self._cache.draft)
            try:
                await download.copy(session, _writer(draft))
                return self._cache.keep(draft, download.key)
            except BaseException:
                # Not in a thread: this task may be cancelled and must not wait again.
                draft.discard()
                raise


def _writer(draft: Draft) -> Write:
    async def write(data: bytes) -> None:
        writing = asyncio.ensure_future(asyncio.to_thread(draft.write, data))
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            # The thread cannot be stopped, and must not write to a closed file.
            await asyncio.wait({writing})
            raise

    return write


def _release(task: asyncio.Task[int]) -> None:
    """Cancel a fetch without waiting calls, or close its descriptor if it has ended."""

    def close(done: asyncio.Task[int]) -> None:
        if not done.cancelled() and done.exception() is None:
            os.close(done.result())

    task.cancel()
    task.add_done_callback(close)


def message_of_key(key: str) -> PublicId:
    """Return the id of the message whose content has this key; zeros for a malformed key."""
    match = _KEY.fullmatch(key)
    return PublicId(int(match[1]), int(match[2])) if match else PublicId(0, 0)


def _key(found: store.DownloadableMessage, what: str) -> str:
    digest = hashlib.sha256(f"{found.external_id}/{what}".encode()).hexdigest()
    return f"{found.mailbox.mailbox_id}-{found.message_id}-{digest}"


def _title(subject: str) -> str:
    """Return a subject as a file name. Slashes are replaced: a subject is not a path."""
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
            # The attempts here are used up, so the client must pause before its own.
            later = {"retry_after": str(_RETRY_SECONDS)}
            return AppError(
                Kind.UNAVAILABLE, "provider_unavailable", "The provider cannot be reached, try again later.", later
            )
