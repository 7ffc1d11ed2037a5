"""The protocol of a mail provider. A new provider is a new adapter folder beside this file."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from services.mail.model import HistoryDelta, Label, ListedId, Mailbox, ProviderMessage
from services.mail.providers.errors import ProviderError
from services.mail.providers.limits import CallCosts
from services.mail.store.connection import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The provider's data about a mailbox as a whole. None means that the provider does not give the value.

    `cursor` is the current history cursor. `message_count` is the provider's own count of messages, with or without
    Spam and Trash: few providers say which. `address` is the current primary address.
    """

    cursor: int | None = None
    message_count: int | None = None
    address: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IdPage:
    """A page of message ids in the provider's order. The last page has no `next_page_token`; a page may be empty.

    `skips_none` on the last page: all pages show the mailbox as it was at one time, so none has skipped a message.
    """

    listed: list[ListedId]
    next_page_token: str | None
    skips_none: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Get:
    """A call that fetches wanted messages: a single one, or the thread that contains them all."""

    external_ids: tuple[str, ...]
    thread_id: str | None
    units: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryPage:
    """A page of history. `last_record` is its highest record, `latest` the mailbox's cursor at the time of the answer.

    All pages can show the snapshot of the first one. Later changes are then in none of them, although later pages have
    a higher `latest`. After the last page the cursor is the first page's `latest`, or the highest record. `is_resumed`:
    the adapter has stored how far it came, and goes on there when history is read from the same cursor. `needs_turn`:
    outside of turns, a turn is to look, though no change is known.
    """

    changes: HistoryDelta
    last_record: int | None
    latest: int
    next_page_token: str | None
    is_resumed: bool = False
    needs_turn: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PartialMessage:
    """A message with text that must be fetched separately. `source` is private to the adapter.

    `complete` takes exactly `units` of quota. The adapter bounds them: it fetches no text beyond the stored length.
    """

    external_id: str
    units: int
    source: Any


# The result for each wanted message.
FetchResult = ProviderMessage | PartialMessage | ProviderError


class Tokens(Protocol):
    """The access tokens of a mailbox's account: OAuth bearer tokens (RFC 6750).

    Methods raise what `ask` raises, and AppError as TokenSource.access_token does.
    """

    async def use[T](self, ask: Callable[[str], Awaitable[T]]) -> T:
        """Call `ask` with a token; if it raises TokenRefusedError, once more with another one."""
        ...

    async def use_another[T](self, ask: Callable[[str], Awaitable[T]]) -> T:
        """Call `ask` with another token than the last one, which was refused."""
        ...


# Opens a transaction that commits only while the turn holds the mailbox. Raises LeaseLostError when it does not.
type Writing = Callable[[], AbstractAsyncContextManager[Connection]]


class MailboxSession(Protocol):
    """Calls for one mailbox, one at a time but for `watch`, under units taken before. Methods raise ProviderError.

    They also raise AppError where no token can be had. TokenRefusedError means that a second token was refused too.
    """

    async def profile(self) -> Profile:
        """Return the provider's data about the mailbox; all values are None for a provider without profiles."""
        ...

    async def version(self, external_id: str) -> int | None:
        """Return the version of a message; None if the provider has none. Raises MessageGoneError."""
        ...

    async def list_ids(
        self,
        *,
        page_token: str | None,
        page_size: int,
        include_spam_trash: bool,
        label_id: str | None = None,
    ) -> IdPage:
        """Return a page of message ids, newest first. Raises PageTokenExpiredError, LabelGoneError."""
        ...

    async def list_changes(self, *, cursor: int, page_token: str | None) -> HistoryPage:
        """Return a page of the changes after `cursor`.

        Raises CursorLostError, HistoryRestartedError, PageTokenExpiredError; RouteMissingError for a provider without
        history.
        """
        ...

    async def list_labels(self) -> list[Label] | None:
        """Return all labels of the mailbox; None if the provider does not list labels: that proves no label missing."""
        ...

    async def list_send_as(self) -> list[str] | None:
        """Return the addresses that the user may send mail from; None where the provider does not list them."""
        ...

    async def fetch(self, gets: Sequence[Get], *, singly: bool = False) -> Mapping[str, FetchResult]:
        """Return the wanted messages by id, with an error for each message that failed.

        Raises only errors of the call as a whole. An error of a get, NoAnswerError included, is the result of its
        messages. NotInThreadError leaves open whether the message exists. `singly` sends each get as a request of its
        own: those that are not sent any more, after one that met a limit or got no answer, have no result, or are
        postponed.
        """
        ...

    async def complete(self, partial: PartialMessage) -> ProviderMessage:
        """Fetch the missing text of a message; return the whole message."""
        ...

    async def watch(self) -> datetime:
        """Request announcements of changes, or renew them; return when they end."""
        ...

    async def stop(self) -> None:
        """Stop the announcements; does nothing if there are none."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchTimes:
    """Seconds after which a watch is renewed, long before its end, and for how long an announcement can hide others.

    A provider may announce nothing that changes within `echo` seconds of an announced change, or of a new watch.
    """

    renew: float
    echo: float


class Provider(Protocol):
    """A provider of mailboxes."""

    # Ids per page of a listing.
    page_size: int
    # None for a provider that cannot announce changes; see `MailboxSession.watch`.
    watch_times: WatchTimes | None
    # The labels of every mailbox, for providers that do not list them.
    built_in_labels: Sequence[Label]

    @property
    def costs(self) -> CallCosts:
        """Units per call."""
        ...

    def open(
        self, mailbox: Mailbox, tokens: Tokens, *, writing: Writing | None
    ) -> AbstractAsyncContextManager[MailboxSession]:
        """Open a session for a turn or a look. It makes no call before the first of its methods is called.

        `writing` is a turn's; None leaves the session without a place to record what it learns, so that it only looks.
        """
        ...


# Receives the next bytes of a content.
type Write = Callable[[bytes], Awaitable[None]]


class DownloadSession(Protocol):
    """Streams a mailbox's bytes in bounded memory. Methods raise ProviderError, possibly after writing some bytes.

    They raise TokenRefusedError before they write any.
    """

    async def copy_raw(self, external_id: str, write: Write) -> None:
        """Write the RFC 5322 bytes of a message. Raises MessageGoneError."""
        ...

    async def copy_part(self, external_id: str, part_id: str, write: Write) -> None:
        """Write the bytes of a part without its transfer encoding. Raises MessageGoneError, PartMissingError."""
        ...


class DownloadSource(Protocol):
    """A provider's raw messages and attachments."""

    # Quota units per call.
    raw_units: int
    part_units: int

    def open(self, mailbox: Mailbox, tokens: Tokens) -> AbstractAsyncContextManager[DownloadSession]:
        """Open a session for one download."""
        ...
