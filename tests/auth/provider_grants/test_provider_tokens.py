"""Access tokens for mail: refreshed once at a time, and never at the price of the connection."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import pytest
import structlog
from grpc import aio
from mailroom.auth.v1 import auth_pb2
from redis.asyncio import Redis
from sqlalchemy import func, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from starlette.responses import HTMLResponse, JSONResponse, Response

from services.auth.provider_grants.refresh_lock import RefreshLock
from services.auth.store.tables import provider_tokens
from services.kit.rpc.errors import from_rpc_error
from tests.support.auth.client import SECRET_KEY, Client, OpenService, SignedIn, StartService
from tests.support.auth.stand_in import Gate, StandIn


async def expire(engine: AsyncEngine, user: SignedIn) -> None:
    """Let the stored access token expire."""
    async with engine.begin() as connection:
        await connection.execute(
            update(provider_tokens)
            .where(provider_tokens.c.grant_id == UUID(user.account_id))
            .values(access_token_expires_at=func.now() - text("interval '1 second'"))
        )


async def reason_of(call: object) -> str:
    with pytest.raises(aio.AioRpcError) as caught:
        await call  # type: ignore[misc]  # any RPC
    return from_rpc_error(caught.value).reason


async def status_of(client: Client, user: SignedIn) -> auth_pb2.AccountStatus.ValueType:
    [account] = await client.list_accounts(user.user_id)
    return account.status


def has_failed(logs: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether a refreshed token could not be stored."""
    return any(entry["event"] == "a rotated token is not stored yet" for entry in logs)


async def role_of_auth(connection: AsyncConnection) -> str:
    """Return the role as which auth is connected."""
    found = await connection.execute(
        text(
            "SELECT DISTINCT usename FROM pg_stat_activity WHERE usename LIKE '%auth%' AND datname = current_database()"
        )
    )
    return str(found.scalar_one())


async def end_sessions(connection: AsyncConnection, role: str) -> None:
    """End the role's connections to this database."""
    await connection.execute(
        text(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE usename = :role AND datname = current_database() AND pid <> pg_backend_pid()"
        ),
        {"role": role},
    )


@asynccontextmanager
async def changed_role(engine: AsyncEngine, change: str, back: str) -> AsyncIterator[None]:
    """Change the role of auth while the block lasts; its connections begin anew before and after."""
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        role = await role_of_auth(connection)
        try:
            await connection.execute(text(f'ALTER ROLE "{role}" {change}'))
            await end_sessions(connection, role)
            yield
        finally:
            await connection.execute(text(f'ALTER ROLE "{role}" {back}'))
            await end_sessions(connection, role)


def without_database(engine: AsyncEngine) -> AbstractAsyncContextManager[None]:
    """Keep auth from its database while the block lasts, as a restart does."""
    return changed_role(engine, "CONNECTION LIMIT 0", "CONNECTION LIMIT -1")


def with_read_only_database(engine: AsyncEngine) -> AbstractAsyncContextManager[None]:
    """Let auth write nothing while the block lasts, as a server does before it is the primary."""
    return changed_role(engine, "SET default_transaction_read_only = on", "RESET default_transaction_read_only")


@pytest.fixture
async def user(client: Client, stand_in: StandIn) -> SignedIn:
    return await client.signed_in(stand_in.person())


