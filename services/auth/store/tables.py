"""The tables of the auth service."""

from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP

from services.auth.model import DEFAULT_APPLICATION

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


def _time(name: str, *, nullable: bool = False) -> Column[object]:
    return Column(name, TIMESTAMP(timezone=True), nullable=nullable, server_default=None if nullable else text("now()"))


def _client() -> tuple[Column[str | None], ...]:
    """Return the columns of the client whose request it was, coarse; null where unknown."""
    return Column("client_address", Text), Column("user_agent", Text)


def _application() -> Column[UUID]:
    """Return the column of the application that a row belongs to, the default one where none is named."""
    return Column(
        "application_id",
        Uuid,
        ForeignKey("applications.application_id"),
        nullable=False,
        server_default=text(f"'{DEFAULT_APPLICATION}'"),
    )


# The tenants. The default one is made by a migration.
applications = Table(
    "applications",
    metadata,
    Column("application_id", Uuid, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    # Where the browser may be sent after a connect session.
    Column("redirect_urls", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    _time("created_at"),
    # When its deletion was requested.
    _time("deleted_at", nullable=True),
)

# The login is the provider account that the user first signed in with. It stays theirs while it is disconnected, so
# that the user can return to the addresses that they linked. A user whom an application named has no login.
users = Table(
    "users",
    metadata,
    Column("user_id", Uuid, primary_key=True),
    _application(),
    # The application's own id of the user.
    Column("external_user_id", Text),
    Column("login_provider", Text),
    Column("login_subject", Text),
    _time("created_at"),
    UniqueConstraint("login_provider", "login_subject"),
    Index(None, "application_id", "external_user_id", unique=True),
    Index(None, "application_id", "user_id"),
)

# A provider's account that a user connected. The address is an attribute: it can change, and pass to another person.
accounts = Table(
    "accounts",
    metadata,
    Column("account_id", Uuid, primary_key=True),
    _application(),
    Column("user_id", Uuid, ForeignKey("users.user_id", ondelete="CASCADE"), nullable=False),
    Column("provider", Text, nullable=False),
    Column("subject", Text, nullable=False),
    # The account of the same subject, in another application, with which the tokens of their grant are kept; null: this
    # one. A provider has one grant of a subject, however many applications use it.
    Column("grant_account_id", Uuid, ForeignKey("accounts.account_id")),
    Column("email", Text, nullable=False),
    Column("status", Text, nullable=False),
    # Why the provider denies access lastingly. Beside the status, which earlier releases read.
    Column("access_denied_reason", Text, nullable=False, server_default=text("''")),
    _time("created_at"),
    _time("updated_at"),
    Index(None, "application_id", "provider", "subject", unique=True),
    Index(None, "application_id", "created_at"),
    Index(None, "provider", "subject"),
    Index(None, "grant_account_id"),
    CheckConstraint("status IN ('active', 'reauth_required')", name="status"),
    Index(None, "user_id"),
)

# The tokens of a grant, encrypted by the cipher, with the account that holds it.
provider_tokens = Table(
    "provider_tokens",
    metadata,
    # The grant's id is that of the account that holds it. Releases side by side read the column by its first name.
    Column("account_id", Uuid, ForeignKey("accounts.account_id", ondelete="CASCADE"), primary_key=True, key="grant_id"),
    Column("access_token", LargeBinary, nullable=False),
    Column("access_token_expires_at", TIMESTAMP(timezone=True), nullable=False),
    Column("refresh_token", LargeBinary),
    # Known when the provider limits the whole grant in time.
    Column("refresh_token_expires_at", TIMESTAMP(timezone=True)),
    Column("scopes", ARRAY(Text), nullable=False),
    # Grows with every change, for compare-and-set.
    Column("version", BigInteger, nullable=False, server_default=text("1")),
    _time("updated_at"),
)

# Grants without an account: pending until a link is committed, else waiting to be revoked.
grant_revocations = Table(
    "grant_revocations",
    metadata,
    Column("grant_id", Uuid, primary_key=True),
    Column("provider", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("encrypted", LargeBinary, nullable=False),
    Column("pending_link", Boolean, nullable=False),
    # The time of revocation, at which a pending grant expires.
    _time("due_at"),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    _time("created_at"),
    Index(None, "due_at"),
)

# The keys of applications; those of operators have no application. Of limits, null stands for no limit.
api_keys = Table(
    "api_keys",
    metadata,
    Column("key_id", Text, primary_key=True),
    Column("application_id", Uuid, ForeignKey("applications.application_id")),
    Column("name", Text, nullable=False),
    # SHA-256 of the key.
    Column("digest", LargeBinary, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("mailbox_ids", ARRAY(Uuid)),
    Column("networks", ARRAY(Text)),
    # The key that created it; null: the command line of the server.
    Column("created_by", Text),
    _time("created_at"),
    _time("expires_at", nullable=True),
    _time("revoked_at", nullable=True),
    _time("used_at", nullable=True),
    Index(None, "application_id"),
    Index(None, "revoked_at"),
)

# Requests of applications to connect a mailbox for one of their users. `grant_id` is of grant_revocations, where the
# grant is pending between the consent and the completion.
connect_sessions = Table(
    "connect_sessions",
    metadata,
    Column("session_id", Uuid, primary_key=True),
    Column("application_id", Uuid, ForeignKey("applications.application_id"), nullable=False),
    Column("user_id", Uuid, ForeignKey("users.user_id", ondelete="CASCADE"), nullable=False),
    # Null: the user chooses.
    Column("provider", Text),
    Column("access", ARRAY(Text), nullable=False),
    Column("login_hint", Text, nullable=False),
    Column("redirect_url", Text, nullable=False),
    # SHA-256 of the token in the URL.
    Column("token_digest", LargeBinary, nullable=False),
    Column("state", Text, nullable=False),
    Column("grant_id", Uuid),
    # SHA-256 of the code.
    Column("code_digest", LargeBinary),
    Column("account_id", Uuid),
    _time("created_at"),
    _time("expires_at"),
    CheckConstraint("state IN ('created', 'consented', 'completed')", name="state"),
    Index(None, "token_digest", unique=True),
    Index(None, "application_id"),
    Index(None, "user_id"),
    Index(None, "expires_at"),
)

# Creation, refusals and revocation of keys.
api_key_events = Table(
    "api_key_events",
    metadata,
    Column("event_id", BigInteger, Identity(always=True), primary_key=True),
    Column("key_id", Text, nullable=False),
    Column("type", Text, nullable=False),
    _time("created_at"),
    *_client(),
    # Null: of an operator key, or not filled yet.
    Column("application_id", Uuid),
    Index(None, "key_id", "event_id"),
    Index(None, "created_at"),
    Index(None, "application_id", "created_at", "event_id"),
)

# A session is a family of refresh tokens, each the successor of the one before.
sessions = Table(
    "sessions",
    metadata,
    Column("session_id", Uuid, primary_key=True),
    Column("user_id", Uuid, ForeignKey("users.user_id", ondelete="CASCADE"), nullable=False),
    _time("created_at"),
    _time("used_at"),
    _time("expires_at"),
    *_client(),
    Index(None, "user_id"),
    Index(None, "expires_at"),
    Index(None, "used_at"),
)

# Sessions that ended while access tokens of theirs may still be valid.
ended_sessions = Table(
    "ended_sessions",
    metadata,
    Column("session_id", Uuid, primary_key=True),
    _time("ended_at"),
    Index(None, "ended_at"),
)

# The valid token of each session, and those spent a moment ago. A genuine token that is not in the table was spent
# earlier.
refresh_tokens = Table(
    "refresh_tokens",
    metadata,
    Column("token_digest", LargeBinary, primary_key=True),
    Column("session_id", Uuid, ForeignKey("sessions.session_id", ondelete="CASCADE"), nullable=False),
    _time("spent_at", nullable=True),
    Index(None, "session_id"),
)

# Changes of users' sessions and accounts. Without foreign keys, since the deletion of a user is an event too.
security_events = Table(
    "security_events",
    metadata,
    Column("event_id", BigInteger, Identity(always=True), primary_key=True),
    Column("user_id", Uuid, nullable=False),
    Column("type", Text, nullable=False),
    Column("account_id", Uuid),
    Column("session_id", Uuid),
    Column("email", Text),
    _time("created_at"),
    *_client(),
    # Null: not filled yet, or recorded before applications were and the user is deleted.
    Column("application_id", Uuid),
    Index(None, "user_id", "event_id"),
    Index(None, "created_at"),
    Index(None, "application_id", "created_at", "event_id"),
)

# The keys of our access tokens: the one with the latest `signs_from` in the past signs, all of them verify.
signing_keys = Table(
    "signing_keys",
    metadata,
    Column("key_id", Text, primary_key=True),
    Column("public_jwk", JSONB, nullable=False),
    Column("private_key", LargeBinary, nullable=False),
    # The key is published before this time, so that clients know it when they get its first token.
    _time("signs_from"),
    _time("created_at"),
)
