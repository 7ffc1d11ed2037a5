"""The domain types of mail, except those that users see (read_model.py). Names are those of docs and protos."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, IntEnum, StrEnum
from uuid import UUID

from services.mail.content.model import ParsedMessage
from services.mail.marks import Mark

# The application of users that sign in to Mailroom itself, as auth names it.
DEFAULT_APPLICATION = UUID("00000000-0000-4000-8000-000000000000")


class MailboxStatus(Enum):
    """Whether the provider still grants access."""

    ACTIVE = "active"
    REAUTH_REQUIRED = "reauth_required"


class Denial(StrEnum):
    """Why a provider denies access to a mailbox in spite of a valid grant; docs/errors.md has the remedies.

    Auth has further reasons, and newer versions of it may add some.
    """

    # An administrator blocks the application.
    ADMIN_POLICY = "admin_policy"
    # The user did not grant the scope for reading mail.
    MISSING_SCOPE = "missing_scope"
    # The account has no mailbox.
    MAILBOX_DISABLED = "mailbox_disabled"
    DENIED = "denied"


class FeedEvent(StrEnum):
    """An event in the feed of a mailbox that is no change of a message or of a label."""

    MAILBOX_CONNECTED = "mailbox.connected"
    REAUTH_REQUIRED = "mailbox.reauth_required"
    ACCESS_DENIED = "mailbox.access_denied"
    SYNC_COMPLETED = "sync.completed"
    SYNC_FAILED = "sync.failed"


class Measure(StrEnum):
    """A count of a mailbox by the hour. The values are columns of `usage_hours`."""

    MESSAGES_STORED = "messages_stored"
    CHANGES = "changes"
    DELIVERED = "deliveries_delivered"
    FAILED = "deliveries_failed"
    PARKED = "deliveries_parked"
    PROVIDER_UNITS = "provider_units"


class Role(StrEnum):
    """The purpose of a label or folder. Several of a mailbox may have the same one."""

    INBOX = "inbox"
    SENT = "sent"
    DRAFTS = "drafts"
    SPAM = "spam"
    TRASH = "trash"
    ARCHIVE = "archive"
    NONE = "none"


class SyncState(Enum):
    """The states of a sync. The last three are final."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Lane(IntEnum):
    """Priorities of mailboxes and of the messages in a queue: live mail before the backfill."""

    LIVE = 0
    BACKFILL = 1
    # For mailboxes only: no work is known.
    IDLE = 2


class WaitReason(Enum):
    """The reason why a mailbox waits for its next turn."""

    # The quota of the mailbox, of the whole project, and the part of the day's that backfills may use.
    QUOTA = "quota"
    QUOTA_PROJECT = "quota_project"
    QUOTA_DAY = "quota_day"
    # Redis, which counts the quota.
    QUOTA_SERVICE = "quota_service"
    PROVIDER = "provider"
    # The user or an administrator has to grant access.
    ACCESS = "access"
    # Our own database or auth.
    MAILROOM = "mailroom"


class Listing(Enum):
    """The purpose of a listing of the provider's ids."""

    NEWEST = "newest"
    ALL = "all"
    # The first page again, for messages from right before the cursor: listings lag behind history.
    HEAD = "head"
    # After a lost cursor: all ids, compared with the stored messages.
    RELIST = "relist"
    # Then the messages of each label.
    RELABEL = "relabel"
    # For a verification: all ids, then the messages of each label.
    VERIFY_IDS = "verify_ids"
    VERIFY_LABEL = "verify_label"


