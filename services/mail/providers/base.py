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
    """A server error, a time-out, a broken answer, or one that is not the provider's own: try again later."""

    reason = "provider_unavailable"


class NoAnswerError(ProviderUnavailableError):
    """The provider answered nothing in time, or the connection broke before it answered.

    Only calls that change nothing raise it, so a repeat is safe. A provider may have counted the lost call: a repeat
    takes its units anew. It is made over a connection opened after the loss.
    """


class RouteMissingError(ProviderUnavailableError):
    """The server has no such method: a proxy or an outage says so, or a stand-in that lacks it.

    It says nothing about what the call asked for. Only a stand-in keeps saying it while other methods work.
    """


class TokenRefusedError(ProviderError):
    """The access token is not accepted (any more)."""

    reason = "token_refused"


class AccessDeniedError(ProviderError):
    """The provider itself says that the grant does not allow this; only users or administrators can change that."""

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
    """The provider itself says that the message does not exist (any more)."""

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
    """The provider itself says that history from this cursor is no longer kept: list everything and compare."""

    reason = "cursor_lost"


class HistoryRestartedError(CursorLostError):
    """The present is behind the cursor: the provider has begun its history anew, or this one answer lags."""


class PageTokenExpiredError(ProviderError):
    """The provider itself refuses the page token: the listing has to begin from the top."""

    reason = "page_token_expired"


class LabelGoneError(ProviderError):
    """The provider itself says that the label to list by does not exist (any more)."""

    reason = "label_gone"


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
class Profile:
    """What the provider tells about a mailbox as a whole; None is what it does not tell.

    `cursor` is the present history cursor, `message_count` the provider's own count of messages (with or without Spam
    and Trash: few providers say), `address` the present primary address.
    """

    cursor: int | None = None
    message_count: int | None = None
    address: str | None = None


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
    """A page of history. `last_record` is the highest record in it, `latest` the mailbox's cursor at that moment.

    Pages can be of one snapshot, made for the first of them. What happened since then is in none of them, though later
    ones have a higher `latest`: after the last page the cursor is the first page's `latest`, or the highest record.
    """

    changes: HistoryDelta
    last_record: int | None
    latest: int
    next_page_token: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PartialMessage:
    """A message whose text has to be fetched apart; `source` is the adapter's own.

    `complete` takes exactly `units` of quota. The adapter bounds them: it fetches no text beyond what is stored.
    """

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
    # The labels that every mailbox has, for providers that do not list them.
    built_in_labels: Sequence[Label]

    async def profile(self, access_token: str) -> Profile:
        """What the provider tells about the mailbox; all None where it has no profiles."""
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
        """A page of message ids, newest first. Raises PageTokenExpiredError, LabelGoneError."""
        ...

    async def list_changes(self, access_token: str, *, cursor: int, page_token: str | None) -> HistoryPage:
        """A page of what happened after `cursor`.

        Raises CursorLostError, HistoryRestartedError, PageTokenExpiredError, and RouteMissingError from a provider that
        keeps no history.
        """
        ...

    async def list_labels(self, access_token: str) -> list[Label] | None:
        """All labels of the mailbox; None where the provider does not list them, which says nothing about any label."""
        ...

    async def fetch(self, access_token: str, gets: Sequence[Get], *, singly: bool = False) -> Mapping[str, FetchResult]:
        """The wanted messages by id, or per message why not. Raises only what concerns the call as a whole.

        An error of one message is that of its get, NoAnswerError included; NotInThreadError decides nothing.
        `singly`: each get is a request of its own, whatever else the provider offers.
        """
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
