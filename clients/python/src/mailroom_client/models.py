"""What Mailroom answers, as typed and frozen objects.

Fields that a newer server adds are kept (`extra`), and words that it adds to a list of words are taken as they are.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer


def _as_the_api_does(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


# Written as the API writes it: RFC 3339 in UTC, with milliseconds.
type Time = Annotated[datetime, PlainSerializer(_as_the_api_does, when_used="json")]
# Known words, and any that a newer server may say.
type AccessStatus = Literal["active", "reauth_required", "access_denied"] | str
type SyncState = Literal["queued", "running", "completed", "failed", "cancelled"] | str
type ChangeType = Literal["created", "updated", "deleted", "label_updated", "label_deleted"] | str
type LabelRole = Literal["inbox", "sent", "drafts", "spam", "trash", "archive", "none"] | str
type Mark = Literal["seen", "flagged", "draft", "important"] | str
type LabelType = Literal["system", "user"] | str


class Model(BaseModel):
    """The base of all answers."""

    model_config = ConfigDict(frozen=True, extra="allow", populate_by_name=True)


class EmailAddress(Model):
    """A name with an address; the name may be empty."""

    name: str
    email: str


class EmailSummary(Model):
    """A message as lists show it; `highlight` comes with a search that asks for it."""

    id: str
    external_id: str
    mailbox_id: UUID
    thread_id: str
    sender: EmailAddress | None = Field(alias="from")
    to: Sequence[EmailAddress]
    cc: Sequence[EmailAddress]
    subject: str | None
    snippet: str
    received_at: Time
    is_read: bool
    marks: Sequence[Mark] = ()
    labels: Sequence[str]
    has_attachments: bool
    size: int
    highlight: str | None = None


class Header(Model):
    """A header of a message."""

    name: str
    value: str


class Attachment(Model):
    """An attachment without its bytes; `size` is in bytes."""

    id: str
    filename: str
    mime_type: str
    size: int
    inline: bool
    content_id: str | None


class Email(EmailSummary):
    """A whole message. `html` is sanitised by the server."""

    bcc: Sequence[EmailAddress]
    reply_to: Sequence[EmailAddress]
    headers: Sequence[Header]
    text: str | None
    html: str | None
    attachments: Sequence[Attachment]


class Thread(Model):
    """A thread, described by its newest message."""

    id: str
    mailbox_id: UUID
    subject: str | None
    snippet: str
    last_message_at: Time
    message_count: int
    unread_count: int
    participants: Sequence[EmailAddress]
    labels: Sequence[str]
    has_attachments: bool


class ThreadWithEmails(Thread):
    """A thread with its messages, the oldest first."""

    emails: Sequence[EmailSummary]


class Label(Model):
    """A label of a mailbox with its counts."""

    id: str
    mailbox_id: UUID
    name: str
    type: LabelType
    role: LabelRole = "none"
    message_count: int
    unread_count: int
    stale_since: Time | None = None


class LabelName(Model):
    """A label as changes show it."""

    id: str
    name: str
    type: LabelType
    role: LabelRole = "none"


class Mailbox(Model):
    """A connected mailbox. `reconnect_by` is when its access ends unless the user signs in again."""

    mailbox_id: UUID
    email: str
    provider: str
    status: AccessStatus
    access_denied_reason: str | None
    reconnect_by: Time | None
    last_synced_at: Time | None
    message_count: int
    unread_count: int
    # Servers before API keys leave it out.
    user_id: UUID | None = None


class DeadLetter(Model):
    """A message that could not be fetched."""

    external_id: str
    reason: str
    attempts: int


class Verification(Model):
    """What a comparison with the provider found and repaired."""

    done: bool
    missing: int
    extra: int
    drift: int
    digest: str | None


class Sync(Model):
    """A sync: what it has done, and what it waits for."""

    id: str
    mailbox_id: UUID
    email: str
    state: SyncState
    count: int | str
    listed: int
    stored: int
    pending: int
    dead_letter_count: int
    units_spent: int
    units_per_message: float | None
    eta_seconds: int | None
    verification: Verification | None
    error: str | None
    last_error: str | None
    access_denied_reason: str | None
    waiting_for: str | None
    waiting_until: Time | None
    progress_at: Time | None
    created_at: Time
    ended_at: Time | None
    # Lists leave them out.
    dead_letters: Sequence[DeadLetter] = ()

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will happen."""
        return self.ended_at is not None


class Change(Model):
    """A change of a message (`email`: as it is now) or of a label. Ignore types that you do not know."""

    type: ChangeType
    id: str
    mailbox_id: UUID
    email: EmailSummary | None
    label: LabelName | None


class ChangePage(Model):
    """Changes after a position, and the position after them: store both in one transaction."""

    changes: Sequence[Change]
    next_since: str
    has_more: bool


class Account(Model):
    """A connected account of the user."""

    mailbox_id: UUID
    provider: str
    email: str
    status: AccessStatus
    access_denied_reason: str | None
    connected_at: Time
    reconnect_by: Time | None


