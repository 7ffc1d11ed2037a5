"""A strict provider other than Google, from sign-in to revocation, connected by settings alone.

It requires PKCE and the registered redirect URI, rotates refresh tokens, ends a grant whose spent token is repeated,
and accepts revocations from its client only. Auth runs as two processes, as operators start it.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import grpc
import httpx
import pytest
from grpc import aio
from mailroom.auth.v1 import auth_pb2
from sqlalchemy.ext.asyncio import AsyncEngine

from deploy.local.ports import Ports
from services.auth.settings import AuthSettings
from tests.auth.provider_grants.test_provider_tokens import expire
from tests.support.auth.client import SECRET_KEY, Client
from tests.support.auth.stand_in import CLIENT_ID, CLIENT_SECRET, MAIL_SCOPE, REDIRECT_URI, StandIn

START_SECONDS = 60


@pytest.fixture
def strict(stand_in: StandIn) -> StandIn:
    stand_in.deviations.rotates = stand_in.deviations.revokes_on_reuse = True
    return stand_in


@pytest.fixture(scope="module")
async def processes(
    provider: StandIn,
    make_settings: Callable[..., AuthSettings],
    ports: Ports,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[list[Client]]:
    """Clients of two auth processes on the same stores."""
    async with AsyncExitStack() as stack:
        environment, logs = _environment(make_settings(), provider), tmp_path_factory.mktemp("auth")
        started = [_process(environment, ports, logs / f"{n}.log") for n in range(2)]
        numbers = await asyncio.gather(*[stack.enter_async_context(process) for process in started])
        channels = [aio.insecure_channel(f"127.0.0.1:{number}") for number in numbers]
        yield [Client(await stack.enter_async_context(channel), provider) for channel in channels]


def _environment(settings: AuthSettings, provider: StandIn) -> dict[str, str]:
    database = settings.database
    return {
        "PATH": os.environ["PATH"],
        "MAILROOM_INSECURE_GRPC": "true",
        "POSTGRES_HOST": database.host,
        "POSTGRES_PORT": str(database.port),
        "POSTGRES_USER": database.user,
        "POSTGRES_PASSWORD": database.password.get_secret_value(),
        "AUTH_POSTGRES_DB": database.database,
        "REDIS_HOST": settings.redis_host,
        "REDIS_PORT": str(settings.redis_port),
        "REDIS_DB": str(settings.redis_db),
        "SECRET_KEY": SECRET_KEY,
        "PUBLIC_URL": "https://mailroom.example",
        "GOOGLE_CLIENT_ID": CLIENT_ID,
        "GOOGLE_CLIENT_SECRET": CLIENT_SECRET,
        "GOOGLE_REDIRECT_URI": REDIRECT_URI,
        "GOOGLE_SCOPES": f"openid email {MAIL_SCOPE}",
        "GOOGLE_ISSUER": provider.origin,
        "GOOGLE_AUTH_URL": f"{provider.origin}/authorize",
        "GOOGLE_TOKEN_URL": f"{provider.origin}/token",
        "GOOGLE_USERINFO_URL": f"{provider.origin}/userinfo",
        "GOOGLE_JWKS_URL": f"{provider.origin}/jwks",
        "GOOGLE_REVOKE_URL": f"{provider.origin}/revoke",
    }


@asynccontextmanager
async def _process(environment: dict[str, str], ports: Ports, log: Path) -> AsyncIterator[int]:
    """Run `python -m services.auth` and yield its gRPC port once it is ready."""
    rpc, admin = ports.free(), ports.free()
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "services.auth",
            cwd=log.parent,
            env={**environment, "AUTH_PORT": str(rpc), "AUTH_ADMIN_PORT": str(admin)},
            stdout=output,
            stderr=output,
        )
    try:
        await _ready(f"http://127.0.0.1:{admin}/readyz", process, log)
        yield rpc
    finally:
        process.terminate()
        await process.wait()


async def _ready(url: str, process: asyncio.subprocess.Process, log: Path) -> None:
    async with asyncio.timeout(START_SECONDS), httpx.AsyncClient(trust_env=False) as http:
        while process.returncode is None:
            try:
                if (await http.get(url)).is_success:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.1)
    raise AssertionError(await asyncio.to_thread(log.read_text))


class TestStrictProvider:
    async def test_works_from_sign_in_to_revocation(
        self, processes: list[Client], strict: StandIn, engine: AsyncEngine
    ) -> None:
        first, second = processes
        user = await first.signed_in(strict.person())
        token = await second.provider_token(user)
        assert strict.access_tokens[token.access_token] == user.person

        used = set()
        for _ in range(3):
            [refresh_token] = [name for name, entry in strict.refresh_tokens.items() if entry[0] == user.person]
            used.add(refresh_token)
            strict.calls.clear()
            await expire(engine, user)
            answers = await asyncio.gather(*[processes[n % 2].provider_token(user) for n in range(5)])
            assert len({answer.access_token for answer in answers}) == 1
            assert strict.calls["refresh_token"] == 1
        assert len(used) == 3

        await second.disconnect(user.account_id, user.user_id)
        assert strict.revocations_of(user.person) == 1
        assert not [entry for entry in strict.refresh_tokens.values() if entry[0] == user.person]
        with pytest.raises(aio.AioRpcError) as gone:
            await first.provider_token(user)
        assert gone.value.code() is grpc.StatusCode.NOT_FOUND

    async def test_that_ends_a_grant_requires_a_new_sign_in(
        self, processes: list[Client], strict: StandIn, engine: AsyncEngine
    ) -> None:
        first, second = processes
        user = await first.signed_in(strict.person())
        strict.revoke_everything(user.person)
        await expire(engine, user)
        with pytest.raises(aio.AioRpcError) as refused:
            await second.provider_token(user)
        assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        [account] = await first.list_accounts(user.user_id)
        assert account.status == auth_pb2.ACCOUNT_STATUS_REAUTH_REQUIRED
        again = await second.signed_in(user.person)
        assert (again.user_id, again.account_id) == (user.user_id, user.account_id)
        assert (await first.provider_token(again)).access_token in strict.access_tokens