class TestLookup:
    async def test_answers_the_stored_token_while_it_lasts(
        self, client: Client, stand_in: StandIn, user: SignedIn
    ) -> None:
        first = await client.provider_token(user)
        second = await client.provider_token(user)
        assert first.access_token == second.access_token
        assert stand_in.access_tokens[first.access_token] == user.person
        assert stand_in.calls["refresh_token"] == 0

    async def test_refreshes_an_expired_token(
        self, client: Client, stand_in: StandIn, engine: AsyncEngine, user: SignedIn
    ) -> None:
        old = await client.provider_token(user)
        await expire(engine, user)
        new = await client.provider_token(user)
        assert new.access_token != old.access_token
        assert stand_in.access_tokens[new.access_token] == user.person
        assert (await client.provider_token(user)).access_token == new.access_token
        assert stand_in.calls["refresh_token"] == 1

    async def test_does_not_answer_a_token_that_the_provider_refused(
        self, client: Client, stand_in: StandIn, user: SignedIn
    ) -> None:
        old = await client.provider_token(user)
        new = await client.provider_token(user, refused_token=old.access_token)
        assert new.access_token != old.access_token
        assert stand_in.calls["refresh_token"] == 1

    async def test_does_not_refresh_again_for_a_refusal_that_was_reported_before(
        self, client: Client, stand_in: StandIn, user: SignedIn
    ) -> None:
        old = await client.provider_token(user)
        new = await client.provider_token(user, refused_token=old.access_token)
        late = await client.provider_token(user, refused_token=old.access_token)
        assert late.access_token == new.access_token
        assert stand_in.calls["refresh_token"] == 1

    async def test_does_not_answer_a_refused_token_even_if_a_refresh_brings_it_back(
        self, client: Client, stand_in: StandIn, user: SignedIn
    ) -> None:
        old = (await client.provider_token(user)).access_token
        stand_in.deviations.extra = {"access_token": old}
        call = client.provider_token(user, refused_token=old)
        assert await reason_of(call) == "provider_unavailable"

    async def test_works_with_tokens_that_live_shorter_than_the_margin(self, client: Client, stand_in: StandIn) -> None:
        stand_in.deviations.lifetime = 30
        user = await client.signed_in(stand_in.person())
        assert (await client.provider_token(user)).access_token in stand_in.access_tokens

    @pytest.mark.parametrize("account_id", ["", "ada", "8d5f3e0a-0000-4000-8000-000000000000"])
    async def test_knows_no_account_that_does_not_exist(self, client: Client, user: SignedIn, account_id: str) -> None:
        request = auth_pb2.GetAccessTokenRequest(account_id=account_id, user_id=user.user_id)
        assert await reason_of(client.provider_tokens.GetAccessToken(request)) == "account_not_found"

    async def test_knows_no_account_of_another_user(self, client: Client, stand_in: StandIn, user: SignedIn) -> None:
        other = await client.signed_in(stand_in.person())
        request = auth_pb2.GetAccessTokenRequest(account_id=user.account_id, user_id=other.user_id)
        assert await reason_of(client.provider_tokens.GetAccessToken(request)) == "account_not_found"

    async def test_fails_closed_when_records_were_swapped_between_accounts(
        self, client: Client, stand_in: StandIn, engine: AsyncEngine, user: SignedIn
    ) -> None:
        other = await client.signed_in(stand_in.person())
        async with engine.begin() as connection:
            record = await connection.scalar(
                select(provider_tokens.c.access_token).where(provider_tokens.c.grant_id == UUID(other.account_id))
            )
            await connection.execute(
                update(provider_tokens)
                .where(provider_tokens.c.grant_id == UUID(user.account_id))
                .values(access_token=record)
            )
        assert await reason_of(client.provider_token(user)) == "internal"

    async def test_stores_tokens_encrypted_only(
        self, client: Client, engine: AsyncEngine, user: SignedIn, stand_in: StandIn
    ) -> None:
        token = (await client.provider_token(user)).access_token.encode()
        [refresh_token] = [name for name, entry in stand_in.refresh_tokens.items() if entry[0] == user.person]
        async with engine.connect() as connection:
            query = select(provider_tokens).where(provider_tokens.c.grant_id == UUID(user.account_id))
            row = (await connection.execute(query)).one()
        assert token not in row.access_token
        assert refresh_token.encode() not in row.refresh_token


