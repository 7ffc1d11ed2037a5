"""Grants without an account: pending until their link is committed, or waiting to be revoked at the provider.

They are stored in Postgres, so that an unclaimed grant is revoked even if this process dies. A provider ends all grants
of an account when one of them is revoked. So a grant is not revoked while its account is connected or has a pending
link.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from services.auth.cipher import Cipher, DecryptionError
from services.auth.model import Client, EventType, SecurityEvent
from services.auth.provider_grants.recent_revocations import RecentRevocations
from services.auth.providers.base import Consent, Grant, Provider, ProviderError, ProviderIdentity
from services.auth.store.revocations import RevocationRecord
from services.auth.store.transaction import Store, Transaction
from services.kit.errors import AppError

log = structlog.get_logger()

REVOKE_TIMEOUT = 5.0
# The fields with which records are encrypted, and were before 30 November 2026: those wait for days at most, but
# backups keep them.
_GRANT, _FORMER_GRANT = "grant_revocation", "loose_grant"
_BATCH = 10
# A claimed revocation is hidden from other processes for this long.
_CLAIM = timedelta(seconds=60)
# The pause doubles after each failure; all attempts take about two days.
_FIRST_PAUSE = timedelta(seconds=30)
_LONGEST_PAUSE = timedelta(hours=6)
_ATTEMPTS = 18


class _GrantContent(BaseModel):
    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    email: str
    access_token: str
    access_token_expires_at: datetime
    refresh_token: str | None
    refresh_token_expires_at: datetime | None
    scopes: frozenset[str]


class GrantRevocations:
    """Pending grants, and revocation of the unclaimed ones."""

    def __init__(
        self,
        *,
        store: Store,
        cipher: Cipher,
        providers: Mapping[str, Provider],
        recent: RecentRevocations,
        clock: Callable[[], datetime],
        new_id: Callable[[], UUID],
    ) -> None:
        self._store = store
        self._cipher = cipher
        self._providers = providers
        self._recent = recent
        self._clock = clock
        self._new_id = new_id

    async def add_pending(self, consent: Consent, *, seconds: float) -> UUID:
        """Store a grant for a link. Unclaimed grants are revoked after `seconds`."""
        async with self._store.transaction() as transaction:
            grant_id = await self.park(transaction, consent, seconds=seconds)
            await transaction.commit()
        return grant_id

    async def park(self, transaction: Transaction, consent: Consent, *, seconds: float) -> UUID:
        """Store a pending grant like `add_pending`; takes effect on commit."""
        return await self._put(transaction, consent, pending_for=timedelta(seconds=seconds))

    async def claim_pending(self, transaction: Transaction, grant_id: UUID) -> Consent | None:
        """Claim the pending grant; takes effect on commit. None if it is unknown or expired."""
        record = await transaction.revocations.take_pending(grant_id, now=self._clock())
        if record is None:
            return None
        content = self._decrypted(record)
        # Whether the address was verified has been decided, and is not kept.
        identity = ProviderIdentity(subject=record.subject, email=content.email, email_verified=None)
        return Consent(record.provider, identity, _grant(content))

    async def schedule(self, transaction: Transaction, unwanted: Consent) -> UUID:
        """Schedule a revocation; it runs some time after the commit unless `revoke` runs it at once."""
        return await self._put(transaction, unwanted, pending_for=None)

    async def cancel_pending(self, grant_id: UUID) -> None:
        """Revoke a pending grant, now or as soon as the provider can be reached."""
        async with self._store.transaction() as transaction:
            await transaction.revocations.cancel_pending(grant_id, due_at=self._clock() + _CLAIM)
            await transaction.commit()
        await self.revoke(grant_id)

    async def refuse_pending(self, grant_id: UUID, *, user_id: UUID, client: Client) -> None:
        """Revoke a pending grant that is not linked to the user for whom it was asked, and record that."""
        async with self._store.transaction() as transaction:
            if await transaction.users.lock(user_id):
                await transaction.events.add(SecurityEvent(user_id, EventType.LINK_REFUSED, client=client))
            await transaction.commit()
        await self.cancel_pending(grant_id)

    async def revoke(self, grant_id: UUID) -> None:
        """Revoke a grant that is not pending. A failure is logged and retried later."""
        again_at = self._clock() + _CLAIM
        try:
            async with self._store.transaction() as transaction:
                claimed = await transaction.revocations.claim(grant_id, again_at=again_at)
                await transaction.commit()
            await self._revoke_all(claimed)
        except AppError as error:
            log.warning("revoking a grant is left for later", reason=error.reason)

    async def revoke_due(self) -> None:
        """Revoke every grant that is due."""
        claimed = _BATCH
        while claimed == _BATCH:
            now = self._clock()
            async with self._store.transaction() as transaction:
                due = await transaction.revocations.claim_due(now=now, again_at=now + _CLAIM, limit=_BATCH)
                await transaction.commit()
            await self._revoke_all(due)
            claimed = len(due)

    async def _put(self, transaction: Transaction, consent: Consent, *, pending_for: timedelta | None) -> UUID:
        grant_id = self._new_id()
        text = _content_of(consent).model_dump_json()
        record = RevocationRecord(
            grant_id,
            consent.provider,
            consent.identity.subject,
            encrypt_grant(self._cipher, grant_id=grant_id, text=text),
        )
        # The caller revokes a scheduled grant right away. If it were due right away as well, another process could
        # still be revoking it when the account is connected again.
        due_at = self._clock() + (pending_for or _CLAIM)
        await transaction.revocations.put(record, pending=pending_for is not None, due_at=due_at)
        return grant_id

    async def _revoke_all(self, claimed: list[RevocationRecord]) -> None:
        for record in claimed:
            if await self._is_done(record):
                async with self._store.transaction() as transaction:
                    await transaction.revocations.remove(record.grant_id)
                    await transaction.commit()
            else:
                await self._postpone(record)

    async def _is_done(self, record: RevocationRecord) -> bool:
        """Revoke the grant if that is still needed; return whether its record can be removed."""
        await self._recent.begin(record.grant_id, provider=record.provider, subject=record.subject)
        try:
            return await self._is_revoked(record)
        finally:
            await self._recent.end(record.grant_id, provider=record.provider, subject=record.subject)

    async def _is_revoked(self, record: RevocationRecord) -> bool:
        async with self._store.transaction() as transaction:
            if await transaction.accounts.lock_on_grant(provider=record.provider, subject=record.subject):
                return True
            if await transaction.revocations.is_pending_link(provider=record.provider, subject=record.subject):
                # A link of this account is pending: wait for its outcome.
                return False
        provider = self._providers.get(record.provider)
        try:
            content = self._decrypted(record)
            if provider is not None:
                await provider.revoke(_grant(content), timeout=REVOKE_TIMEOUT)
        except (ProviderError, DecryptionError) as error:
            log.warning("revoking a grant failed", provider=record.provider, reason=str(error))
            if record.attempts < _ATTEMPTS:
                return False
            log.error("gave up revoking a grant: its owner has to end it", provider=record.provider)
        return True

    async def _postpone(self, record: RevocationRecord) -> None:
        pause = min(_FIRST_PAUSE * 2 ** min(record.attempts - 1, 20), _LONGEST_PAUSE)
        async with self._store.transaction() as transaction:
            await transaction.revocations.postpone(record.grant_id, due_at=self._clock() + pause)
            await transaction.commit()

    def _decrypted(self, record: RevocationRecord) -> _GrantContent:
        try:
            return _GrantContent.model_validate_json(decrypt_grant(self._cipher, record))
        except ValidationError as error:
            raise DecryptionError("a grant of another release") from error


def encrypt_grant(cipher: Cipher, *, grant_id: UUID, text: str) -> bytes:
    """Return the record of a grant's content."""
    return cipher.encrypt(text, owner=str(grant_id), field=_GRANT)


def decrypt_grant(cipher: Cipher, record: RevocationRecord) -> str:
    """Return the content that was encrypted, by whichever release. Raises DecryptionError."""
    try:
        return cipher.decrypt(record.encrypted, owner=str(record.grant_id), field=_GRANT)
    except DecryptionError:
        return cipher.decrypt(record.encrypted, owner=str(record.grant_id), field=_FORMER_GRANT)


def _content_of(consent: Consent) -> _GrantContent:
    grant = consent.grant
    return _GrantContent(
        email=consent.identity.email,
        access_token=grant.access_token,
        access_token_expires_at=grant.access_token_expires_at,
        refresh_token=grant.refresh_token,
        refresh_token_expires_at=grant.refresh_token_expires_at,
        scopes=grant.scopes,
    )


def _grant(content: _GrantContent) -> Grant:
    return Grant(
        access_token=content.access_token,
        access_token_expires_at=content.access_token_expires_at,
        refresh_token=content.refresh_token,
        refresh_token_expires_at=content.refresh_token_expires_at,
        scopes=content.scopes,
    )
