"""What a mail provider has to offer, and how it fails. Adding a provider means one more adapter beside this file."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

from services.mail.model import HistoryDelta, Label, ListedId, ProviderMessage

# Seconds to leave a mailbox alone after too many concurrent requests: providers do not say how long.
CONCURRENCY_PAUSE: Final = 2.0


class ProviderError(Exception):
    """A provider's failure. `reason` is stable snake_case, as in docs/errors.md."""

    reason = "provider_error"

    def __init__(self, detail: str = "") -> None:
        super().__init__(f"{self.reason}: {detail}")
        self.detail = detail


class ProviderUnavailableError(ProviderError):
    """A server error, a time-out, a broken answer: try again later."""

    reason = "provider_unavailable"


class TokenRefusedError(ProviderError):
    """The access token is not accepted (any more)."""

    reason = "token_refused"


class AccessDeniedError(ProviderError):
    """The grant does not allow this, and trying again will not change that."""

    reason = "access_denied"


class LimitError(ProviderError):
    """A limit of the provider is met. `retry_after` is in seconds; `whole_project`: for other mailboxes too."""

    def __init__(self, detail: str, *, retry_after: float, whole_project: bool = False) -> None:
        super().__init__(detail)
        self.retry_after = retry_after
        self.whole_project = whole_project


class RateLimitedError(LimitError):
    """Quota is used up."""

    reason = "rate_limited"


class TooConcurrentError(LimitError):
    """Too many requests of this mailbox at the same time; requests of other applications count, too."""

    reason = "too_many_concurrent_requests"

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail, retry_after=CONCURRENCY_PAUSE)


class MessageGoneError(ProviderError):
    """The message does not exist (any more)."""

    reason = "message_gone"


class NotInThreadError(ProviderError):
    """A get of the thread did not bring the message; a get of its own decides what became of it."""

    reason = "not_in_thread"


class PartMissingError(ProviderError):
    """The message is there, but has no such part."""

    reason = "part_missing"


class RejectedError(ProviderError):
    """The provider refuses this very request; a repeat is pointless or nearly so."""

    reason = "rejected_by_provider"


class UnreadableMessageError(ProviderError):
    """The provider's answer for a message makes no sense."""

    reason = "unreadable_message"


class CursorLostError(ProviderError):
    """History from this cursor is no longer kept: list everything and compare."""

    reason = "cursor_lost"


class HistoryRestartedError(CursorLostError):
    """The present is behind the cursor: the provider has begun its history anew, or this one answer lags."""


class PageTokenExpiredError(ProviderError):
    """The listing has to begin from the top."""

    reason = "page_token_expired"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitCosts:
    """Quota units per call."""

    profile: int
    list_page: int
    labels: int
    history_page: int
    get: int
    thread: int
    attachment: int
    watch: int
    stop: int


@dataclass(frozen=True, slots=True, kw_only=True)
class IdPage:
    """A page of message ids in the provider's order; no `next_page_token`: the last one. A page may be empty."""

    listed: list[ListedId]
    next_page_token: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Get:
    """One call for wanted messages: for one of them, or for the thread that holds them all."""

    external_ids: tuple[str, ...]
    thread_id: str | None
    units: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryPage:
    """A page of history. `last_record` is the highest record in it, `latest` the mailbox's present cursor."""

    changes: HistoryDelta
    last_record: int | None
    latest: int
    next_page_token: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PartialMessage:
    """A message whose text has to be fetched apart, for `units` of quota; `source` is the adapter's own."""

    external_id: str
    units: int
    source: Any


# What became of each wanted message.
FetchResult = ProviderMessage | PartialMessage | ProviderError


class Provider(Protocol):
    """One provider's API. Methods raise ProviderError; `access_token` is an OAuth bearer token (RFC 6750)."""

    costs: UnitCosts
    # How many ids one page of a listing should hold.
    page_size: int
    # Whether the provider can be made to announce changes: see `watch`.
    can_push: bool

    async def current_cursor(self, access_token: str) -> int | None:
        """The mailbox's present history cursor; None if the provider has no way to tell."""
        ...

    async def version(self, access_token: str, external_id: str) -> int | None:
        """The version of one message; None if the provider does not tell. Raises MessageGoneError."""
        ...

    async def list_ids(
        self,
        access_token: str,
        *,
        page_token: str | None,
        page_size: int,
        include_spam_trash: bool,
        label_id: str | None = None,
    ) -> IdPage:
        """A page of message ids, newest first. Raises PageTokenExpiredError."""
        ...

    async def list_changes(self, access_token: str, *, cursor: int, page_token: str | None) -> HistoryPage:
        """A page of what happened after `cursor`. Raises CursorLostError."""
        ...

    async def list_labels(self, access_token: str) -> list[Label]:
        """All labels of the mailbox."""
        ...

    async def fetch(self, access_token: str, gets: Sequence[Get]) -> Mapping[str, FetchResult]:
        """The wanted messages by id, or per message why not. Raises only what concerns the call as a whole."""
        ...

    async def complete(self, access_token: str, partial: PartialMessage) -> ProviderMessage:
        """The whole message, its missing text fetched."""
        ...

    async def watch(self, access_token: str) -> datetime:
        """Has changes announced from now on; returns when that ends. A repeat renews it."""
        ...

    async def stop(self, access_token: str) -> None:
        """Ends the announcements, where there are any."""
        ...


# Takes the next bytes of a content.
type Write = Callable[[bytes], Awaitable[None]]


class DownloadSource(Protocol):
    """A provider's bytes, in pieces and bounded memory. Methods raise ProviderError, maybe after some were written."""

    # What a call of each costs.
    raw_units: int
    part_units: int

    async def copy_raw(self, access_token: str, external_id: str, write: Write) -> None:
        """The RFC 5322 bytes of a message. Raises MessageGoneError."""
        ...

    async def copy_part(self, access_token: str, external_id: str, part_id: str, write: Write) -> None:
        """The bytes of one part, without its transfer encoding. Raises MessageGoneError, PartMissingError."""
        ...