class User(Model):
    """The user who signed in."""

    user_id: UUID
    created_at: Time
    accounts: Sequence[Account]


class ApplicationUser(Model):
    """A user of the application; `external_user_id` is the application's own id for them."""

    user_id: UUID
    external_user_id: str | None
    created_at: Time


class ApplicationUserDetails(ApplicationUser):
    """A user of the application with their accounts."""

    accounts: Sequence[Account]


class ExchangedToken(Model):
    """An access token of a user for `expires_in` seconds; `scope` says what it may do."""

    access_token: str
    issued_token_type: str
    token_type: str
    expires_in: int
    scope: str


class ApiKey(Model):
    """An API key without its secret. `mailbox_ids` and `networks` limit it; None: all."""

    id: str
    name: str
    scopes: Sequence[str]
    mailbox_ids: Sequence[str] | None
    networks: Sequence[str] | None
    created_by: str | None
    created_at: Time
    expires_at: Time | None
    revoked_at: Time | None
    last_used_at: Time | None


class CreatedKey(ApiKey):
    """A new API key with `api_key`, which is shown this once."""

    api_key: str


class KeyEvent(Model):
    """What happened to an API key."""

    type: str
    created_at: Time
    client_network: str | None
    client: str | None


class Webhook(Model):
    """A webhook without its secret. `events` empty: all; `mailbox_ids` None: all mailboxes of the application."""

    id: UUID
    url: str
    events: Sequence[str]
    mailbox_ids: Sequence[UUID] | None
    description: str
    backfill: bool
    order: str
    status: str
    disabled_reason: str | None
    disabled_at: Time | None
    failing_since: Time | None
    created_at: Time


class CreatedWebhook(Webhook):
    """A new webhook with the secret that verifies its deliveries, which is shown this once."""

    secret: str


class WebhookSecret(Model):
    """A new secret of a webhook, which is shown this once."""

    secret: str


class DeliveryAttempt(Model):
    """A try to deliver an event. `status` None: no answer came, for the reason in `error`."""

    at: Time
    status: int | None
    error: str | None
    duration_ms: int
    body: str


class Delivery(Model):
    """An event that a webhook was or will be sent, with its last tries."""

    id: str
    event_id: str
    event: str
    mailbox_id: UUID | None
    position: str | None
    state: str
    tries: int
    attempts: Sequence[DeliveryAttempt]
    created_at: Time
    ended_at: Time | None


class MailboxCounts(Model):
    """Mailboxes by state."""

    active: int
    reauth_required: int
    access_denied: int


class DeliveryCounts(Model):
    """Events that webhooks took, tries that failed, and events that were parked."""

    delivered: int
    failed: int
    parked: int


class UsageCounts(Model):
    """What was used in some time."""

    messages_stored: int
    changes: int
    deliveries: DeliveryCounts
    provider_units: int


class UsageHour(UsageCounts):
    """What was used in the hour that begins at `hour`."""

    hour: Time


class Usage(Model):
    """The mailboxes as they are now, and what was used in the last hours, oldest first."""

    mailboxes: MailboxCounts
    total: UsageCounts
    hours: Sequence[UsageHour]


class Application(Model):
    """An application: whom keys act for."""

    id: UUID
    name: str
    redirect_urls: Sequence[str]
    created_at: Time
    deletion_requested_at: Time | None = None


class ConnectSession(Model):
    """A connect session; `url` is the page for the user's browser, and a secret."""

    id: UUID
    url: str
    user_id: UUID
    expires_at: Time


class ConnectedMailbox(Model):
    """A mailbox that a user of the application connected."""

    mailbox_id: UUID
    email: str
    provider: str
    user_id: UUID
    external_user_id: str


class Session(Model):
    """A session of the user."""

    id: UUID
    is_current: bool
    created_at: Time
    last_used_at: Time
    client_network: str | None
    client: str | None


class SecurityEvent(Model):
    """What happened to a session or an account."""

    id: str
    type: str
    created_at: Time
    mailbox_id: UUID | None
    session_id: UUID | None
    email: str | None
    client_network: str | None
    client: str | None


class AuditEvent(Model):
    """What happened in an application: an event of a user, or of an API key; the other's id is None."""

    id: str
    type: str
    created_at: Time
    user_id: UUID | None
    key_id: str | None
    mailbox_id: UUID | None
    session_id: UUID | None
    email: str | None
    client_network: str | None
    client: str | None


class SignInStart(Model):
    """Where the user's browser goes to consent; valid for `expires_in` seconds."""

    authorization_url: str
    state: str
    expires_in: int


class Token(Model):
    """An access token for `expires_in` seconds; `mailbox_id` is set where a mailbox was linked."""

    access_token: str
    token_type: str
    expires_in: int
    refresh_token: str | None = None
    mailbox_id: UUID | None = None


class FieldError(Model):
    """A field of a request that was refused."""

    field: str
    message: str


class Problem(Model):
    """A failure as the server tells it (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    errors: Sequence[FieldError] = ()
