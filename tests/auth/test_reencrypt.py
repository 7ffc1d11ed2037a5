"""Changing SECRET_KEY without losing a connection."""

from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from services.auth.cipher import Vault, VaultError
from services.auth.model import Account
from services.auth.provider_grants.accounts import Accounts
from services.auth.provider_grants.revocations import LooseGrants
from services.auth.provider_grants.token_records import open_access_token, open_refresh_token
from services.auth.providers.base import Consent, Grant, Identity
from services.auth.reencrypt import BATCH, Reseal
from services.auth.sessions.signing_keys import SigningKeys
from services.auth.store import Store
from services.auth.store.tables import provider_tokens
from tests.support.auth.clock import Time
from tests.support.auth.parts import grant_of

OLD = "the old secret of the tests, long enough"
NEW = "the new secret of the tests, long enough"


@pytest.fixture
def store(fresh_engine: AsyncEngine) -> Store:
    return Store(fresh_engine)


async def connect(store: Store, *, number: int) -> list[Account]:
    """So many accounts, whose tokens the old secret seals; the tokens tell the subject."""
    time = Time()
    accounts = Accounts(store=store, vault=Vault(OLD, previous=None), new_id=uuid4, clock=time.now)
    made = []
    for n in range(number):
        grant = Grant(f"access {n}", time.now(), f"refresh {n}", None, frozenset({"openid"}))
        made.append(await accounts.sign_in(Consent("google", Identity(str(n), "a@b.c", True), grant)))
    return made


async def tokens(store: Store, account: Account, *, vault: Vault) -> tuple[str, str | None]:
    async with store.transaction() as transaction:
        stored = await transaction.find_tokens(account.account_id, user_id=account.user_id)
    assert stored is not None
    return (
        open_access_token(vault, account.account_id, stored.record),
        open_refresh_token(vault, account.account_id, stored.record),
    )


class TestReseal:
    async def test_afterwards_the_new_secret_alone_opens_everything(self, store: Store) -> None:
        accounts = await connect(store, number=BATCH + 5)
        old_key = await SigningKeys(store=store, vault=Vault(OLD, previous=None), clock=Time().now).current()
        result = await Reseal(store=store, vault=Vault(NEW, previous=OLD)).run()
        assert (result.done, result.failed) == (BATCH + 6, 0)
        vault = Vault(NEW, previous=None)
        assert (await SigningKeys(store=store, vault=vault, clock=Time().now).current()).key_id == old_key.key_id
        for n, account in enumerate(accounts):
            assert await tokens(store, account, vault=vault) == (f"access {n}", f"refresh {n}")

    async def test_includes_grants_that_belong_to_no_account(self, store: Store) -> None:
        def loose_grants(vault: Vault) -> LooseGrants:
            return LooseGrants(store=store, vault=vault, providers={}, clock=time.now, new_id=uuid4)

        time = Time()
        parked = Consent("google", Identity("1", "a@b.c", email_verified=True), grant_of("token", time))
        grant_id = await loose_grants(Vault(OLD, previous=None)).park(parked, seconds=120)
        assert (await Reseal(store=store, vault=Vault(NEW, previous=OLD)).run()).done == 1
        async with store.transaction() as transaction:
            assert await loose_grants(Vault(NEW, previous=None)).take(transaction, grant_id) == parked

    async def test_does_nothing_the_second_time(self, store: Store) -> None:
        await connect(store, number=3)
        reseal = Reseal(store=store, vault=Vault(NEW, previous=OLD))
        await reseal.run()
        assert (await reseal.run()).done == 0

    async def test_leaves_what_does_not_open_as_it_is_and_says_so(
        self, store: Store, fresh_engine: AsyncEngine
    ) -> None:
        broken, whole = await connect(store, number=2)
        async with fresh_engine.begin() as connection:
            await connection.execute(
                update(provider_tokens)
                .where(provider_tokens.c.account_id == broken.account_id)
                .values(refresh_token=func.substring(provider_tokens.c.refresh_token, 1, 20))
            )
        before = await self._row(fresh_engine, broken.account_id)
        result = await Reseal(store=store, vault=Vault(NEW, previous=OLD)).run()
        assert (result.done, result.failed) == (1, 1)
        assert await self._row(fresh_engine, broken.account_id) == before
        assert await tokens(store, whole, vault=Vault(NEW, previous=None)) == ("access 1", "refresh 1")

    async def test_keeps_the_version_so_that_a_refresh_under_way_can_be_stored(
        self, store: Store, fresh_engine: AsyncEngine
    ) -> None:
        [account] = await connect(store, number=1)
        _, before = await self._row(fresh_engine, account.account_id)
        await Reseal(store=store, vault=Vault(NEW, previous=OLD)).run()
        _, after = await self._row(fresh_engine, account.account_id)
        assert before == after

    async def test_needs_the_previous_secret(self, store: Store) -> None:
        [account] = await connect(store, number=1)
        result = await Reseal(store=store, vault=Vault(NEW, previous=None)).run()
        assert (result.done, result.failed) == (0, 1)
        with pytest.raises(VaultError):
            await tokens(store, account, vault=Vault(NEW, previous=None))

    async def _row(self, engine: AsyncEngine, account_id: UUID) -> tuple[bytes, int]:
        query = select(provider_tokens.c.refresh_token, provider_tokens.c.version)
        async with engine.connect() as connection:
            row = (await connection.execute(query.where(provider_tokens.c.account_id == account_id))).one()
        return row.refresh_token, row.version