class CursorLoss(Enum):
    """Why history cannot be read from the cursor: all messages must be compared."""

    # The provider no longer keeps it, or keeps none.
    EXPIRED = "expired"
    # The provider's history has restarted, or lags.
    RESTARTED = "restarted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A connected account as auth knows it."""

    account_id: UUID
    user_id: UUID
    provider: str
    email: str
    status: MailboxStatus
    application_id: UUID = DEFAULT_APPLICATION
    # Auth's name of the account at the provider, the same in all applications; None from an auth that tells none.
    provider_identity: str | None = None
    # The end of the grant, if the provider limits its duration.
    reconnect_by: datetime | None = None
    # Why the provider denies access lastingly, a Denial or one of auth's; empty: it does not.
    access_denied_reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mailbox:
    """The copy of an account's mail."""

    mailbox_id: int
    account_id: UUID
    user_id: UUID
    provider: str
    email: str
    status: MailboxStatus
    # The reason of a lasting denial by the provider; empty without one. The status stays active.
    access_denied_reason: str = ""
    # Consecutive turns that met a denial.
    denials: int = 0
    # Whether the address is to be compared with the provider's.
    address_is_due: bool = False
    # Whether the provider is to be asked which addresses the user may send mail from.
    send_as_is_due: bool = False
    # Empty in rows of a release that knew addresses only.
    limits_identity: str = ""

    @property
    def identity(self) -> str:
        """The name by which the provider's limits are kept; it tells nothing about the user.

        All mailboxes of one account at the provider have the same, whatever its address becomes. It is made of the
        address at first, as it was in the release before: its workers count beside those of this one.
        """
        return self.limits_identity or hashlib.sha256(f"{self.provider} {self.email.lower()}".encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenMailbox(Mailbox):
    """A mailbox with the names of its labels by id, and the roles of those that have one."""

    label_names: Mapping[str, str]
    label_roles: Mapping[str, Role]
    # In lower case.
    former_emails: tuple[str, ...] = ()
    # The addresses that the user may send mail from, as the provider lists them.
    send_as: tuple[str, ...] = ()

    @property
    def own_addresses(self) -> tuple[str, ...]:
        """The addresses that `me` stands for in a query."""
        return (self.email, *self.former_emails, *self.send_as)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """The reach of an API key: the mailboxes of its application, or some of them."""

    application_id: UUID
    # The accounts of these mailboxes; None: of all.
    account_ids: frozenset[UUID] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MailboxQuery:
    """Which mailboxes of a user, or of those that a key reaches, are listed; None and empty texts leave any."""

    user_id: UUID | None = None
    reach: Reach | None = None
    account_id: UUID | None = None
    email: str = ""
    provider: str = ""
    status: MailboxStatus | None = None
    is_denied: bool | None = None
    # Mailboxes with higher ids.
    after: int = 0
    limit: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MailboxOverview:
    """A mailbox with its counts, for the list of addresses."""

    mailbox: Mailbox
    last_synced_at: datetime | None
    message_count: int
    unread_count: int
    reconnect_by: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MailboxCounts:
    """The numbers of mailboxes by state; `active` ones are those that the provider lets Mailroom read."""

    active: int
    reauth_required: int
    access_denied: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageHour:
    """The counts of the hour that begins at `hour`."""

    hour: datetime
    counts: Mapping[Measure, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class PageTrail:
    """The pages of a listing so far: their number, and digests of the tokens of the marked page and the newest ones."""

    pages: int = 0
    digests: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncProgress:
    """The progress of a mailbox's copy."""

    cursor: int | None
    # None: history can be read on from the cursor.
    cursor_loss: CursorLoss | None
    caught_up_hint: int
    # Seconds since history was last read up to the present; None if it never was.
    caught_up_ago: float | None
    covered_count: int
    covered_all: bool
    listing: Listing | None
    listing_target: int | None
    listing_round: int
    listing_label: str | None
    listing_page_token: str | None
    listing_trail: PageTrail
    listed_count: int
    # The number of the listing's pass. Of this pass: whether all pages were listed, how many unknown ids they showed,
    # whether history had deletions since, and whether it was read after the last page.
    listing_pass: int
    listing_ended: bool
    listing_found: int
    listing_disturbed: bool
    caught_up_since: bool
    # Seconds until listings show all changes up to the cursor; None if they do.
    listable_in: float | None
    # Seconds until the listing's pass may begin; None for the first one.
    listing_resumes_in: float | None
    # Seconds until the provider's labels must be listed; None if they never were.
    labels_due_in: float | None
    # Whether messages of merged threads are to be moved.
    has_merged_threads: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """The differences between the copy and the provider found so far; all are queued for repair.

    Messages that are missing here, extra here, or differ in labels. The digest is of the repaired copy.
    """

    done: bool
    missing_count: int
    extra_count: int
    drift_count: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sync:
    """A requested sync. `newest_count` None means the whole mailbox."""

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
    # None unless requested.
    verification: Verification | None
    created_at: datetime
    # Time of the last listed, fetched or stored message.
    progress_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A message that could not be fetched within the allowed attempts."""

    external_id: str
    reason: str
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Why a mailbox waits and until when. `last_error` is the error of its last turn."""

    reason: WaitReason | None
    until: datetime | None
    last_error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncReport:
    """A sync with its pending messages, dead letters and wait."""

    sync: Sync
    mailbox: Mailbox
    pending_count: int
    dead_letter_count: int
    dead_letters: list[DeadLetter]
    # Of an active sync.
    wait: Wait | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedId:
    """A message id in a listing."""

    external_id: str
    thread_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchItem:
    """The next message of the queue."""

    external_id: str
    thread_id: str | None
    # The due messages of its thread, itself included.
    siblings: tuple[str, ...]
    lane: Lane
    # The provider did not have it at the last attempt.
    is_doubted: bool = False
    # Failed attempts.
    attempts: int = 0
    # Units for its text, where an earlier get brought the message without it.
    completion_units: int = 0

    @property
    def is_alone(self) -> bool:
        """Whether it needs a call of its own: it may be to blame for the failure of the call that it shared."""
        return self.is_doubted or self.attempts > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """A provider's label or folder. `type` is system or user."""

    label_id: str
    name: str
    type: str
    role: Role = Role.NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderMessage:
    """A decoded message of a provider. `label_ids` are without marks, also where the provider keeps these as labels."""

    external_id: str
    # None if the provider has no threads: they are made from references as the message is stored.
    thread_id: str | None
    # None if the provider has no versions: the message counts as new as the cursor.
    version: int | None
    received_at: datetime
    label_ids: tuple[str, ...]
    marks: frozenset[Mark]
    snippet: str
    size: int
    content: ParsedMessage


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelChange:
    """The labels that a history record added to a message or removed from it, and the marks that it set or removed."""

    version: int
    added: frozenset[str] = frozenset()
    removed: frozenset[str] = frozenset()
    marked: frozenset[Mark] = frozenset()
    unmarked: frozenset[Mark] = frozenset()


@dataclass(slots=True, kw_only=True)
class HistoryDelta:
    """The changes in a page of history, collapsed per message (by external id)."""

    # The highest record that adds the message.
    added: dict[str, int] = field(default_factory=dict)
    # The threads of messages, as far as records name them.
    threads: dict[str, str] = field(default_factory=dict)
    labels: dict[str, list[LabelChange]] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    # Messages that left Spam or Trash: listings without these show them from now on.
    shown: set[str] = field(default_factory=set)
    # Messages of records that have no number, or do not tell what changed.
    unclear: set[str] = field(default_factory=set)
