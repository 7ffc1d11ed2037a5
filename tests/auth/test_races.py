"""Two concurrent operations on one account or session, held at the points where they could conflict."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import jwt
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.auth.sign_in.outcomes import SignInError
from services.auth.store.tables import accounts, users
from tests.auth.provider_grants.test_provider_tokens import expire
from tests.auth.sign_in.test_linking import is_granted
from tests.auth.sign_in.test_sign_in import reason_of
from tests.support.auth.client import Client
from tests.support.auth.stand_in import Gate, StandIn

_WAITING = text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")


@asynccontextmanager
async def holding(engine: AsyncEngine, lock: str, **values: str) -> AsyncIterator[AsyncConnection]:
    """Hold a lock in a transaction while the block lasts, so that statements that need it wait."""
    async with engine.connect() as connection:
        await connection.execute(text(lock), values)
        yield connection
        await connection.commit()


async def waiting(engine: AsyncEngine, count: int) -> None:
    """Wait until this number of statements wait for a lock."""
    async with asyncio.timeout(30), engine.connect() as connection:
        while await connection.scalar(_WAITING) < count:
            await connection.rollback()


class TestSignIn:
    async def test_with_one_state_twice_at_once_succeeds_once(self, client: Client, stand_in: StandIn) -> None:
        started = await client.start()
        redirect = stand_in.consent(started.authorization_url, stand_in.person())
        outcomes = await asyncio.gather(*[client.complete(**redirect) for _ in range(8)])
        assert sum(bool(outcome.login_code) for outcome in outcomes) == 1
        assert {outcome.error for outcome in outcomes if not outcome.login_code} == {SignInError.INVALID_STATE}
        assert stand_in.calls["authorization_code"] == 1

    async def test_that_ends_between_exchange_and_storing_is_repaired_by_the_next(
        self, client: Client, stand_in: StandIn
    ) -> None:
        person = stand_in.person()
        redirect = stand_in.consent((await client.start()).authorization_url, person)
        gate = stand_in.deviations.answer_gate = Gate()
        lost = asyncio.create_task(client.complete(**redirect))
        await gate.arrival()
        lost.cancel()
        gate.open()
        stand_in.deviations.answer_gate = None
        assert (await client.complete(**redirect)).error == SignInError.INVALID_STATE
        # The provider sent its refresh token in the lost response.
        again = await client.connect(person)
        outcome = await client.complete(**stand_in.consent(again.authorization_url, person))
        assert (await client.redeem(outcome.login_code)).access_token

    async def test_while_the_user_is_deleted_makes_a_new_user(
        self, client: Client, stand_in: StandIn, engine: AsyncEngine
    ) -> None:
        stand_in.deviations.always_consents = True
        user = await client.signed_in(stand_in.person())
        await client.disconnect(user.account_id, user.user_id)
        lock = "SELECT FROM users WHERE user_id = CAST(:user_id AS uuid) FOR UPDATE"
        async with holding(engine, lock, user_id=user.user_id) as deleting:
            signing_in = asyncio.create_task(client.connect(user.person))
            await waiting(engine, 1)
            await deleting.execute(users.delete().where(users.c.user_id == user.user_id))
        session = await client.redeem((await signing_in).login_code)
        assert jwt.decode(session.access_token, options={"verify_signature": False})["sub"] != user.user_id

    async def test_whose_exchange_outlasts_the_deletion_of_the_user_makes_a_new_user(
        self, client: Client, stand_in: StandIn
    ) -> None:
        stand_in.deviations.always_consents = True
        user = await client.signed_in(stand_in.person())
        gate = stand_in.deviations.answer_gate = Gate()
        signing_in = asyncio.create_task(client.connect(user.person))
        await gate.arrival()
        await client.delete_user(user.user_id)
        gate.open()
        # The deletion has ended the new grant too: the user is asked again.
        again = (await signing_in).authorization_url
        outcome = await client.complete(**stand_in.consent(again, user.person))
        session = await client.redeem(outcome.login_code)
        assert jwt.decode(session.access_token, options={"verify_signature": False})["sub"] != user.user_id

    async def test_without_a_refresh_token_loses_none_that_is_rotated_meanwhile(
        self, client: Client, stand_in: StandIn, engine: AsyncEngine
    ) -> None:
        user = await client.signed_in(stand_in.person())
        stand_in.deviations.rotates = True
        await expire(engine, user)
        gate = stand_in.deviations.answer_gate = Gate()
        refreshing = asyncio.create_task(client.provider_token(user))
        await gate.arrival()
        stand_in.deviations.answer_gate = None
        assert (await client.signed_in(user.person)).account_id == user.account_id
        gate.open()
        await refreshing
        await expire(engine, user)
        assert (await client.provider_token(user)).access_token in stand_in.access_tokens


class TestLink:
    async def test_of_the_account_that_signs_in_at_the_same_time(
        self, client: Client, stand_in: StandIn, engine: AsyncEngine
    ) -> None:
        stand_in.deviations.always_consents = True
        user = await client.signed_in(stand_in.person())
        await client.disconnect(user.account_id, user.user_id)
        link = await client.connect(user.person, link_to=user.user_id)
        lock = "SELECT pg_advisory_xact_lock(hashtextextended('google:' || :subject, 0))"
        async with holding(engine, lock, subject=user.person.subject):
            signing_in = asyncio.create_task(client.connect(user.person))
            await waiting(engine, 1)
            linking = asyncio.create_task(client.redeem(link.login_code, user_id=user.user_id))
            await waiting(engine, 2)
        assert (await signing_in).login_code
        [account] = await client.list_accounts(user.user_id)
        assert (await linking).linked_account_id == account.account_id

    async def test_beside_the_deletion_of_the_user_leaves_nothing(
        self, client: Client, stand_in: StandIn, engine: AsyncEngine
    ) -> None:
        for _ in range(5):
            user, work = await client.signed_in(stand_in.person()), stand_in.person()
            link = await client.connect(work, link_to=user.user_id)
            await asyncio.gather(
                client.redeem(link.login_code, user_id=user.user_id),
                client.delete_user(user.user_id),
                return_exceptions=True,
            )
            assert await client.list_accounts(user.user_id) == []
            async with engine.connect() as connection:
                query = select(func.count()).select_from(accounts).where(accounts.c.subject == work.subject)
                assert await connection.scalar(query) == 0


class TestSession:
    async def test_that_is_refreshed_while_it_is_ended_has_ended(self, client: Client, stand_in: StandIn) -> None:
        for _ in range(5):
            user = await client.signed_in(stand_in.person())
            refreshed, _ = await asyncio.gather(
                client.refresh(user.refresh_token),
                client.revoke_session(refresh_token=user.refresh_token),
                return_exceptions=True,
            )
            tokens = [user.refresh_token] + ([] if isinstance(refreshed, BaseException) else [refreshed.refresh_token])
            for token in tokens:
                assert await reason_of(client.refresh(token)) == "invalid_refresh_token"

    async def test_that_begins_while_its_user_is_deleted_has_ended(self, client: Client, stand_in: StandIn) -> None:
        stand_in.deviations.always_consents = True
        for _ in range(5):
            user = await client.signed_in(stand_in.person())
            outcome = await client.connect(user.person)
            begun, _ = await asyncio.gather(
                client.redeem(outcome.login_code), client.delete_user(user.user_id), return_exceptions=True
            )
            if not isinstance(begun, BaseException):
                assert await reason_of(client.refresh(begun.refresh_token)) == "invalid_refresh_token"
            assert not is_granted(stand_in, user.person)
