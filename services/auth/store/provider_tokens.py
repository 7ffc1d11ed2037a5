"""Queries of the table `provider_tokens`."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.auth.model import Account, AccountStatus
from services.auth.store.accounts import account_of, grant_id_of_account
from services.auth.store.tables import accounts, provider_tokens


@dataclass(frozen=True)
class TokenRecord:
    """The encrypted tokens of a grant."""

    access_token: bytes
    access_token_expires_at: datetime
    refresh_token: bytes | None
    refresh_token_expires_at: datetime | None
    scopes: frozenset[str]


@dataclass(frozen=True)
class StoredTokens:
    """An account with its tokens. `version` grows with every change of them; the last one was at `updated_at`."""

    account: Account
    record: TokenRecord
    version: int
    updated_at: datetime


class ProviderTokenQueries:
    """The queries of provider tokens in a transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def find(self, account_id: UUID, *, user_id: UUID) -> StoredTokens | None:
        """Return an account with the tokens of its grant, if it belongs to this user."""
        changed_at = provider_tokens.c.updated_at.label("changed_at")
        query = (
            select(accounts, provider_tokens, changed_at)
            .join(provider_tokens, provider_tokens.c.grant_id == grant_id_of_account)
            .where(accounts.c.account_id == account_id, accounts.c.user_id == user_id)
        )
        row = (await self._connection.execute(query)).one_or_none()
        return None if row is None else StoredTokens(account_of(row), _record(row), row.version, row.changed_at)

    async def list_old(
        self, *, provider: str, changed_before: datetime, after: UUID | None, limit: int
    ) -> list[StoredTokens]:
        """Return a provider's active accounts that hold tokens which have not changed since, by id.

        The tokens include a refresh token.
        """
        changed_at = provider_tokens.c.updated_at.label("changed_at")
        query = (
            select(accounts, provider_tokens, changed_at)
            .join(provider_tokens, provider_tokens.c.grant_id == accounts.c.account_id)
            .where(
                accounts.c.provider == provider,
                accounts.c.status == AccountStatus.ACTIVE,
                provider_tokens.c.refresh_token.is_not(None),
                provider_tokens.c.updated_at < changed_before,
            )
            .order_by(accounts.c.account_id)
            .limit(limit)
        )
        if after is not None:
            query = query.where(accounts.c.account_id > after)
        rows = await self._connection.execute(query)
        return [StoredTokens(account_of(row), _record(row), row.version, row.changed_at) for row in rows]

    async def put(self, grant_id: UUID, record: TokenRecord) -> None:
        """Set a grant's tokens and raise their version."""
        values = _values(record)
        await self._connection.execute(
            insert(provider_tokens)
            .values(grant_id=grant_id, **values)
            .on_conflict_do_update(
                index_elements=[provider_tokens.c.grant_id],
                set_={**values, "version": provider_tokens.c.version + 1, "updated_at": func.now()},
            )
        )

    async def lock_of_other_keys(
        self, header: bytes, *, after: UUID | None, limit: int
    ) -> list[tuple[UUID, TokenRecord]]:
        """Lock tokens that another key encrypted, by grant id, until the transaction ends.

        Records of the current key begin with `header`.
        """
        query = select(provider_tokens).where(
            or_(
                func.substring(provider_tokens.c.access_token, 1, len(header)) != header,
                func.substring(provider_tokens.c.refresh_token, 1, len(header)) != header,
            )
        )
        if after is not None:
            query = query.where(provider_tokens.c.grant_id > after)
        query = query.order_by(provider_tokens.c.grant_id).limit(limit).with_for_update()
        rows = await self._connection.execute(query)
        return [(row.grant_id, _record(row)) for row in rows]

    async def put_reencrypted(self, grant_id: UUID, *, access_token: bytes, refresh_token: bytes | None) -> None:
        """Replace the encrypted tokens. The version stays, since a refresh under way compares it."""
        await self._connection.execute(
            update(provider_tokens)
            .where(provider_tokens.c.grant_id == grant_id)
            .values(access_token=access_token, refresh_token=refresh_token)
        )


def _record(row: Row[Any]) -> TokenRecord:
    return TokenRecord(
        access_token=row.access_token,
        access_token_expires_at=row.access_token_expires_at,
        refresh_token=row.refresh_token,
        refresh_token_expires_at=row.refresh_token_expires_at,
        scopes=frozenset(row.scopes),
    )


def _values(record: TokenRecord) -> dict[str, Any]:
    return {
        "access_token": record.access_token,
        "access_token_expires_at": record.access_token_expires_at,
        "refresh_token": record.refresh_token,
        "refresh_token_expires_at": record.refresh_token_expires_at,
        "scopes": sorted(record.scopes),
    }
