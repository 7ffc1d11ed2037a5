"""One account of a provider that several applications have connected: one grant, whose tokens serve all of them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import override
from uuid import UUID, uuid4

import pytest
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from services.auth.cipher import Cipher
from services.auth.model import DEFAULT_APPLICATION, Account, AccountStatus
from services.auth.provider_grants.accounts import AccountOfAnotherUserError, Accounts
from services.auth.provider_grants.disconnect import Disconnections
from services.auth.provider_grants.provider_tokens import ProviderTokens
from services.auth.provider_grants.recent_revocations import RecentRevocations
from services.auth.provider_grants.refresh_lock import RefreshLock, Renew
from services.auth.provider_grants.revocations import GrantRevocations
from services.auth.provider_grants.token_encryption import decrypt_refresh_token
from services.auth.providers.base import Consent
from services.auth.sign_up import SignUpPolicy
from services.auth.store.transaction import Store
from services.kit.errors import AppError
from tests.support.auth.client import SECRET_KEY
from tests.support.auth.clock import Time
from tests.support.auth.parts import ScriptedProvider
from tests.support.mail.waiting import eventually


@dataclass
class Grants:
    """Accounts of several applications, at a provider in this process."""

    store: Store
    time: Time
    provider: ScriptedProvider
    accounts: Accounts
    disconnections: Disconnections
    cipher: Cipher

    async def consent(self, subject: str) -> Consent:
        """Consent as the owner of the account."""
        code = self.provider.consent(subject)
        identity, grant = await self.provider.exchange(code, code_verifier="v", nonce="n", max_age=None, timeout=1)
        return Consent("google", identity, grant)

    async def connected(self, application_id: UUID, consent: Consent) -> Account:
        """Connect the account for a new user of the application."""
        async with self.store.transaction() as transaction:
            user = await transaction.users.add_external(
                uuid4(), application_id=application_id, external_user_id=uuid4().hex
            )
            assert user is not None
            account = await self.accounts.link(transaction, consent, user_id=user.user_id)
            assert account is not None
            await transaction.commit()
        return account

    async def left(self, account: Account) -> None:
        """Disconnect the account of one application."""
        await self.disconnections.disconnect(account_id=account.account_id, user_id=account.user_id)

    def tokens(self, lock: RefreshLock) -> ProviderTokens:
        """Return the tokens as a process hands them out."""
        return ProviderTokens(
            providers={"google": self.provider},
            store=self.store,
            cipher=self.cipher,
            lock=lock,
            clock=self.time.now,
            registry=CollectorRegistry(),
        )

    async def refresh_token(self, account: Account) -> str | None:
        """Return the refresh token that serves an account."""
        async with self.store.transaction() as transaction:
            stored = await transaction.provider_tokens.find(account.account_id, user_id=account.user_id)
        assert stored is not None
        return decrypt_refresh_token(self.cipher, stored.account.grant_id, stored.record)


class ClosedLock(RefreshLock):
    """A lock that others hold until it is opened; `asked` are the grants that it was asked for."""

    def __init__(self, redis: Redis) -> None:
        super().__init__(redis=redis, lease=5, wait=5)
        self.asked: list[UUID] = []
        self._opened = asyncio.Event()

    @override
    @asynccontextmanager
    async def hold(self, grant_id: UUID) -> AsyncIterator[Renew]:
        self.asked.append(grant_id)
        await self._opened.wait()
        async with super().hold(grant_id) as renew:
            yield renew

    async def was_asked(self, times: int) -> bool:
        """Return whether it was asked for so many times."""
        return len(self.asked) == times

    def open(self) -> None:
        """Let all others release it."""
        self._opened.set()


@pytest.fixture
async def grants(fresh_engine: AsyncEngine, redis: Redis) -> Grants:
    store, time, cipher = Store(fresh_engine), Time(), Cipher(SECRET_KEY, previous=None)
    provider = ScriptedProvider(time)
    revocations = GrantRevocations(
        store=store,
        cipher=cipher,
        providers={"google": provider},
        recent=RecentRevocations(redis),
        clock=time.now,
        new_id=uuid4,
    )
    accounts = Accounts(
        store=store, cipher=cipher, revocations=revocations, sign_ups=SignUpPolicy(), new_id=uuid4, clock=time.now
    )
    lock = RefreshLock(redis=redis, lease=5, wait=5)
    disconnections = Disconnections(store=store, cipher=cipher, revocations=revocations, lock=lock)
    return Grants(store, time, provider, accounts, disconnections, cipher)


@pytest.fixture
async def shop(grants: Grants) -> UUID:
    """A second application, beside the default one."""
    application_id = uuid4()
    async with grants.store.transaction() as transaction:
        await transaction.applications.add(application_id, name=application_id.hex, redirect_urls=[])
        await transaction.commit()
    return application_id


class TestSharedGrants:
    async def test_are_served_by_the_latest_tokens(self, grants: Grants, shop: UUID) -> None:
        first = await grants.accounts.sign_in(await grants.consent("ada"))
        renewal = await grants.consent("ada")
        second = await grants.connected(shop, renewal)
        assert second.account_id != first.account_id
        assert second.user_id != first.user_id
        assert (first.application_id, second.application_id) == (DEFAULT_APPLICATION, shop)
        tokens = {await grants.refresh_token(first), await grants.refresh_token(second)}
        assert tokens == {renewal.grant.refresh_token}

    @pytest.mark.parametrize("leaving", [0, 1])
    async def test_outlive_one_of_their_applications(self, grants: Grants, shop: UUID, leaving: int) -> None:
        first = await grants.accounts.sign_in(await grants.consent("ada"))
        consent = await grants.consent("ada")
        accounts = [first, await grants.connected(shop, consent)]
        gone = accounts.pop(leaving)
        await grants.disconnections.disconnect(account_id=gone.account_id, user_id=gone.user_id)
        assert grants.provider.live("ada")
        [left] = accounts
        assert await grants.refresh_token(left) == consent.grant.refresh_token
        await grants.disconnections.disconnect(account_id=left.account_id, user_id=left.user_id)
        assert not grants.provider.live("ada")

    async def test_end_when_both_applications_leave_at_once(self, grants: Grants, shop: UUID) -> None:
        for _ in range(5):
            first = await grants.accounts.sign_in(await grants.consent("ada"))
            second = await grants.connected(shop, await grants.consent("ada"))
            await asyncio.gather(*map(grants.left, (first, second)))
            assert not grants.provider.live("ada")
            for account in (first, second):
                assert await grants.accounts.list_accounts(account.user_id) == []

    async def test_outlive_the_leave_of_the_one_that_holds_the_tokens_beside_a_connection(
        self, grants: Grants, shop: UUID
    ) -> None:
        for _ in range(5):
            first = await grants.accounts.sign_in(await grants.consent("ada"))
            assert first.grant_id == first.account_id
            _, second = await asyncio.gather(
                grants.left(first), grants.connected(shop, renewal := await grants.consent("ada"))
            )
            if grants.provider.live("ada"):
                assert await grants.refresh_token(second) == renewal.grant.refresh_token
            await grants.left(second)

    async def test_have_one_name_that_outlives_accounts_and_tells_no_subject(self, grants: Grants, shop: UUID) -> None:
        first = await grants.accounts.sign_in(await grants.consent("ada"))
        second = await grants.connected(shop, await grants.consent("ada"))
        other = await grants.accounts.sign_in(await grants.consent("grace"))
        assert first.provider_identity == second.provider_identity != other.provider_identity
        await asyncio.gather(*map(grants.left, (first, second)))
        again = await grants.accounts.sign_in(await grants.consent("ada"))
        assert again.account_id != first.account_id
        assert again.provider_identity == first.provider_identity
        assert "ada" not in again.provider_identity

    async def test_are_connected_again_with_the_accounts_id(self, grants: Grants, shop: UUID) -> None:
        await grants.accounts.sign_in(await grants.consent("ada"))
        second = await grants.connected(shop, await grants.consent("ada"))
        async with grants.store.transaction() as transaction:
            again = await grants.accounts.link(transaction, await grants.consent("ada"), user_id=second.user_id)
            await transaction.commit()
        assert again is not None
        assert again.account_id == second.account_id

    async def test_are_refused_to_another_user_of_an_application(self, grants: Grants, shop: UUID) -> None:
        await grants.connected(shop, await grants.consent("ada"))
        with pytest.raises(AccountOfAnotherUserError):
            await grants.connected(shop, await grants.consent("ada"))

    async def test_end_and_come_back_for_all_applications(self, grants: Grants, shop: UUID) -> None:
        first = await grants.accounts.sign_in(await grants.consent("ada"))
        second = await grants.connected(shop, await grants.consent("ada"))
        async with grants.store.transaction() as transaction:
            ended = await transaction.accounts.require_reauth(second.grant_id)
            await transaction.commit()
        assert {account.account_id for account in ended} == {first.account_id, second.account_id}
        await grants.accounts.sign_in(await grants.consent("ada"))
        [account] = await grants.accounts.list_accounts(second.user_id)
        assert account.status is AccountStatus.ACTIVE

    async def test_are_refreshed_for_one_when_another_leaves_that_waited_for_the_same_refresh(
        self, grants: Grants, shop: UUID, redis: Redis
    ) -> None:
        first = await grants.accounts.sign_in(await grants.consent("ada"))
        second = await grants.connected(shop, await grants.consent("ada"))
        grants.time.advance(7200)
        lock = ClosedLock(redis)
        tokens = grants.tokens(lock)
        asked = []
        for number, account in enumerate((first, second), start=1):
            lookup = tokens.get(account_id=account.account_id, user_id=account.user_id, refused_fingerprint="")
            asked.append(asyncio.create_task(lookup))
            await eventually(partial(lock.was_asked, number))
        await grants.left(first)
        lock.open()
        with pytest.raises(AppError, match="no such account"):
            await asked[0]
        assert (await asked[1]).expires_at > grants.time.now()
        # Others that refresh the grant now ask for the lock of the account that holds its tokens.
        assert lock.asked == [first.grant_id, first.grant_id, second.account_id]
