"""Domain types that several modules of auth share."""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID, uuid5

from services.kit.scopes import Scope

# The application of users that sign in to Mailroom itself. A migration makes it with this id.
DEFAULT_APPLICATION = UUID("00000000-0000-4000-8000-000000000000")


class AccountStatus(StrEnum):
    """Whether the provider still honours the grant."""

    ACTIVE = "active"
    REAUTH_REQUIRED = "reauth_required"


class Denial(StrEnum):
    """Why a provider denies an account access although its grant lives; docs/errors.md says what helps."""

    # An administrator, or the account's own protection, blocks the application.
    ADMIN_POLICY = "admin_policy"
    # The application is open to other accounts only: it is in testing, or an organisation's own.
    APP_RESTRICTED = "app_restricted"
    DENIED = "denied"


@dataclass(frozen=True)
class Application:
    """A tenant: it owns users and their accounts. Browsers may be sent to its redirect URLs."""

    application_id: UUID
    name: str
    redirect_urls: tuple[str, ...]
    created_at: datetime
    # When its deletion was requested.
    deleted_at: datetime | None = None


@dataclass(frozen=True)
class Account:
    """A provider's account that a user connected.

    Its grant has the id of the account that holds the tokens: this one, or another application's of the same subject.
    """

    account_id: UUID
    application_id: UUID
    user_id: UUID
    grant_id: UUID
    provider: str
    subject: str
    email: str
    status: AccountStatus
    created_at: datetime
    # When the provider ends the grant, if it limits grants in time.
    reconnect_by: datetime | None = None
    # Why the provider denies access lastingly, in the words of mail, which notices; empty: it does not.
    access_denied_reason: str = ""

    @property
    def provider_identity(self) -> str:
        """The name of the provider's account for other services: the same in all applications, without the subject."""
        return hashlib.sha256(f"{self.provider}:{self.subject}".encode()).hexdigest()


@dataclass(frozen=True)
class User:
    """A user of an application, created by their first sign-in, or by the application under an id of its own."""

    user_id: UUID
    application_id: UUID
    created_at: datetime
    external_user_id: str | None = None


class Access(StrEnum):
    """What an application may do with a connected mailbox."""

    READ = "read"


class ConnectState(StrEnum):
    """How far a connect session is."""

    CREATED = "created"
    CONSENTED = "consented"
    COMPLETED = "completed"


@dataclass(frozen=True, kw_only=True)
class ConnectSession:
    """A request of an application to connect a mailbox for one of its users.

    `expires_at` is the end of its state: of the page, of the code, and of repeats of the completion.
    """

    session_id: UUID
    application_id: UUID
    user_id: UUID
    # None: the user chooses.
    provider: str | None
    access: frozenset[Access]
    login_hint: str
    redirect_url: str
    state: ConnectState
    expires_at: datetime
    # The pending grant, and the SHA-256 of the code that completes the session, once the user has consented.
    grant_id: UUID | None = None
    code_digest: bytes | None = None
    # The account of a completed session.
    account_id: UUID | None = None


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    """A key that acts for an application; an operator key has none. Of limits, None stands for no limit."""

    key_id: str
    application_id: UUID | None
    name: str
    scopes: frozenset[Scope]
    mailbox_ids: frozenset[UUID] | None
    # CIDR.
    networks: tuple[str, ...] | None
    # The key that created it; None: the command line of the server.
    created_by: str | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None = None
    # Recorded coarsely.
    used_at: datetime | None = None

    def is_live(self, now: datetime) -> bool:
        """Return whether the key is neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


@dataclass(frozen=True)
class Client:
    """Where a request came from, coarse; empty where unknown."""

    # A network, such as 192.0.2.0/24.
    address: str = ""
    # A program and its system, such as "Firefox on Linux".
    user_agent: str = ""


UNKNOWN_CLIENT = Client()


class EventType(StrEnum):
    """The types of events that a user can list; docs/threat-model.md explains each."""

    SIGNED_IN = "signed_in"
    SIGNED_OUT = "signed_out"
    SIGNED_OUT_EVERYWHERE = "signed_out_everywhere"
    REFRESH_TOKEN_REUSED = "refresh_token_reused"  # noqa: S105 - no password
    ACCOUNT_CONNECTED = "account_connected"
    ACCOUNT_LINKED = "account_linked"
    ACCOUNT_RECONNECTED = "account_reconnected"
    ACCOUNT_DISCONNECTED = "account_disconnected"
    LINK_REFUSED = "link_refused"
    ACCOUNT_RENAMED = "account_renamed"
    REAUTH_REQUIRED = "reauth_required"
    ACCESS_DENIED = "access_denied"
    ACCESS_RESTORED = "access_restored"
    DELETION_REQUESTED = "deletion_requested"
    USER_DELETED = "user_deleted"
    SIGN_UP_REFUSED = "sign_up_refused"
    APPLICATION_DELETION_REQUESTED = "application_deletion_requested"
    APPLICATION_DELETED = "application_deleted"


class KeyEventType(StrEnum):
    """The types of events of an API key; a series of refusals is one event."""

    CREATED = "created"
    REFUSED = "refused"
    REVOKED = "revoked"


@dataclass(frozen=True)
class KeyEvent:
    """Something that happened to an API key."""

    # A KeyEventType, or what a later release has recorded.
    type: str
    created_at: datetime
    client: Client


@dataclass(frozen=True)
class SecurityEvent:
    """A change of a user's sessions or accounts.

    The `user_id` of a refused sign-up is no user's, that of an application's deletion is the application's id.
    """

    user_id: UUID
    # An EventType, or what a later release has recorded.
    type: str
    account_id: UUID | None = None
    session_id: UUID | None = None
    # The account's address at that time.
    email: str | None = None
    client: Client = UNKNOWN_CLIENT
    # None: that of the user, whose row exists.
    application_id: UUID | None = None


@dataclass(frozen=True)
class RecordedEvent:
    """A stored event; later ones have higher ids."""

    event_id: int
    created_at: datetime
    event: SecurityEvent

    @property
    def public_id(self) -> UUID:
        """The id for users, made of what they know (RFC 9562 section 5.5): `event_id` counts the events of all."""
        event = self.event
        about = (self.created_at.isoformat(), event.type, event.account_id, event.session_id, event.email)
        return uuid5(event.user_id, " ".join(map(str, about)))