class TestOneRefreshAtATime:
    async def test_five_lookups_through_two_processes_cause_one_refresh(
        self, client: Client, start_service: StartService, stand_in: StandIn, engine: AsyncEngine, user: SignedIn
    ) -> None:
        other = await start_service()
        await expire(engine, user)
        gate = stand_in.deviations.token_gate = Gate()
        lookups = [asyncio.ensure_future((client, other)[n % 2].provider_token(user)) for n in range(5)]
        await gate.arrival()
        gate.open()
        tokens = {answer.access_token for answer in await asyncio.gather(*lookups)}
        assert len(tokens) == 1
        assert stand_in.calls["refresh_token"] == 1

    async def test_one_refresh_suffices_even_for_tokens_that_live_shorter_than_the_margin(
        self, client: Client, start_service: StartService, stand_in: StandIn, engine: AsyncEngine, user: SignedIn
    ) -> None:
        other = await start_service()
        await expire(engine, user)
        stand_in.deviations.lifetime = 30
        gate = stand_in.deviations.token_gate = Gate()
        lookups = [asyncio.ensure_future(service.provider_token(user)) for service in (client, other)]
        await gate.arrival()
        gate.open()
        first, second = await asyncio.gather(*lookups)
        assert first.access_token == second.access_token
        assert stand_in.calls["refresh_token"] == 1

    async def test_a_refresh_goes_on_when_its_caller_gives_up(
        self, client: Client, stand_in: StandIn, engine: AsyncEngine, user: SignedIn
    ) -> None:
        stand_in.deviations.rotates = True
        await expire(engine, user)
        gate = stand_in.deviations.token_gate = Gate()
        request = auth_pb2.GetAccessTokenRequest(account_id=user.account_id, user_id=user.user_id)
        impatient = client.provider_tokens.GetAccessToken(request, timeout=0.3)
        await gate.arrival()
        with pytest.raises(aio.AioRpcError):
            await impatient
        waiting = asyncio.ensure_future(client.provider_token(user))
        gate.open()
        assert (await waiting).access_token in stand_in.access_tokens
        assert stand_in.calls["refresh_token"] == 1

    async def test_a_lock_left_by_a_dead_process_runs_out(self, redis: Redis) -> None:
        account_id = uuid4()
        dead = RefreshLock(redis=redis, lease=0.2, wait=1)
        async with dead.hold(account_id), RefreshLock(redis=redis, lease=5, wait=5).hold(account_id):
            assert await redis.get(f"auth:refresh:{account_id}")


