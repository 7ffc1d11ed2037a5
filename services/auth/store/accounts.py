"""Queries of the table `accounts`."""

from dataclasses import replace
from typing import Any
from uuid import UUID

from sqlalchemy import Row, Uuid, case, delete, func, literal, null, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.auth.model import Account, AccountStatus
from services.auth.store.tables import accounts, provider_tokens

# The account with which the tokens of an account's grant are kept.
grant_id_of_account = func.coalesce(accounts.c.grant_account_id, accounts.c.account_id)


class AccountQueries:
    """The queries of accounts in a transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def lock_subject(self, *, provider: str, subject: str) -> None:
        """Lock a provider's subject, which need not have an account yet, until the transaction ends."""
        key = func.hashtextextended(f"{provider}:{subject}", 0)
        await self._connection.execute(select(func.pg_advisory_xact_lock(key)))

    async def lock_on_grant(self, *, provider: str, subject: str) -> list[Account]:
        """Return all applications' accounts with this id at the provider, locked until the transaction ends."""
        query = select(accounts).where(accounts.c.provider == provider, accounts.c.subject == subject)
        rows = await self._connection.execute(query.order_by(accounts.c.account_id).with_for_update())
        return [account_of(row) for row in rows]

    async def find(self, account_id: UUID) -> Account | None:
        """Return the account."""
        row = (
            await self._connection.execute(select(accounts).where(accounts.c.account_id == account_id))
        ).one_or_none()
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
            .outerjoin(provider_tokens, provider_tokens.c.grant_id == grant_id_of_account)
            .where(accounts.c.user_id == user_id)
            .order_by(accounts.c.created_at, accounts.c.account_id)
        )
        rows = await self._connection.execute(query)
        return [replace(account_of(row), reconnect_by=row.refresh_token_expires_at) for row in rows]

    async def list_of_application(self, application_id: UUID, *, account_id: UUID | None, limit: int) -> list[Account]:
        """Return the newest accounts of an application, oldest first, or the one with this id."""
        query = select(accounts, provider_tokens.c.refresh_token_expires_at).outerjoin(
            provider_tokens, provider_tokens.c.grant_id == grant_id_of_account
        )
        query = query.where(accounts.c.application_id == application_id)
        if account_id is not None:
            query = query.where(accounts.c.account_id == account_id)
        rows = await self._connection.execute(query.order_by(accounts.c.created_at.desc()).limit(limit))
        found = [replace(account_of(row), reconnect_by=row.refresh_token_expires_at) for row in rows]
        return found[::-1]

    async def add(
        self,
        *,
        account_id: UUID,
        application_id: UUID,
        user_id: UUID,
        grant_id: UUID,
        provider: str,
        subject: str,
        email: str,
    ) -> Account:
        """Add an account to a user; its grant is its own, or that of another application's account."""
        values = {
            "account_id": account_id,
            "application_id": application_id,
            "user_id": user_id,
            "grant_account_id": None if grant_id == account_id else grant_id,
            "provider": provider,
            "subject": subject,
            "email": email,
            "status": AccountStatus.ACTIVE,
        }
        rows = await self._connection.execute(insert(accounts).values(values).returning(accounts))
        return account_of(rows.one())

    async def move_grant(self, grant_id: UUID, *, to: UUID) -> None:
        """Let the accounts on a grant stand on the account `to`, which is one of them."""
        moved = update(accounts).where(accounts.c.grant_account_id == grant_id)
        await self._connection.execute(
            moved.values(grant_account_id=case((accounts.c.account_id == to, null()), else_=literal(to, Uuid)))
        )

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

    async def activate_grant(self, grant_id: UUID) -> None:
        """Set all accounts on a grant active: the provider honours it again."""
        await self._connection.execute(
            update(accounts)
            .where(grant_id_of_account == grant_id, accounts.c.status != AccountStatus.ACTIVE)
            .values(status=AccountStatus.ACTIVE, access_denied_reason="", updated_at=func.now())
        )

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

    async def require_reauth(self, grant_id: UUID) -> list[Account]:
        """Mark the accounts on a grant that the provider has ended, and return them."""
        rows = await self._connection.execute(
            update(accounts)
            .where(grant_id_of_account == grant_id)
            .values(status=AccountStatus.REAUTH_REQUIRED, access_denied_reason="", updated_at=func.now())
            .returning(accounts)
        )
        return [account_of(row) for row in rows]


def account_of(row: Row[Any]) -> Account:
    """Return the account in a row that has all columns of the table."""
    return Account(
        account_id=row.account_id,
        application_id=row.application_id,
        user_id=row.user_id,
        grant_id=row.grant_account_id or row.account_id,
        provider=row.provider,
        subject=row.subject,
        email=row.email,
        status=AccountStatus(row.status),
        created_at=row.created_at,
        access_denied_reason=row.access_denied_reason,
    )
