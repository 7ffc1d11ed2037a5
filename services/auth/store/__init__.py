"""All SQL of the auth service.

Whoever locks several of them locks a provider's subject first, then the user, the account, and its tokens. Who changes
the tokens of an account locks the account.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, delete, func, literal, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.auth.model import Account, AccountStatus, User
from services.auth.store.events import EventQueries
from services.auth.store.revocations import RevocationQueries
from services.auth.store.sessions import SessionQueries
from services.auth.store.signing_keys import SigningKeyQueries
from services.auth.store.tables import accounts, provider_tokens, users
from services.kit.errors import service_unavailable

# SQLSTATE classes and codes after which the same request may well succeed: connection lost, out of resources, server
# going down or starting, lock and statement time-outs, deadlock. Source: PostgreSQL, appendix A.
_PASSING = ("08", "53", "57P", "57014", "55P03", "40")


@dataclass(frozen=True)
class TokenRecord:
    """An account's tokens as they are stored: encrypted."""

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


class Transaction:
    """One transaction: the queries about users, accounts and their tokens, and those of the other tables by name."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self.sessions = SessionQueries(connection)
        self.signing_keys = SigningKeyQueries(connection)
        self.revocations = RevocationQueries(connection)
        self.events = EventQueries(connection)

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
        query = (
            select(accounts, provider_tokens.c.refresh_token_expires_at)
            .outerjoin(provider_tokens, provider_tokens.c.account_id == accounts.c.account_id)
            .where(accounts.c.user_id == user_id)
            .order_by(accounts.c.created_at, accounts.c.account_id)
        )
        rows = await self._connection.execute(query)
        return [replace(_account(row), reconnect_by=row.refresh_token_expires_at) for row in rows]

    async def find_user(self, user_id: UUID) -> User | None:
        """A user."""
        row = (await self._connection.execute(select(users).where(users.c.user_id == user_id))).one_or_none()
        return None if row is None else User(row.user_id, row.created_at)

    async def find_login(self, *, provider: str, subject: str, lock: bool = False) -> UUID | None:
        """The user who signs in with this provider account; with `lock` nobody deletes them until the end."""
        query = select(users.c.user_id).where(users.c.login_provider == provider, users.c.login_subject == subject)
        if lock:
            query = query.with_for_update(read=True, key_share=True)
        return (await self._connection.execute(query)).scalar_one_or_none()

    async def lock_user(self, user_id: UUID) -> bool:
        """Keeps the user from being changed, and from getting accounts and sessions, until the end; false if gone."""
        query = select(users.c.user_id).where(users.c.user_id == user_id).with_for_update()
        return (await self._connection.execute(query)).one_or_none() is not None

    async def add_user(self, user_id: UUID, *, provider: str, subject: str) -> None:
        """A new user, who signs in with this provider account."""
        await self._connection.execute(
            insert(users).values(user_id=user_id, login_provider=provider, login_subject=subject)
        )

    async def remove_user(self, user_id: UUID) -> None:
        """Deletes a user with their sessions and accounts."""
        await self._connection.execute(delete(users).where(users.c.user_id == user_id))

    async def add_account(self, *, account_id: UUID, user_id: UUID, provider: str, subject: str, email: str) -> Account:
        """A new account of a user."""
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

    async def subject_of(self, account_id: UUID) -> str:
        """The provider's id of an account that exists."""
        query = select(accounts.c.subject).where(accounts.c.account_id == account_id)
        return str((await self._connection.execute(query)).scalar_one())

    async def remove_account(self, account_id: UUID) -> None:
        """Deletes an account with its tokens."""
        await self._connection.execute(delete(accounts).where(accounts.c.account_id == account_id))

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

    async def lock_tokens_of_other_keys(
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

    async def put_reencrypted_tokens(
        self, account_id: UUID, *, access_token: bytes, refresh_token: bytes | None
    ) -> None:
        """The same tokens, encrypted anew. The version stays: a refresh under way must still find it."""
        await self._connection.execute(
            update(provider_tokens)
            .where(provider_tokens.c.account_id == account_id)
            .values(access_token=access_token, refresh_token=refresh_token)
        )


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
            raise service_unavailable("The database") from error
        except DBAPIError as error:
            if error.connection_invalidated or str(getattr(error.orig, "sqlstate", None) or "08").startswith(_PASSING):
                raise service_unavailable("The database") from error
            raise


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