class TestDeadGrant:
    async def test_marks_the_account_when_the_grant_is_dead(
        self, client: Client, stand_in: StandIn, engine: AsyncEngine, user: SignedIn
    ) -> None:
        stand_in.revoke_everything(user.person)
        await expire(engine, user)
        assert await reason_of(client.provider_token(user)) == "reauth_required"
        assert await status_of(client, user) == auth_pb2.ACCOUNT_STATUS_REAUTH_REQUIRED
        assert await reason_of(client.provider_token(user)) == "reauth_required"
        assert stand_in.calls["refresh_token"] == 1

    async def test_signing_in_again_revives_the_account_with_its_ids(
        self, client: Client, stand_in: StandIn, engine: AsyncEngine, user: SignedIn
    ) -> None:
        stand_in.revoke_everything(user.person)
        await expire(engine, user)
        await reason_of(client.provider_token(user))
        again = await client.signed_in(user.person)
        assert (again.user_id, again.account_id) == (user.user_id, user.account_id)
        assert await status_of(client, user) == auth_pb2.ACCOUNT_STATUS_ACTIVE
        assert (await client.provider_token(user)).access_token in stand_in.access_tokens

    async def test_a_dead_refresh_token_is_not_kept_when_a_sign_in_brings_no_other(
        self, client: Client, stand_in: StandIn, engine: AsyncEngine, user: SignedIn
    ) -> None:
        stand_in.deviations.token_answers = [JSONResponse({"error": "invalid_grant"}, 400)]
        await expire(engine, user)
        await reason_of(client.provider_token(user))
        assert (await client.connect(user.person)).authorization_url

    async def test_invalid_grant_for_a_token_that_is_no_longer_current_changes_nothing(
        self, client: Client, stand_in: StandIn, engine: AsyncEngine, user: SignedIn
    ) -> None:
        await expire(engine, user)
        gate = stand_in.deviations.token_gate = Gate()
        lookup = asyncio.ensure_future(client.provider_token(user))
        await gate.arrival()
        stand_in.deviations.token_gate = None
        stand_in.revoke_everything(user.person)
        await client.signed_in(user.person)
        gate.open()
        assert (await lookup).access_token in stand_in.access_tokens
        assert await status_of(client, user) == auth_pb2.ACCOUNT_STATUS_ACTIVE

    async def test_a_refresh_does_not_overwrite_the_tokens_of_a_sign_in_meanwhile(
        self, client: Client, stand_in: StandIn, engine: AsyncEngine, user: SignedIn
    ) -> None:
        stand_in.deviations.rotates = stand_in.deviations.always_consents = True
        await expire(engine, user)
        gate = stand_in.deviations.token_gate = Gate()
        lookup = asyncio.ensure_future(client.provider_token(user))
        await gate.arrival()
        stand_in.deviations.token_gate = None
        await client.signed_in(user.person)
        newest = (await client.provider_token(user)).access_token
        gate.open()
        assert (await lookup).access_token == newest

    @pytest.mark.parametrize(
        ("answer", "reason"),
        [
            (JSONResponse({"error": "invalid_client"}, 401), "provider_misconfigured"),
            (JSONResponse({"error": "unauthorized_client"}, 401), "provider_misconfigured"),
            (JSONResponse({"error": "deleted_client"}, 401), "provider_misconfigured"),
            (JSONResponse({"error": "invalid_request"}, 400), "provider_misconfigured"),
            (JSONResponse({"error": "rate_limit_exceeded"}, 429), "provider_unavailable"),
            (JSONResponse({"error": "invalid_grant"}, 503), "provider_unavailable"),
            (JSONResponse({"error": "internal_failure"}, 400), "provider_unavailable"),
            (JSONResponse({"error": {"code": 500, "status": "INTERNAL"}}, 500), "provider_unavailable"),
            (HTMLResponse("<title>Error 502</title>", 502), "provider_unavailable"),
            (HTMLResponse("<title>invalid_grant</title>", 400), "provider_unavailable"),
            (HTMLResponse("<title>Please sign in to the wifi</title>"), "provider_unavailable"),
            (JSONResponse(["invalid_grant"], 400), "provider_unavailable"),
            (JSONResponse({"expires_in": 3599}), "provider_unavailable"),
            (JSONResponse({"access_token": "two\nlines"}), "provider_unavailable"),
            (Response(status_code=302, headers={"location": "http://localhost:1/"}), "provider_unavailable"),
            (Response(b"x" * (2 * 1024 * 1024)), "provider_unavailable"),
            (Response(b"[" * 100_000), "provider_unavailable"),
        ],
    )
    async def test_every_other_failure_leaves_the_account_as_it_is(
        self,
        client: Client,
        stand_in: StandIn,
        engine: AsyncEngine,
        user: SignedIn,
        answer: Response,
        reason: str,
    ) -> None:
        await expire(engine, user)
        stand_in.deviations.token_answers = [answer]
        assert await reason_of(client.provider_token(user)) == reason
        assert await status_of(client, user) == auth_pb2.ACCOUNT_STATUS_ACTIVE
        assert (await client.provider_token(user)).access_token in stand_in.access_tokens

    async def test_an_unreachable_provider_leaves_the_account_as_it_is(
        self, start_service: StartService, engine: AsyncEngine, user: SignedIn, closed_port: int
    ) -> None:
        cut_off = await start_service(google_token_url=f"http://127.0.0.1:{closed_port}/token")
        await expire(engine, user)
        assert await reason_of(cut_off.provider_token(user)) == "provider_unavailable"
        assert await status_of(cut_off, user) == auth_pb2.ACCOUNT_STATUS_ACTIVE


