"""Queries of the table `accounts`."""

from dataclasses import replace
from typing import Any
from uuid import UUID

from sqlalchemy import Row, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.auth.model import Account, AccountStatus
from services.auth.store.tables import accounts, provider_tokens


class AccountQueries:
    """The queries of accounts in a transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def lock_subject(self, *, provider: str, subject: str) -> None:
        """Lock a provider's subject, which need not have an account yet, until the transaction ends."""
        key = func.hashtextextended(f"{provider}:{subject}", 0)
        await self._connection.execute(select(func.pg_advisory_xact_lock(key)))

    async def lock_by_subject(self, *, provider: str, subject: str) -> Account | None:
        """Return the account with this id at the provider, locked until the transaction ends."""
        query = select(accounts).where(accounts.c.provider == provider, accounts.c.subject == subject)
        row = (await self._connection.execute(query.with_for_update())).one_or_none()
        return None if row is None else account_of(row)

    async def lock(self, account_id: UUID) -> Account | None:
        """Return the account, locked until the transaction ends."""
        query = select(accounts).where(accounts.c.account_id == account_id).with_for_update()
        row = (await self._connection.execute(query)).one_or_none()
        return None if row is None else account_of(row)

    async def list_of(self, user_id: UUID) -> list[Account]:
        """Return a user's accounts, oldest first."""
        query = (
            select(accounts, provider_tokens.c.refresh_token_expires_at)
            .outerjoin(provider_tokens, provider_tokens.c.account_id == accounts.c.account_id)
            .where(accounts.c.user_id == user_id)
            .order_by(accounts.c.created_at, accounts.c.account_id)
        )
        rows = await self._connection.execute(query)
        return [replace(account_of(row), reconnect_by=row.refresh_token_expires_at) for row in rows]

    async def add(self, *, account_id: UUID, user_id: UUID, provider: str, subject: str, email: str) -> Account:
        """Add an account to a user."""
        values = {
            "account_id": account_id,
            "user_id": user_id,
            "provider": provider,
            "subject": subject,
            "email": email,
            "status": AccountStatus.ACTIVE,
        }
        rows = await self._connection.execute(insert(accounts).values(values).returning(accounts))
        return account_of(rows.one())

    async def subject_of(self, account_id: UUID) -> str:
        """Return the provider's id of an account that exists."""
        query = select(accounts.c.subject).where(accounts.c.account_id == account_id)
        return str((await self._connection.execute(query)).scalar_one())

    async def remove(self, account_id: UUID) -> None:
        """Delete an account with its tokens."""
        await self._connection.execute(delete(accounts).where(accounts.c.account_id == account_id))

    async def activate(self, account_id: UUID, *, email: str | None = None) -> Account:
        """Set the account active, with its current address if that is known; it is denied nothing any more."""
        values = {"status": AccountStatus.ACTIVE, "access_denied_reason": "", "updated_at": func.now()} | (
            {} if email is None else {"email": email}
        )
        rows = await self._connection.execute(
            update(accounts).where(accounts.c.account_id == account_id).values(values).returning(accounts)
        )
        return account_of(rows.one())

    async def rename(self, account_id: UUID, email: str) -> None:
        """Set the account's address."""
        await self._connection.execute(
            update(accounts).where(accounts.c.account_id == account_id).values(email=email, updated_at=func.now())
        )

    async def set_access_denied(self, account_id: UUID, reason: str) -> None:
        """Record why the provider denies the account access; an empty reason: it does not."""
        await self._connection.execute(
            update(accounts)
            .where(accounts.c.account_id == account_id)
            .values(access_denied_reason=reason, updated_at=func.now())
        )

    async def require_reauth(self, account_id: UUID) -> None:
        """Mark the account, whose grant the provider has ended."""
        await self._connection.execute(
            update(accounts)
            .where(accounts.c.account_id == account_id)
            .values(status=AccountStatus.REAUTH_REQUIRED, access_denied_reason="", updated_at=func.now())
        )


def account_of(row: Row[Any]) -> Account:
    """Return the account in a row that has all columns of the table."""
    return Account(
        account_id=row.account_id,
        user_id=row.user_id,
        provider=row.provider,
        email=row.email,
        status=AccountStatus(row.status),
        created_at=row.created_at,
        access_denied_reason=row.access_denied_reason,
    )
