"""Disconnecting accounts and deleting users, also with an unavailable provider and unreadable tokens."""

import asyncio
from collections.abc import Awaitable, Callable
from uuid import UUID, uuid4

import pytest
from redis.asyncio import Redis
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.responses import HTMLResponse, JSONResponse

from services.auth.cipher import Cipher
from services.auth.provider_grants.recent_revocations import RecentRevocations
from services.auth.provider_grants.revocations import GrantRevocations, encrypt_grant
from services.auth.providers.base import Consent, Grant, ProviderIdentity
from services.auth.store.revocations import RevocationRecord
from services.auth.store.tables import accounts, grant_revocations, provider_tokens, security_events, sessions, users
from services.auth.store.transaction import Store
from tests.auth.sign_in.test_linking import is_granted, pending_links
from tests.auth.sign_in.test_sign_in import reason_of
from tests.support.auth.client import SECRET_KEY, Client, SignedIn, StartService
from tests.support.auth.clock import Time
from tests.support.auth.parts import ScriptedProvider, grant_of
from tests.support.auth.stand_in import Gate, StandIn


async def rows_of(engine: AsyncEngine, user_id: str) -> dict[str, int]:
    """Count the user's rows in each table."""
    counts = {}
    async with engine.connect() as connection:
        for table in (users, accounts, sessions, security_events):
            query = select(func.count()).select_from(table).where(table.c.user_id == UUID(user_id))
            counts[table.name] = int((await connection.execute(query)).scalar_one())
    return counts


class TestDisconnectAccount:
    async def test_revokes_the_grant_and_deletes_account_and_tokens(
        self, client: Client, stand_in: StandIn, engine: AsyncEngine
    ) -> None:
        user = await client.signed_in(stand_in.person())
        await client.disconnect(user.account_id, user.user_id)
        assert not is_granted(stand_in, user.person)
        assert await client.list_accounts(user.user_id) == []
        assert await reason_of(client.provider_token(user)) == "account_not_found"
        query = select(func.count()).where(provider_tokens.c.grant_id == UUID(user.account_id))
        async with engine.connect() as connection:
            assert (await connection.execute(query)).scalar_one() == 0
        assert await pending_links(engine, user.person) == 0

    async def test_takes_a_grant_that_has_ended_already_for_revoked(
        self, client: Client, stand_in: StandIn, engine: AsyncEngine
    ) -> None:
        user = await client.signed_in(stand_in.person())
        stand_in.revoke_everything(user.person)
        await client.disconnect(user.account_id, user.user_id)
        assert stand_in.revocations_of(user.person) == 1
        assert await pending_links(engine, user.person) == 0

    async def test_can_be_repeated(self, client: Client, stand_in: StandIn) -> None:
        user = await client.signed_in(stand_in.person())
        for _ in range(3):
            await client.disconnect(user.account_id, user.user_id)
        assert stand_in.revocations_of(user.person) == 1

    async def test_of_another_user_does_nothing(self, client: Client, stand_in: StandIn) -> None:
        user, stranger = await client.signed_in(stand_in.person()), await client.signed_in(stand_in.person())
        await client.disconnect(user.account_id, stranger.user_id)
        await client.disconnect("no account", user.user_id)
        assert (await client.provider_token(user)).access_token

    async def test_keeps_session_and_user(self, client: Client, stand_in: StandIn) -> None:
        user = await client.signed_in(stand_in.person())
        await client.disconnect(user.account_id, user.user_id)
        assert (await client.refresh(user.refresh_token)).access_token
        assert (await client.events(user.user_id))[0] == "account_disconnected"

    async def test_allows_the_same_user_to_reconnect_with_a_new_id(self, client: Client, stand_in: StandIn) -> None:
        user = await client.signed_in(stand_in.person())
        linked = await client.link(user.user_id, stand_in.person())
        await client.disconnect(user.account_id, user.user_id)
        again = await client.signed_in(user.person)
        assert again.user_id == user.user_id
        ids = {account.account_id for account in await client.list_accounts(user.user_id)}
        assert linked in ids
        assert user.account_id not in ids
        assert len(ids) == 2

    @pytest.mark.parametrize(
        "answer", [HTMLResponse("<h1>503</h1>", 503), JSONResponse({"error": "invalid_request"}, 400)]
    )
    async def test_succeeds_when_the_provider_does_not_and_leaves_the_grant_to_be_revoked(
        self, client: Client, stand_in: StandIn, engine: AsyncEngine, answer: JSONResponse
    ) -> None:
        user = await client.signed_in(stand_in.person())
        stand_in.deviations.revoke_answer = answer
        await client.disconnect(user.account_id, user.user_id)
        assert await client.list_accounts(user.user_id) == []
        assert await pending_links(engine, user.person) == 1

    async def test_waits_for_a_refresh_and_revokes_the_token_that_it_brought(
        self, client: Client, stand_in: StandIn
    ) -> None:
        user = await client.signed_in(stand_in.person())
        old = (await client.provider_token(user)).access_token
        stand_in.deviations.rotates = True
        stand_in.deviations.token_gate = gate = Gate()
        refreshing = asyncio.create_task(client.provider_token(user, refused_token=old))
        await gate.arrival()
        disconnecting = asyncio.create_task(client.disconnect(user.account_id, user.user_id))
        gate.open()
        await asyncio.gather(refreshing, disconnecting, return_exceptions=True)
        assert not is_granted(stand_in, user.person)

    async def test_deletes_tokens_that_cannot_be_decrypted(
        self, client: Client, stand_in: StandIn, engine: AsyncEngine
    ) -> None:
        user = await client.signed_in(stand_in.person())
        async with engine.begin() as connection:
            broken = update(provider_tokens).where(provider_tokens.c.grant_id == UUID(user.account_id))
            await connection.execute(broken.values(refresh_token=b"broken", access_token=b"broken"))
        await client.disconnect(user.account_id, user.user_id)
        assert await client.list_accounts(user.user_id) == []
        assert stand_in.revocations_of(user.person) == 0

    async def test_fails_if_a_refresh_takes_too_long(self, client: Client, stand_in: StandIn, redis: Redis) -> None:
        user = await client.signed_in(stand_in.person())
        await redis.set(f"auth:refresh:{user.account_id}", "another process", ex=60)
        try:
            request = client.disconnect(user.account_id, user.user_id)
            assert await reason_of(asyncio.wait_for(request, 20)) == "provider_unavailable"
            assert len(await client.list_accounts(user.user_id)) == 1
        finally:
            await redis.delete(f"auth:refresh:{user.account_id}")