class TestRotation:
    async def test_a_rotated_refresh_token_replaces_the_old_one(
        self, client: Client, stand_in: StandIn, engine: AsyncEngine, user: SignedIn
    ) -> None:
        stand_in.deviations.rotates = True
        for _ in range(3):
            await expire(engine, user)
            assert (await client.provider_token(user)).access_token in stand_in.access_tokens
        assert stand_in.calls["refresh_token"] == 3

    @pytest.mark.parametrize("outage", [without_database, with_read_only_database])
    async def test_a_rotated_refresh_token_outlives_an_outage_of_the_database(
        self,
        client: Client,
        stand_in: StandIn,
        engine: AsyncEngine,
        user: SignedIn,
        outage: Callable[[AsyncEngine], AbstractAsyncContextManager[None]],
    ) -> None:
        stand_in.deviations.rotates = stand_in.deviations.revokes_on_reuse = True
        await expire(engine, user)
        gate = stand_in.deviations.token_gate = Gate()
        call = asyncio.create_task(client.provider_token(user))
        await gate.arrival()
        with structlog.testing.capture_logs() as logs:
            async with outage(engine):
                gate.open()
                async with asyncio.timeout(30):
                    while not has_failed(logs):  # noqa: ASYNC110 - the service logs it
                        await asyncio.sleep(0.01)
        assert (await call).access_token in stand_in.access_tokens
        assert stand_in.calls["refresh_token"] == 1
        assert await status_of(client, user) == auth_pb2.ACCOUNT_STATUS_ACTIVE
        # The token that was stored late is the one that the provider takes next.
        await expire(engine, user)
        assert (await client.provider_token(user)).access_token in stand_in.access_tokens

    async def test_a_token_that_is_not_stored_yet_keeps_other_processes_from_the_spent_one(
        self,
        client: Client,
        start_service: StartService,
        stand_in: StandIn,
        engine: AsyncEngine,
        redis: Redis,
        user: SignedIn,
    ) -> None:
        other = await start_service()
        stand_in.deviations.rotates = stand_in.deviations.revokes_on_reuse = True
        await expire(engine, user)
        gate = stand_in.deviations.token_gate = Gate()
        call = asyncio.create_task(client.provider_token(user))
        await gate.arrival()
        async with without_database(engine), asyncio.timeout(30):
            # As if the lease were almost over.
            lock = f"auth:refresh:{user.account_id}"
            await redis.pexpire(lock, 2_000)
            gate.open()
            while await redis.pttl(lock) < 5_000:  # noqa: ASYNC110 - the service renews it
                await asyncio.sleep(0.01)
        tokens = await asyncio.gather(call, other.provider_token(user))
        assert len({token.access_token for token in tokens}) == 1
        assert stand_in.calls["refresh_token"] == 1

    async def test_a_token_that_cannot_be_stored_does_not_keep_the_process_from_its_end(
        self,
        open_service: OpenService,
        stand_in: StandIn,
        engine: AsyncEngine,
        user: SignedIn,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr("services.auth.provider_grants.provider_tokens._DRAIN_SECONDS", 0.2)
        stand_in.deviations.rotates = True
        await expire(engine, user)
        with structlog.testing.capture_logs() as logs:
            async with asyncio.timeout(30), AsyncExitStack() as outage, open_service() as ending:
                gate = stand_in.deviations.token_gate = Gate()
                call = asyncio.create_task(ending.provider_token(user))
                await gate.arrival()
                await outage.enter_async_context(without_database(engine))
                gate.open()
                while not has_failed(logs):  # noqa: ASYNC110 - the service logs it
                    await asyncio.sleep(0.01)
        await asyncio.gather(call, return_exceptions=True)
        assert "a rotated token could not be stored" in [entry["event"] for entry in logs]

    async def test_an_answer_without_a_refresh_token_keeps_the_stored_one(
        self, client: Client, stand_in: StandIn, engine: AsyncEngine, user: SignedIn
    ) -> None:
        stand_in.deviations.extra = {"refresh_token": None}
        for _ in range(2):
            await expire(engine, user)
            assert (await client.provider_token(user)).access_token in stand_in.access_tokens

    async def test_the_end_of_a_limited_grant_is_kept(
        self, client: Client, stand_in: StandIn, engine: AsyncEngine
    ) -> None:
        stand_in.deviations.extra = {"refresh_token_expires_in": 604799}
        user = await client.signed_in(stand_in.person())
        stand_in.deviations.extra = {}
        await expire(engine, user)
        await client.provider_token(user)
        async with engine.connect() as connection:
            days = await connection.scalar(
                select(func.extract("day", provider_tokens.c.refresh_token_expires_at - func.now())).where(
                    provider_tokens.c.grant_id == UUID(user.account_id)
                )
            )
        assert days == 6


class TestSecretKey:
    async def test_a_new_secret_reads_records_of_the_previous_one(
        self, start_service: StartService, client: Client, user: SignedIn
    ) -> None:
        rotated = await start_service(
            secret_key="another secret key of the tests, long",
            secret_key_previous=SECRET_KEY,
        )
        assert (await rotated.provider_token(user)).access_token == (await client.provider_token(user)).access_token

    async def test_a_wrong_secret_reads_nothing_and_changes_nothing(
        self, start_service: StartService, client: Client, user: SignedIn
    ) -> None:
        wrong = await start_service(secret_key="a wrong secret key of the tests, long")
        assert await reason_of(wrong.provider_token(user)) == "internal"
        assert await status_of(client, user) == auth_pb2.ACCOUNT_STATUS_ACTIVE

    async def test_that_is_lost_is_made_up_for_by_a_sign_in_with_consent(
        self, start_service: StartService, stand_in: StandIn, engine: AsyncEngine, user: SignedIn
    ) -> None:
        other = await start_service(secret_key="another secret key of the tests, long")
        again = await other.connect(user.person)
        assert (await other.complete(**stand_in.consent(again.authorization_url, user.person))).login_code
        await expire(engine, user)
        assert (await other.provider_token(user)).access_token in stand_in.access_tokens


class TestStores:
    async def test_a_lost_database_connection_is_unavailability_and_then_over(
        self, start_service: StartService, engine: AsyncEngine, user: SignedIn
    ) -> None:
        service = await start_service(auth_postgres_pool=1)
        await service.provider_token(user)
        async with engine.connect() as connection:
            await connection.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE application_name = 'mailroom-auth' AND datname = current_database()"
                )
            )
        async with asyncio.timeout(30):
            while True:
                try:
                    answer = await service.provider_token(user)
                except aio.AioRpcError as error:
                    assert from_rpc_error(error).reason == "service_unavailable"  # noqa: PT017 - then it tries again
                else:
                    break
        assert answer.access_token

    async def test_an_unreachable_database_is_unavailability(
        self, start_service: StartService, user: SignedIn, closed_port: int
    ) -> None:
        service = await start_service(postgres_port=closed_port)
        assert await reason_of(service.provider_token(user)) == "service_unavailable"

    async def test_an_unreachable_redis_does_not_matter_while_tokens_last(
        self, start_service: StartService, engine: AsyncEngine, user: SignedIn, closed_port: int
    ) -> None:
        service = await start_service(redis_port=closed_port)
        assert (await service.provider_token(user)).access_token
        await expire(engine, user)
        assert await reason_of(service.provider_token(user)) == "service_unavailable"
        assert await reason_of(service.start()) == "service_unavailable"
