"""Grants that belong to no account: parked until a link is committed, or waiting to be revoked at the provider.

They live in Postgres, so that a grant that nobody wants is revoked in the end, whatever dies meanwhile. A provider ends
all grants that an account gave us when one of them is revoked; so none is revoked whose account is connected (again),
or about to be.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from services.auth.cipher import Vault, VaultError
from services.auth.providers.base import Consent, Grant, Identity, Provider, ProviderError
from services.auth.store import Store, Transaction
from services.auth.store.revocations import LooseGrantRecord
from services.kit.errors import AppError

log = structlog.get_logger()

REVOKE_TIMEOUT = 5.0
LOOSE_GRANT = "loose_grant"
_BATCH = 10
# While somebody revokes, nobody else does.
_CLAIM = timedelta(seconds=60)
# Doubled after each failure; together these are about two days.
_FIRST_PAUSE = timedelta(seconds=30)
_LONGEST_PAUSE = timedelta(hours=6)
_ATTEMPTS = 18


class _Sealed(BaseModel):
    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    email: str
    access_token: str
    access_token_expires_at: datetime
    refresh_token: str | None
    refresh_token_expires_at: datetime | None
    scopes: frozenset[str]


class LooseGrants:
    """Parks, gives back and revokes grants."""

    def __init__(
        self,
        *,
        store: Store,
        vault: Vault,
        providers: Mapping[str, Provider],
        clock: Callable[[], datetime],
        new_id: Callable[[], UUID],
    ) -> None:
        self._store = store
        self._vault = vault
        self._providers = providers
        self._clock = clock
        self._new_id = new_id

    async def park(self, consent: Consent, *, seconds: float) -> UUID:
        """Keeps a grant for so long; who does not take it in time wants it revoked."""
        async with self._store.transaction() as transaction:
            grant_id = await self._put(transaction, consent, parked_for=timedelta(seconds=seconds))
            await transaction.commit()
        return grant_id

    async def take(self, transaction: Transaction, grant_id: UUID) -> Consent | None:
        """The parked grant, which is nobody's business any more if the transaction is committed; None if it is late."""
        record = await transaction.loose_grants.take(grant_id, now=self._clock())
        if record is None:
            return None
        sealed = self._opened(record)
        identity = Identity(subject=record.subject, email=sealed.email, email_verified=True)
        return Consent(record.provider, identity, _grant(sealed))

    async def discard(self, transaction: Transaction, unwanted: Consent) -> UUID:
        """Has a grant revoked some time after the transaction is committed, unless `revoke` does it at once."""
        return await self._put(transaction, unwanted, parked_for=None)

    async def drop(self, grant_id: UUID) -> None:
        """Revokes a parked grant, now or as soon as the provider can be reached."""
        async with self._store.transaction() as transaction:
            await transaction.loose_grants.drop(grant_id, due_at=self._clock() + _CLAIM)
            await transaction.commit()
        await self.revoke(grant_id)

    async def revoke(self, grant_id: UUID) -> None:
        """Revokes one that nobody can take (any more); failing is not the caller's trouble: it is tried again."""
        again_at = self._clock() + _CLAIM
        try:
            async with self._store.transaction() as transaction:
                claimed = await transaction.loose_grants.claim(grant_id, again_at=again_at)
                await transaction.commit()
            await self._revoke_all(claimed)
        except AppError as error:
            log.warning("revoking a grant is left for later", reason=error.reason)

    async def revoke_due(self) -> None:
        """Revokes everything that is due."""
        claimed = _BATCH
        while claimed == _BATCH:
            now = self._clock()
            async with self._store.transaction() as transaction:
                due = await transaction.loose_grants.claim_due(now=now, again_at=now + _CLAIM, limit=_BATCH)
                await transaction.commit()
            await self._revoke_all(due)
            claimed = len(due)

    async def _put(self, transaction: Transaction, consent: Consent, *, parked_for: timedelta | None) -> UUID:
        grant_id = self._new_id()
        text = _sealable(consent).model_dump_json()
        record = LooseGrantRecord(
            grant_id,
            consent.provider,
            consent.identity.subject,
            self._vault.seal(text, owner=str(grant_id), field=LOOSE_GRANT),
        )
        # Whoever discards a grant revokes it at once. Were it due at once as well, another process might come first,
        # and be at it still when the account is connected again.
        due_at = self._clock() + (parked_for or _CLAIM)
        await transaction.loose_grants.put(record, parked=parked_for is not None, due_at=due_at)
        return grant_id

    async def _revoke_all(self, claimed: list[LooseGrantRecord]) -> None:
        for record in claimed:
            if await self._is_done(record):
                async with self._store.transaction() as transaction:
                    await transaction.loose_grants.remove(record.grant_id)
                    await transaction.commit()
            else:
                await self._postpone(record)

    async def _is_done(self, record: LooseGrantRecord) -> bool:
        """Whether nothing is left to do about a grant; revokes it if that is what is left."""
        async with self._store.transaction() as transaction:
            if await transaction.find_account(provider=record.provider, subject=record.subject) is not None:
                return True
            if await transaction.loose_grants.is_parked(provider=record.provider, subject=record.subject):
                # About to be connected: wait for what becomes of that.
                return False
        provider = self._providers.get(record.provider)
        try:
            sealed = self._opened(record)
            if provider is not None:
                await provider.revoke(sealed.refresh_token or sealed.access_token, timeout=REVOKE_TIMEOUT)
        except (ProviderError, VaultError) as error:
            log.warning("revoking a grant failed", provider=record.provider, reason=str(error))
            if record.attempts < _ATTEMPTS:
                return False
            log.error("gave a grant up: it lives until its owner ends it at the provider", provider=record.provider)
        return True

    async def _postpone(self, record: LooseGrantRecord) -> None:
        pause = min(_FIRST_PAUSE * 2 ** min(record.attempts - 1, 20), _LONGEST_PAUSE)
        async with self._store.transaction() as transaction:
            await transaction.loose_grants.postpone(record.grant_id, due_at=self._clock() + pause)
            await transaction.commit()

    def _opened(self, record: LooseGrantRecord) -> _Sealed:
        text = self._vault.open(record.sealed, owner=str(record.grant_id), field=LOOSE_GRANT)
        try:
            return _Sealed.model_validate_json(text)
        except ValidationError as error:
            raise VaultError("a grant of another release") from error


def _sealable(consent: Consent) -> _Sealed:
    grant = consent.grant
    return _Sealed(
        email=consent.identity.email,
        access_token=grant.access_token,
        access_token_expires_at=grant.access_token_expires_at,
        refresh_token=grant.refresh_token,
        refresh_token_expires_at=grant.refresh_token_expires_at,
        scopes=grant.scopes,
    )


def _grant(sealed: _Sealed) -> Grant:
    return Grant(
        access_token=sealed.access_token,
        access_token_expires_at=sealed.access_token_expires_at,
        refresh_token=sealed.refresh_token,
        refresh_token_expires_at=sealed.refresh_token_expires_at,
        scopes=sealed.scopes,
    )