class TestDeleteUser:
    async def test_ends_everything_of_the_user_and_nothing_of_others(
        self, client: Client, stand_in: StandIn, engine: AsyncEngine
    ) -> None:
        user, stranger = await client.signed_in(stand_in.person()), await client.signed_in(stand_in.person())
        work = stand_in.person()
        await client.link(user.user_id, work)
        await client.delete_user(user.user_id)
        assert await rows_of(engine, user.user_id) == {
            "users": 0,
            "accounts": 0,
            "sessions": 0,
            "security_events": 1,
        }
        assert await client.events(user.user_id) == ["user_deleted"]
        assert not is_granted(stand_in, user.person)
        assert not is_granted(stand_in, work)
        assert await reason_of(client.refresh(user.refresh_token)) == "invalid_refresh_token"
        assert (await client.provider_token(stranger)).access_token
        assert (await client.refresh(stranger.refresh_token)).access_token

    async def test_can_be_repeated(self, client: Client, stand_in: StandIn) -> None:
        user = await client.signed_in(stand_in.person())
        await client.delete_user(user.user_id)
        await client.delete_user(user.user_id)
        assert await client.events(user.user_id) == ["user_deleted"]

    async def test_allows_the_person_to_sign_in_as_another_user(self, client: Client, stand_in: StandIn) -> None:
        user = await client.signed_in(stand_in.person())
        await client.delete_user(user.user_id)
        assert (await client.signed_in(user.person)).user_id != user.user_id

    async def test_refuses_a_malformed_id(self, client: Client) -> None:
        assert await reason_of(client.delete_user("ada")) == "invalid_user_id"


