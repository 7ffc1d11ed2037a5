"""All SQL of the auth service. Whoever locks both locks the account's row before its tokens' row."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, func, literal, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.auth.model import Account, AccountStatus
from services.auth.tables import accounts, provider_tokens, signing_keys, users
from services.kit.errors import AppError, Kind

# SQLSTATE classes and codes after which the same request may well succeed: connection lost, out of resources, server
# going down or starting, lock and statement time-outs, deadlock. Source: PostgreSQL, appendix A.
_PASSING = ("08", "53", "57P", "57014", "55P03", "40")


@dataclass(frozen=True)
class TokenRecord:
    """An account's tokens as they are stored: sealed."""

    access_token: bytes
    access_token_expires_at: datetime
    refresh_token: bytes | None
    refresh_token_expires_at: datetime | None
    scopes: frozenset[str]


@dataclass(frozen=True)
class StoredTokens:
    """An account with its tokens. The version grows with every change of the tokens, which was last at `updated_at`."""

    account: Account
    record: TokenRecord
    version: int
    updated_at: datetime


@dataclass(frozen=True)
class SigningKeyRecord:
    """A signing key as it is stored: the private half sealed."""

    key_id: str
    public_jwk: dict[str, str]
    private_key: bytes


class Transaction:
    """One transaction; every query of the service is a method."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def commit(self) -> None:
        """Makes the transaction's changes last."""
        await self._connection.commit()

    async def ping(self) -> None:
        """Asks the database for nothing but an answer."""
        await self._connection.execute(select(literal(1)))

    async def lock_subject(self, *, provider: str, subject: str) -> None:
        """Makes concurrent first sign-ins of one provider account wait for each other until the end."""
        key = func.hashtextextended(f"{provider}:{subject}", 0)
        await self._connection.execute(select(func.pg_advisory_xact_lock(key)))

    async def find_account(self, *, provider: str, subject: str) -> Account | None:
        """The account with this id at the provider, locked until the end."""
        query = select(accounts).where(accounts.c.provider == provider, accounts.c.subject == subject)
        row = (await self._connection.execute(query.with_for_update())).one_or_none()
        return None if row is None else _account(row)

    async def lock_account(self, account_id: UUID) -> Account | None:
        """The account, locked until the end."""
        query = select(accounts).where(accounts.c.account_id == account_id).with_for_update()
        row = (await self._connection.execute(query)).one_or_none()
        return None if row is None else _account(row)

    async def list_accounts(self, user_id: UUID) -> list[Account]:
        """A user's accounts, oldest first."""
        query = select(accounts).where(accounts.c.user_id == user_id)
        rows = await self._connection.execute(query.order_by(accounts.c.created_at, accounts.c.account_id))
        return [_account(row) for row in rows]

    async def add_account(self, *, account_id: UUID, user_id: UUID, provider: str, subject: str, email: str) -> Account:
        """A new user with this as their only account."""
        await self._connection.execute(insert(users).values(user_id=user_id))
        values = {
            "account_id": account_id,
            "user_id": user_id,
            "provider": provider,
            "subject": subject,
            "email": email,
            "status": AccountStatus.ACTIVE,
        }
        rows = await self._connection.execute(insert(accounts).values(values).returning(accounts))
        return _account(rows.one())

    async def activate_account(self, account_id: UUID, *, email: str | None = None) -> Account:
        """Sets the account active, with its address as of now if that is known."""
        values = {"status": AccountStatus.ACTIVE, "updated_at": func.now()} | (
            {} if email is None else {"email": email}
        )
        rows = await self._connection.execute(
            update(accounts).where(accounts.c.account_id == account_id).values(values).returning(accounts)
        )
        return _account(rows.one())

    async def require_reauth(self, account_id: UUID) -> None:
        """Marks the account: its grant is dead."""
        await self._connection.execute(
            update(accounts)
            .where(accounts.c.account_id == account_id)
            .values(status=AccountStatus.REAUTH_REQUIRED, updated_at=func.now())
        )

    async def find_tokens(self, account_id: UUID, *, user_id: UUID) -> StoredTokens | None:
        """An account with its tokens, if it is this user's."""
        changed_at = provider_tokens.c.updated_at.label("changed_at")
        query = (
            select(accounts, provider_tokens, changed_at)
            .join(provider_tokens, provider_tokens.c.account_id == accounts.c.account_id)
            .where(accounts.c.account_id == account_id, accounts.c.user_id == user_id)
        )
        row = (await self._connection.execute(query)).one_or_none()
        return None if row is None else StoredTokens(_account(row), _tokens(row), row.version, row.changed_at)

    async def put_tokens(self, account_id: UUID, record: TokenRecord) -> None:
        """Sets an account's tokens whatever they were, and raises their version."""
        values = _token_values(record)
        await self._connection.execute(
            insert(provider_tokens)
            .values(account_id=account_id, **values)
            .on_conflict_do_update(
                index_elements=[provider_tokens.c.account_id],
                set_={**values, "version": provider_tokens.c.version + 1, "updated_at": func.now()},
            )
        )

    async def replace_tokens(self, account_id: UUID, record: TokenRecord, *, version: int) -> bool:
        """Sets an account's tokens if they still have this version, and raises it; false if they were changed."""
        changed = await self._connection.execute(
            update(provider_tokens)
            .where(provider_tokens.c.account_id == account_id, provider_tokens.c.version == version)
            .values({**_token_values(record), "version": version + 1, "updated_at": func.now()})
        )
        return changed.rowcount == 1

    async def lock_tokens(self, account_id: UUID) -> int | None:
        """The version of an account's tokens, which stays as it is until the end."""
        query = select(provider_tokens.c.version).where(provider_tokens.c.account_id == account_id)
        return (await self._connection.execute(query.with_for_update())).scalar_one_or_none()

    async def lock_signing_keys(self) -> None:
        """Makes processes that would create a key at the same time wait for each other until the end."""
        await self._connection.execute(text("LOCK TABLE signing_keys IN SHARE ROW EXCLUSIVE MODE"))

    async def list_signing_keys(self) -> list[SigningKeyRecord]:
        """All signing keys, newest first."""
        query = select(signing_keys).order_by(signing_keys.c.created_at.desc(), signing_keys.c.key_id)
        rows = await self._connection.execute(query)
        return [SigningKeyRecord(row.key_id, row.public_jwk, row.private_key) for row in rows]

    async def lock_tokens_sealed_otherwise(
        self, header: bytes, *, after: UUID | None, limit: int
    ) -> list[tuple[UUID, TokenRecord]]:
        """Accounts whose tokens do not begin with this header, in the order of their ids, locked until the end."""
        query = select(provider_tokens).where(
            or_(
                func.substring(provider_tokens.c.access_token, 1, len(header)) != header,
                func.substring(provider_tokens.c.refresh_token, 1, len(header)) != header,
            )
        )
        if after is not None:
            query = query.where(provider_tokens.c.account_id > after)
        query = query.order_by(provider_tokens.c.account_id).limit(limit).with_for_update()
        rows = await self._connection.execute(query)
        return [(row.account_id, _tokens(row)) for row in rows]

    async def put_resealed_tokens(self, account_id: UUID, *, access_token: bytes, refresh_token: bytes | None) -> None:
        """The same tokens, sealed anew. The version stays: a refresh under way must still find it."""
        await self._connection.execute(
            update(provider_tokens)
            .where(provider_tokens.c.account_id == account_id)
            .values(access_token=access_token, refresh_token=refresh_token)
        )

    async def put_resealed_signing_key(self, key_id: str, *, private_key: bytes) -> None:
        """The same key, sealed anew."""
        await self._connection.execute(
            update(signing_keys).where(signing_keys.c.key_id == key_id).values(private_key=private_key)
        )

    async def add_signing_key(self, record: SigningKeyRecord) -> None:
        """Stores a new key, which signs from now on."""
        values = {"key_id": record.key_id, "public_jwk": record.public_jwk, "private_key": record.private_key}
        await self._connection.execute(insert(signing_keys).values(values))


