"""Changing SECRET_KEY without losing a connection."""

from uuid import UUID, uuid4

import pytest
from redis.asyncio import Redis
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from services.auth.cipher import Cipher, DecryptionError
from services.auth.model import Account
from services.auth.provider_grants.accounts import Accounts
from services.auth.provider_grants.recent_revocations import RecentRevocations
from services.auth.provider_grants.revocations import GrantRevocations, decrypt_grant
from services.auth.provider_grants.token_encryption import decrypt_access_token, decrypt_refresh_token
from services.auth.providers.base import Consent, Grant, ProviderIdentity
from services.auth.reencrypt import BATCH, Reencryption
from services.auth.sessions.signing_keys import SigningKeys
from services.auth.sign_up import SignUpPolicy
from services.auth.store.revocations import RevocationRecord
from services.auth.store.tables import grant_revocations, provider_tokens
from services.auth.store.transaction import Store
from tests.support.auth.clock import Time
from tests.support.auth.parts import grant_of

OLD = "the old secret of the tests, long enough"
NEW = "the new secret of the tests, long enough"


@pytest.fixture
def store(fresh_engine: AsyncEngine) -> Store:
    return Store(fresh_engine)


async def connect(store: Store, redis: Redis, *, number: int) -> list[Account]:
    """Connect this number of accounts, whose tokens name the subject and are encrypted under the old secret."""
    time = Time()
    cipher = Cipher(OLD, previous=None)
    revocations = GrantRevocations(
        store=store,
        cipher=cipher,
        providers={},
        recent=RecentRevocations(redis),
        clock=time.now,
        new_id=uuid4,
    )
    accounts = Accounts(
        store=store,
        cipher=cipher,
        revocations=revocations,
        sign_ups=SignUpPolicy(),
        new_id=uuid4,
        clock=time.now,
    )
    made = []
    for n in range(number):
        grant = Grant(f"access {n}", time.now(), f"refresh {n}", None, frozenset({"openid"}))
        made.append(await accounts.sign_in(Consent("google", ProviderIdentity(str(n), "a@b.c", True), grant)))
    return made


async def tokens(store: Store, account: Account, *, cipher: Cipher) -> tuple[str, str | None]:
    async with store.transaction() as transaction:
        stored = await transaction.provider_tokens.find(account.account_id, user_id=account.user_id)
    assert stored is not None
    return (
        decrypt_access_token(cipher, account.account_id, stored.record),
        decrypt_refresh_token(cipher, account.account_id, stored.record),
    )


class TestReencryption:
    async def test_afterwards_the_new_secret_alone_decrypts_everything(self, store: Store, redis: Redis) -> None:
        accounts = await connect(store, redis, number=BATCH + 5)
        old_key = await SigningKeys(store=store, cipher=Cipher(OLD, previous=None), clock=Time().now).current()
        result = await Reencryption(store=store, cipher=Cipher(NEW, previous=OLD)).run()
        assert (result.done, result.failed) == (BATCH + 6, 0)
        cipher = Cipher(NEW, previous=None)
        assert (await SigningKeys(store=store, cipher=cipher, clock=Time().now).current()).key_id == old_key.key_id
        for n, account in enumerate(accounts):
            assert await tokens(store, account, cipher=cipher) == (f"access {n}", f"refresh {n}")

    async def test_includes_grants_that_belong_to_no_account(self, store: Store, redis: Redis) -> None:
        def revocations(cipher: Cipher) -> GrantRevocations:
            recent = RecentRevocations(redis)
            return GrantRevocations(
                store=store, cipher=cipher, providers={}, recent=recent, clock=time.now, new_id=uuid4
            )

        time = Time()
        consent = Consent("google", ProviderIdentity("1", "a@b.c", email_verified=None), grant_of("token", time))
        grant_id = await revocations(Cipher(OLD, previous=None)).add_pending(consent, seconds=120)
        assert (await Reencryption(store=store, cipher=Cipher(NEW, previous=OLD)).run()).done == 1
        async with store.transaction() as transaction:
            assert await revocations(Cipher(NEW, previous=None)).claim_pending(transaction, grant_id) == consent

    async def test_includes_grants_of_releases_that_called_the_field_otherwise(
        self, store: Store, fresh_engine: AsyncEngine
    ) -> None:
        old, new, time = Cipher(OLD, previous=None), Cipher(NEW, previous=None), Time()
        grant_id = uuid4()
        former = old.encrypt("the grant", owner=str(grant_id), field="loose_grant")
        async with store.transaction() as transaction:
            record = RevocationRecord(grant_id, "google", "1", former)
            await transaction.revocations.put(record, pending=False, due_at=time.now())
            await transaction.commit()
        assert (await Reencryption(store=store, cipher=Cipher(NEW, previous=OLD)).run()).done == 1
        async with fresh_engine.begin() as connection:
            encrypted = await connection.scalar(select(grant_revocations.c.encrypted))
        assert encrypted is not None
        assert decrypt_grant(new, RevocationRecord(grant_id, "google", "1", encrypted)) == "the grant"

    async def test_does_nothing_the_second_time(self, store: Store, redis: Redis) -> None:
        await connect(store, redis, number=3)
        reencrypt = Reencryption(store=store, cipher=Cipher(NEW, previous=OLD))
        await reencrypt.run()
        assert (await reencrypt.run()).done == 0

    async def test_leaves_and_reports_records_that_cannot_be_decrypted(
        self, store: Store, redis: Redis, fresh_engine: AsyncEngine
    ) -> None:
        broken, whole = await connect(store, redis, number=2)
        async with fresh_engine.begin() as connection:
            await connection.execute(
                update(provider_tokens)
                .where(provider_tokens.c.grant_id == broken.account_id)
                .values(refresh_token=func.substring(provider_tokens.c.refresh_token, 1, 20))
            )
        before = await self._row(fresh_engine, broken.account_id)
        result = await Reencryption(store=store, cipher=Cipher(NEW, previous=OLD)).run()
        assert (result.done, result.failed) == (1, 1)
        assert await self._row(fresh_engine, broken.account_id) == before
        assert await tokens(store, whole, cipher=Cipher(NEW, previous=None)) == ("access 1", "refresh 1")

    async def test_keeps_the_version_so_that_a_refresh_under_way_can_be_stored(
        self, store: Store, redis: Redis, fresh_engine: AsyncEngine
    ) -> None:
        [account] = await connect(store, redis, number=1)
        _, before = await self._row(fresh_engine, account.account_id)
        await Reencryption(store=store, cipher=Cipher(NEW, previous=OLD)).run()
        _, after = await self._row(fresh_engine, account.account_id)
        assert before == after

    async def test_needs_the_previous_secret(self, store: Store, redis: Redis) -> None:
        [account] = await connect(store, redis, number=1)
        result = await Reencryption(store=store, cipher=Cipher(NEW, previous=None)).run()
        assert (result.done, result.failed) == (0, 1)
        with pytest.raises(DecryptionError):
            await tokens(store, account, cipher=Cipher(NEW, previous=None))

    async def _row(self, engine: AsyncEngine, account_id: UUID) -> tuple[bytes, int]:
        query = select(provider_tokens.c.refresh_token, provider_tokens.c.version)
        async with engine.connect() as connection:
            row = (await connection.execute(query.where(provider_tokens.c.grant_id == account_id))).one()
        return row.refresh_token, row.version