class TestRevokingLater:
    @pytest.fixture
    def time(self) -> Time:
        return Time()

    @pytest.fixture
    def provider_down(self, time: Time) -> ScriptedProvider:
        return ScriptedProvider(time, is_down=True)

    @pytest.fixture
    def revocations(
        self, fresh_engine: AsyncEngine, redis: Redis, time: Time, provider_down: ScriptedProvider
    ) -> GrantRevocations:
        return GrantRevocations(
            store=Store(fresh_engine),
            cipher=Cipher(SECRET_KEY, previous=None),
            providers={"google": provider_down},
            recent=RecentRevocations(redis),
            clock=time.now,
            new_id=uuid4,
        )

    @pytest.fixture
    def unwanted(
        self, revocations: GrantRevocations, time: Time, provider_down: ScriptedProvider
    ) -> Callable[[], Awaitable[None]]:
        async def make() -> None:
            provider_down.grants["token"] = "subject"
            identity = ProviderIdentity("subject", "a@b.example", email_verified=True)
            await revocations.add_pending(Consent("google", identity, grant_of("token", time)), seconds=120)

        return make

    async def test_happens_to_an_unclaimed_pending_grant(
        self,
        revocations: GrantRevocations,
        time: Time,
        provider_down: ScriptedProvider,
        unwanted: Callable[[], Awaitable[None]],
    ) -> None:
        provider_down.is_down = False
        await unwanted()
        time.advance(119)
        await revocations.revoke_due()
        assert provider_down.live("subject")
        time.advance(1)
        await revocations.revoke_due()
        assert not provider_down.live("subject")

    async def test_is_tried_again_until_the_provider_answers(
        self,
        revocations: GrantRevocations,
        time: Time,
        provider_down: ScriptedProvider,
        unwanted: Callable[[], Awaitable[None]],
        fresh_engine: AsyncEngine,
    ) -> None:
        await unwanted()
        for _ in range(5):
            time.advance(3600)
            await revocations.revoke_due()
            assert await left(fresh_engine) == 1
        provider_down.is_down = False
        time.advance(3600)
        await revocations.revoke_due()
        assert not provider_down.live("subject")
        assert await left(fresh_engine) == 0

    async def test_is_put_off_while_the_same_account_waits_to_be_linked(
        self,
        revocations: GrantRevocations,
        time: Time,
        provider_down: ScriptedProvider,
        unwanted: Callable[[], Awaitable[None]],
        fresh_engine: AsyncEngine,
    ) -> None:
        await unwanted()
        time.advance(120)
        await unwanted()
        provider_down.is_down = False
        await revocations.revoke_due()
        assert provider_down.live("subject")
        assert await left(fresh_engine) == 2

    async def test_is_left_for_a_while_to_the_process_that_scheduled_it(
        self, revocations: GrantRevocations, time: Time, provider_down: ScriptedProvider, fresh_engine: AsyncEngine
    ) -> None:
        provider_down.is_down = False
        provider_down.grants["token"] = "subject"
        identity = ProviderIdentity("subject", "a@b.example", email_verified=True)
        async with Store(fresh_engine).transaction() as transaction:
            grant_id = await revocations.schedule(transaction, Consent("google", identity, grant_of("token", time)))
            await transaction.commit()
        await revocations.revoke_due()
        assert provider_down.live("subject")
        await revocations.revoke(grant_id)
        assert not provider_down.live("subject")

    async def test_goes_on_behind_a_grant_that_another_release_has_left(
        self,
        revocations: GrantRevocations,
        time: Time,
        provider_down: ScriptedProvider,
        unwanted: Callable[[], Awaitable[None]],
        fresh_engine: AsyncEngine,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        provider_down.is_down = False
        grant_id = uuid4()
        encrypted = encrypt_grant(Cipher(SECRET_KEY, previous=None), grant_id=grant_id, text='{"other": "secret"}')
        async with Store(fresh_engine).transaction() as transaction:
            record = RevocationRecord(grant_id, "google", "another", encrypted)
            await transaction.revocations.put(record, pending=False, due_at=time.now())
            await transaction.commit()
        await unwanted()
        time.advance(120)
        await revocations.revoke_due()
        assert not provider_down.live("subject")
        assert await left(fresh_engine) == 1
        assert "secret" not in "".join(capfd.readouterr())

    async def test_is_given_up_after_days(
        self,
        revocations: GrantRevocations,
        time: Time,
        unwanted: Callable[[], Awaitable[None]],
        fresh_engine: AsyncEngine,
    ) -> None:
        await unwanted()
        started, tries = time.now(), 0
        while await left(fresh_engine):
            time.advance(3 * 3600)
            await revocations.revoke_due()
            tries += 1
            assert tries < 100
        assert (time.now() - started).days >= 1

    async def test_is_not_done_by_two_processes_at_once(
        self,
        revocations: GrantRevocations,
        time: Time,
        provider_down: ScriptedProvider,
        unwanted: Callable[[], Awaitable[None]],
    ) -> None:
        await unwanted()
        provider_down.is_down = False
        time.advance(120)
        calls = 0
        revoke = provider_down.revoke

        async def counted(grant: Grant, *, timeout: float) -> None:
            nonlocal calls
            calls += 1
            await revoke(grant, timeout=timeout)

        provider_down.revoke = counted  # type: ignore[method-assign]  # counts the calls
        await asyncio.gather(*[revocations.revoke_due() for _ in range(4)])
        assert calls == 1


class TestCrash:
    async def test_between_deletion_and_revocation_is_repaired_by_another_process(
        self, client: Client, start_service: StartService, stand_in: StandIn, engine: AsyncEngine
    ) -> None:
        user: SignedIn = await client.signed_in(stand_in.person())
        stand_in.deviations.revoke_answer = HTMLResponse("<h1>503</h1>", 503)
        await client.disconnect(user.account_id, user.user_id)
        stand_in.deviations.revoke_answer = None
        async with engine.begin() as connection:
            await connection.execute(update(grant_revocations).values(due_at=func.now()))
        # A process runs its periodic tasks when it starts.
        await start_service()
        async with asyncio.timeout(30):
            while await pending_links(engine, user.person):
                pass
        assert not is_granted(stand_in, user.person)


async def left(engine: AsyncEngine) -> int:
    """Count the stored revocations."""
    async with engine.connect() as connection:
        return int((await connection.execute(select(func.count()).select_from(grant_revocations))).scalar_one())
