"""The mail service's domain types but for what users see (read_model.py). One word per thing, as in docs and protos."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, IntEnum, StrEnum
from uuid import UUID

from services.mail.content.model import ParsedMessage


class MailboxStatus(Enum):
    """Whether the provider still grants access."""

    ACTIVE = "active"
    REAUTH_REQUIRED = "reauth_required"


class Denial(StrEnum):
    """Why a provider denies access to a mailbox although its grant lives; docs/errors.md says what helps.

    Auth has some of its own, and newer versions of it may have more.
    """

    # An administrator blocks the application.
    ADMIN_POLICY = "admin_policy"
    # The user did not allow to read mail.
    MISSING_SCOPE = "missing_scope"
    # The account has no mailbox.
    MAILBOX_DISABLED = "mailbox_disabled"
    DENIED = "denied"


class SyncState(Enum):
    """Where a sync is; the last three are ends."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Lane(IntEnum):
    """What goes first: live mail before backfill, for mailboxes as for the messages of one."""

    LIVE = 0
    BACKFILL = 1
    # Of mailboxes only: nothing is known to be left to do.
    IDLE = 2


class WaitReason(Enum):
    """What a mailbox waits for before its next turn can get on."""

    QUOTA = "quota"
    # Redis, which counts the quota.
    QUOTA_SERVICE = "quota_service"
    PROVIDER = "provider"
    # The user has to grant access, or an administrator.
    ACCESS = "access"
    # Our own database or auth.
    MAILROOM = "mailroom"


class Listing(Enum):
    """Why the provider's ids are being listed."""

    NEWEST = "newest"
    ALL = "all"
    # The first page once more, for messages that came right before the cursor: listings lag behind history.
    HEAD = "head"
    # After a lost cursor: everything, compared with what is stored.
    RELIST = "relist"
    # Then, label by label, what carries it.
    RELABEL = "relabel"
    # To verify: everything, compared with what is stored; then, label by label, what carries it.
    VERIFY_IDS = "verify_ids"
    VERIFY_LABEL = "verify_label"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A connected account as auth knows it."""

    account_id: UUID
    user_id: UUID
    provider: str
    email: str
    status: MailboxStatus
    # When the provider ends the grant, if it limits grants in time.
    reconnect_by: datetime | None = None
    # Why the provider denies access lastingly, a Denial or one of auth's; empty: it does not.
    access_denied_reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mailbox:
    """Our copy of one account's mail."""

    mailbox_id: int
    account_id: UUID
    user_id: UUID
    provider: str
    email: str
    status: MailboxStatus
    # Why the provider denies access lastingly, beside an active status; empty: it does not.
    access_denied_reason: str = ""
    # So many turns in a row have met a denial.
    denials: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenMailbox(Mailbox):
    """A mailbox as its user finds it, with the names of its labels by id."""

    label_names: Mapping[str, str]

    @property
    def own_addresses(self) -> tuple[str, ...]:
        """The addresses that `me` means in a query."""
        return (self.email,)


@dataclass(frozen=True, slots=True, kw_only=True)
class MailboxOverview:
    """A mailbox with what a list of addresses shows."""

    mailbox: Mailbox
    last_synced_at: datetime | None
    message_count: int
    unread_count: int
    reconnect_by: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncProgress:
    """How far the copy of a mailbox is."""

    cursor: int | None
    caught_up_hint: int
    # Seconds since history was last read up to the present; None: never.
    caught_up_ago: float | None
    covered_count: int
    covered_all: bool
    listing: Listing | None
    listing_target: int | None
    listing_round: int
    listing_label: str | None
    listing_page_token: str | None
    listed_count: int
    # How often the listing has begun from the top. Since then: whether all pages were listed, how many ids they showed
    # that were unknown, whether history told of deletions, and whether it was read after the last page.
    listing_pass: int
    listing_ended: bool
    listing_found: int
    listing_disturbed: bool
    caught_up_since: bool
    # Seconds until listings show all that the cursor implies; None: they do.
    listable_in: float | None
    # Seconds until the provider's labels are to be looked at; None: they never were.
    labels_due_in: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What comparing the copy with the provider has found so far; all of it is queued for repair.

    Messages missing here, extra here, and with other labels than there. The digest is of the copy once it is repaired.
    """

    done: bool
    missing_count: int
    extra_count: int
    drift_count: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sync:
    """A request to bring a mailbox up to date; `newest_count` None means all of it."""

    mailbox_id: int
    sync_id: int
    state: SyncState
    newest_count: int | None
    hint_seq: int
    listing_done: bool
    listed_count: int
    stored_count: int
    units_spent: int
    error: str
    # None: not asked for.
    verification: Verification | None
    created_at: datetime
    # When it last listed, fetched or stored something.
    progress_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A message that was given up on after bounded attempts."""

    external_id: str
    reason: str
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Why nothing happens in a mailbox, and until when; `last_error` is the reason of its last turn's failure."""

    reason: WaitReason | None
    until: datetime | None
    last_error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncReport:
    """A sync with what its view shows."""

    sync: Sync
    mailbox: Mailbox
    pending_count: int
    dead_letter_count: int
    dead_letters: list[DeadLetter]
    # Of a sync under way.
    wait: Wait | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedId:
    """A message as a listing names it."""

    external_id: str
    thread_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchItem:
    """A message that is wanted, as the next of the queue."""

    external_id: str
    thread_id: str | None
    # The messages of its thread that are due, itself included.
    siblings: tuple[str, ...]
    lane: Lane
    # The provider did not have it when it was last asked for.
    is_doubted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """A provider's label; `type` is system or user."""

    label_id: str
    name: str
    type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderMessage:
    """A message as a provider returned it, decoded."""

    external_id: str
    thread_id: str
    # None where the provider does not tell: then it is as new as what history was read up to.
    version: int | None
    received_at: datetime
    label_ids: tuple[str, ...]
    snippet: str
    size: int
    content: ParsedMessage


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelChange:
    """Labels that one history record put on or took off a message."""

    version: int
    added: frozenset[str] = frozenset()
    removed: frozenset[str] = frozenset()


@dataclass(slots=True, kw_only=True)
class HistoryDelta:
    """What a page of history implies, collapsed per message (keyed by external id)."""

    # The highest record that adds the message.
    added: dict[str, int] = field(default_factory=dict)
    # The threads of messages, where the records tell.
    threads: dict[str, str] = field(default_factory=dict)
    labels: dict[str, list[LabelChange]] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    # Messages that have left Spam or Trash: listings without these show them from now on.
    shown: set[str] = field(default_factory=set)
    # Messages of records without a number.
    unnumbered: set[str] = field(default_factory=set)
