"""The tables of the auth service."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP

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


users = Table(
    "users",
    metadata,
    Column("user_id", Uuid, primary_key=True),
    _time("created_at"),
)

# A provider's account that a user connected. The address is an attribute: it can change, and be given to someone else.
accounts = Table(
    "accounts",
    metadata,
    Column("account_id", Uuid, primary_key=True),
    Column("user_id", Uuid, ForeignKey("users.user_id", ondelete="CASCADE"), nullable=False),
    Column("provider", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("email", Text, nullable=False),
    Column("status", Text, nullable=False),
    _time("created_at"),
    _time("updated_at"),
    UniqueConstraint("provider", "subject"),
    CheckConstraint("status IN ('active', 'reauth_required')", name="status"),
    Index(None, "user_id"),
)

# What the provider granted. Sealed by the vault, apart from everything that is read without need of a token.
provider_tokens = Table(
    "provider_tokens",
    metadata,
    Column("account_id", Uuid, ForeignKey("accounts.account_id", ondelete="CASCADE"), primary_key=True),
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

# The keys of our own access tokens: the newest signs, all verify.
signing_keys = Table(
    "signing_keys",
    metadata,
    Column("key_id", Text, primary_key=True),
    Column("public_jwk", JSONB, nullable=False),
    Column("private_key", LargeBinary, nullable=False),
    _time("created_at"),
)
