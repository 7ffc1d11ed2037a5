"""A running auth service on real Postgres and Valkey, beside a provider of our own."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import jwt
import pytest
from grpc import aio
from mailroom.auth.v1 import auth_pb2, auth_pb2_grpc
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

import services.auth.migrations
from deploy.local.postgres import Database
from deploy.local.valkey import RedisAddress
from services.auth.app import serving
from services.auth.settings import AuthSettings
from services.kit.http_server import serve_http
from services.kit.migrations import main as migrate
from services.kit.postgres import create_engine
from services.kit.redis_client import create_redis
from tests.auth.stand_in import CLIENT_ID, CLIENT_SECRET, REDIRECT_URI, Oddities, Person, StandIn


@dataclass(frozen=True)
class SignedIn:
    """A user with a session and one account."""

    person: Person
    user_id: str
    account_id: str
    access_token: str


class Client:
    """What the gateway and mail call, and a browser's part of a sign-in."""

    def __init__(self, channel: aio.Channel, stand_in: StandIn) -> None:
        self.sign_in = auth_pb2_grpc.SignInServiceStub(channel)
        self.sessions = auth_pb2_grpc.SessionServiceStub(channel)
        self.accounts = auth_pb2_grpc.AccountServiceStub(channel)
        self.provider_tokens = auth_pb2_grpc.ProviderTokenServiceStub(channel)
        self._stand_in = stand_in

    async def start(self, *, code_challenge: str = "") -> auth_pb2.StartSignInResponse:
        return await self.sign_in.StartSignIn(
            auth_pb2.StartSignInRequest(provider="google", code_challenge=code_challenge)
        )

    async def complete(self, **redirect: str) -> auth_pb2.CompleteSignInResponse:
        return await self.sign_in.CompleteSignIn(auth_pb2.CompleteSignInRequest(provider="google", **redirect))

    async def redeem(self, hand_off: str, *, code_verifier: str = "") -> auth_pb2.RedeemSignInResponse:
        return await self.sign_in.RedeemSignIn(
            auth_pb2.RedeemSignInRequest(hand_off=hand_off, code_verifier=code_verifier)
        )

    async def connect(
        self, person: Person, *, granted: str | None = None, code_challenge: str = ""
    ) -> auth_pb2.CompleteSignInResponse:
        """From start to the outcome of the provider's redirect."""
        started = await self.start(code_challenge=code_challenge)
        return await self.complete(**self._stand_in.consent(started.authorization_url, person, granted=granted))

    async def signed_in(self, person: Person) -> SignedIn:
        """From start to session."""
        outcome = await self.connect(person)
        session = await self.redeem(outcome.hand_off)
        user_id = jwt.decode(session.access_token, options={"verify_signature": False})["sub"]
        [account] = await self.list_accounts(user_id)
        return SignedIn(person, user_id, account.account_id, session.access_token)

    async def list_accounts(self, user_id: str) -> list[auth_pb2.Account]:
        answer = await self.accounts.ListAccounts(auth_pb2.ListAccountsRequest(user_id=user_id))
        return list(answer.accounts)

    async def provider_token(
        self, user: SignedIn, *, refused_token_fingerprint: str = ""
    ) -> auth_pb2.GetAccessTokenResponse:
        return await self.provider_tokens.GetAccessToken(
            auth_pb2.GetAccessTokenRequest(
                account_id=user.account_id,
                user_id=user.user_id,
                refused_token_fingerprint=refused_token_fingerprint,
            )
        )


class StartService(Protocol):
    """Starts another auth service on the same stores, and returns a client of it."""

    async def __call__(self, **overrides: Any) -> Client: ...


@pytest.fixture(scope="session")
def database(create_database: Callable[[str], Database]) -> Database:
    return create_database("auth")


@pytest.fixture(scope="session")
async def provider() -> AsyncIterator[StandIn]:
    """The provider's server; tests take `stand_in`, which resets it."""
    stand_in = StandIn()
    async with serve_http(stand_in.app, host="127.0.0.1", port=0) as port:
        stand_in.origin = f"http://127.0.0.1:{port}"
        yield stand_in


@pytest.fixture
def stand_in(provider: StandIn) -> StandIn:
    """The provider, without oddities and with calls uncounted."""
    provider.oddities = Oddities()
    provider.calls.clear()
    return provider


@pytest.fixture(scope="session")
async def make_settings(
    database: Database, redis_server: RedisAddress, provider: StandIn
) -> Callable[..., AuthSettings]:
    def make(**overrides: Any) -> AuthSettings:
        values = {
            "auth_port": 0,
            "auth_admin_port": 0,
            "mailroom_insecure_grpc": True,
            "postgres_host": database.server.host,
            "postgres_port": database.server.port,
            "postgres_user": database.server.user,
            "postgres_password": database.server.password,
            "auth_postgres_db": database.name,
            "redis_host": redis_server.host,
            "redis_port": redis_server.port,
            "redis_db": redis_server.database,
            "secret_key": "a secret key of the tests, long enough",
            "public_url": "https://mailroom.example",
            "google_client_id": CLIENT_ID,
            "google_client_secret": CLIENT_SECRET,
            "google_redirect_uri": REDIRECT_URI,
            "google_issuer": provider.origin,
            "google_auth_url": f"{provider.origin}/authorize",
            "google_token_url": f"{provider.origin}/token",
            "google_userinfo_url": f"{provider.origin}/userinfo",
            "google_jwks_url": f"{provider.origin}/jwks",
            "google_revoke_url": f"{provider.origin}/revoke",
        }
        return AuthSettings(_env_file=None, **(values | overrides))  # type: ignore[call-arg, arg-type]  # pydantic-settings' own argument, and values of many types

    settings = make()
    # The command runs an event loop of its own.
    await asyncio.to_thread(
        migrate,
        ["upgrade"],
        directory=Path(services.auth.migrations.__path__[0]),
        database=settings.database,
        administrator=settings.administrator,
    )
    return make


@pytest.fixture(scope="session")
async def start_service(make_settings: Callable[..., AuthSettings], provider: StandIn) -> AsyncIterator[StartService]:
    async with AsyncExitStack() as stack:

        async def start(**overrides: Any) -> Client:
            ports = await stack.enter_async_context(serving(make_settings(**overrides)))
            channel = await stack.enter_async_context(aio.insecure_channel(f"127.0.0.1:{ports.rpc}"))
            return Client(channel, provider)

        yield start


@pytest.fixture(scope="session")
async def client(start_service: StartService) -> Client:
    """A client of a service with the usual settings."""
    return await start_service()


@pytest.fixture(scope="session")
async def engine(make_settings: Callable[..., AuthSettings]) -> AsyncIterator[AsyncEngine]:
    """The service's database, to look at and to age what is in it."""
    engine = create_engine(make_settings().database, application_name="tests", pool_size=2)
    yield engine
    await engine.dispose()


@pytest.fixture(scope="session")
async def redis(redis_server: RedisAddress) -> AsyncIterator[Redis]:
    """The store of attempts and hand-offs, to look at and to age what is in it."""
    redis = create_redis(host=redis_server.host, port=redis_server.port, db=redis_server.database)
    yield redis
    await redis.aclose()