class Store:
    """Hands out transactions on the service's database."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """A transaction that is rolled back unless committed. Raises AppError if the database cannot be used now."""
        try:
            async with self._engine.connect() as connection:
                yield Transaction(connection)
        except (OSError, PoolTimeoutError) as error:
            raise _unavailable() from error
        except DBAPIError as error:
            if error.connection_invalidated or str(getattr(error.orig, "sqlstate", None) or "08").startswith(_PASSING):
                raise _unavailable() from error
            raise


def _unavailable() -> AppError:
    return AppError(Kind.UNAVAILABLE, "service_unavailable", "The database is unavailable, try again.")


def _account(row: Row[Any]) -> Account:
    return Account(
        account_id=row.account_id,
        user_id=row.user_id,
        provider=row.provider,
        email=row.email,
        status=AccountStatus(row.status),
        created_at=row.created_at,
    )


def _tokens(row: Row[Any]) -> TokenRecord:
    return TokenRecord(
        access_token=row.access_token,
        access_token_expires_at=row.access_token_expires_at,
        refresh_token=row.refresh_token,
        refresh_token_expires_at=row.refresh_token_expires_at,
        scopes=frozenset(row.scopes),
    )


def _token_values(record: TokenRecord) -> dict[str, Any]:
    return {
        "access_token": record.access_token,
        "access_token_expires_at": record.access_token_expires_at,
        "refresh_token": record.refresh_token,
        "refresh_token_expires_at": record.refresh_token_expires_at,
        "scopes": sorted(record.scopes),
    }
