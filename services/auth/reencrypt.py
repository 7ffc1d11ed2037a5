"""Reencryption of all records under SECRET_KEY while the service runs; afterwards SECRET_KEY_PREVIOUS is not needed.

Before it begins, all processes must run with the new SECRET_KEY and the old one as SECRET_KEY_PREVIOUS.
"""

from dataclasses import dataclass
from uuid import UUID

import structlog

from services.auth.cipher import Cipher, DecryptionError
from services.auth.provider_grants.revocations import decrypt_grant, encrypt_grant
from services.auth.provider_grants.token_encryption import ACCESS_TOKEN, REFRESH_TOKEN
from services.auth.sessions.signing_keys import PRIVATE_KEY
from services.auth.store.provider_tokens import TokenRecord
from services.auth.store.transaction import Store, Transaction

log = structlog.get_logger()

# The rows of a batch are locked while they are encrypted, for a few milliseconds.
BATCH = 100


@dataclass
class ReencryptionResult:
    """Numbers of records: reencrypted, and left as they are because they could not be decrypted."""

    done: int = 0
    failed: int = 0


class Reencryption:
    """Reencryption of all records of the database."""

    def __init__(self, *, store: Store, cipher: Cipher) -> None:
        self._store = store
        self._cipher = cipher

    async def run(self) -> ReencryptionResult:
        """Reencrypt until every record is under the current secret. Idempotent."""
        total = ReencryptionResult()
        await self._signing_keys(total)
        while True:
            passed = await self._all_tokens()
            await self._revocations(passed)
            total.done += passed.done
            if passed.done == 0:
                # A refresh that began before a pass may store a record of the old key during it. After a pass that
                # finds none, none can come.
                total.failed += passed.failed
                return total

    async def _signing_keys(self, total: ReencryptionResult) -> None:
        async with self._store.transaction() as transaction:
            await transaction.signing_keys.lock()
            for record in await transaction.signing_keys.list_all():
                if record.private_key.startswith(self._cipher.header):
                    continue
                try:
                    encrypted = self._anew(record.private_key, owner=record.key_id, field=PRIVATE_KEY)
                except DecryptionError as error:
                    total.failed += 1
                    log.error("a signing key does not open", key_id=record.key_id, reason=str(error))
                    continue
                await transaction.signing_keys.put_reencrypted(record.key_id, private_key=encrypted)
                total.done += 1
            await transaction.commit()

    async def _all_tokens(self) -> ReencryptionResult:
        passed = ReencryptionResult()
        last: UUID | None = None
        while True:
            async with self._store.transaction() as transaction:
                batch = await transaction.provider_tokens.lock_of_other_keys(
                    self._cipher.header, after=last, limit=BATCH
                )
                if not batch:
                    return passed
                for grant_id, record in batch:
                    await self._tokens(transaction, grant_id, record, passed)
                    last = grant_id
                await transaction.commit()

    async def _revocations(self, passed: ReencryptionResult) -> None:
        last: UUID | None = None
        while True:
            async with self._store.transaction() as transaction:
                batch = await transaction.revocations.lock_of_other_keys(self._cipher.header, after=last, limit=BATCH)
                if not batch:
                    return
                for record in batch:
                    last = record.grant_id
                    try:
                        encrypted = encrypt_grant(self._cipher, grant_id=last, text=decrypt_grant(self._cipher, record))
                    except DecryptionError as error:
                        passed.failed += 1
                        log.error("a grant that is to be revoked does not open", reason=str(error))
                        continue
                    await transaction.revocations.put_reencrypted(last, encrypted=encrypted)
                    passed.done += 1
                await transaction.commit()

    async def _tokens(
        self, transaction: Transaction, grant_id: UUID, record: TokenRecord, passed: ReencryptionResult
    ) -> None:
        owner = str(grant_id)
        refresh_token = record.refresh_token
        try:
            access_token = self._anew(record.access_token, owner=owner, field=ACCESS_TOKEN)
            if refresh_token is not None:
                refresh_token = self._anew(refresh_token, owner=owner, field=REFRESH_TOKEN)
        except DecryptionError as error:
            passed.failed += 1
            log.error("the tokens of an account do not open", account_id=owner, reason=str(error))
            return
        await transaction.provider_tokens.put_reencrypted(
            grant_id, access_token=access_token, refresh_token=refresh_token
        )
        passed.done += 1

    def _anew(self, record: bytes, *, owner: str, field: str) -> bytes:
        return self._cipher.encrypt(self._cipher.decrypt(record, owner=owner, field=field), owner=owner, field=field)
