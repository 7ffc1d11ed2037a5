"""The gateway's public application in front of fake services."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from mailroom.auth.v1.auth_pb2_grpc import (
    add_ApiKeyServiceServicer_to_server,
    add_ApplicationServiceServicer_to_server,
    add_ConnectServiceServicer_to_server,
    add_SessionServiceServicer_to_server,
    add_SignInServiceServicer_to_server,
    add_UserServiceServicer_to_server,
)
from mailroom.mail.v1.mail_pb2_grpc import (
    add_MailboxServiceServicer_to_server,
    add_MessageServiceServicer_to_server,
    add_SyncServiceServicer_to_server,
)
from prometheus_client import CollectorRegistry

from services.auth.rpc import CALLERS as AUTH
from services.gateway.access_tokens import AccessTokens, auth_key_set
from services.gateway.api_keys import ApiKeys
from services.gateway.app import create_app
from services.gateway.clients import Services, connect
from services.gateway.http.cors import EXPOSED_HEADERS
from services.gateway.limits.long_polls import LongPolls
from services.gateway.revocations import Revocations
from services.kit.http.server import serve_http
from services.kit.observe.setup import Telemetry
from services.kit.rpc.server import serve_rpc
from services.kit.scopes import Scope
from services.mail.rpc import CALLERS as MAIL
from tests.support.gateway.fake_auth import ISSUER, FakeAuth
from tests.support.gateway.fake_connections import FakeConnections
from tests.support.gateway.fake_keys import FakeKeys
from tests.support.gateway.fake_mail import FakeMail

FRONTEND = "https://app.example/signed-in?lang=ru#top"
BODY_LIMIT = 2048


# Source: the Fetch standard's CORS-safelisted response headers.
_READABLE = {name.lower() for name in EXPOSED_HEADERS} | {"cache-control", "content-length", "content-type"}
# For the browser itself, which hides them from pages.
_FOR_BROWSERS = {
    *(
        "content-encoding",
        "content-security-policy",
        "referrer-policy",
        "strict-transport-security",
        "vary",
        "x-content-type-options",
    ),
}


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Gateway:
    """A client of the gateway, with the fakes behind it."""

    app: FastAPI
    http: httpx.AsyncClient
    auth: FakeAuth
    mail: FakeMail
    clock: Clock
    registry: CollectorRegistry
    stop: asyncio.Event
    revocations: Revocations
    keys: FakeKeys
    connections: FakeConnections

    def as_user(self, user_id: str) -> dict[str, str]:
        """The headers of a signed-in user's request."""
        return bearer(self.auth.access_token(user_id))

    def as_key(self, *scopes: Scope) -> dict[str, str]:
        """The headers of a request with an API key that has these scopes."""
        return bearer(self.keys.add(*scopes))

    def admitted_to(self, path: str) -> dict[str, str]:
        """The headers of a caller to whom all operations at this path are open."""
        is_keys_only = path.startswith(("/applications", "/connect", "/keys", "/users"))
        return self.as_key(*Scope) if is_keys_only else self.as_user("ada")


async def pages_can_read(response: httpx.Response) -> None:
    """Checks, for every response in these tests, that a page of another origin can read its headers."""
    hidden = {name for name in response.headers if not name.startswith("access-control-")} - _READABLE - _FOR_BROWSERS
    assert not hidden, f"not in EXPOSED_HEADERS of services/gateway/http/cors.py: {hidden}"


def bearer(token: str) -> dict[str, str]:
    """The header that carries an access token."""
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def auth() -> FakeAuth:
    return FakeAuth()


@pytest.fixture
def keys() -> FakeKeys:
    return FakeKeys()


@pytest.fixture
def connections() -> FakeConnections:
    return FakeConnections()


@pytest.fixture
def mail() -> FakeMail:
    return FakeMail()


@pytest.fixture
async def services(
    auth: FakeAuth, mail: FakeMail, keys: FakeKeys, connections: FakeConnections
) -> AsyncIterator[Services]:
    """Stubs of the fakes, served by one gRPC server on loopback."""
    register = [
        partial(add_SignInServiceServicer_to_server, auth),
        partial(add_SessionServiceServicer_to_server, auth),
        partial(add_ApiKeyServiceServicer_to_server, keys),
        partial(add_ApplicationServiceServicer_to_server, keys),
        partial(add_ConnectServiceServicer_to_server, connections),
        partial(add_UserServiceServicer_to_server, auth),
        partial(add_MailboxServiceServicer_to_server, mail),
        partial(add_MessageServiceServicer_to_server, mail),
        partial(add_SyncServiceServicer_to_server, mail),
    ]
    async with serve_rpc(host="127.0.0.1", port=0, register=register, callers={**AUTH, **MAIL}, identity=None) as port:
        address = f"127.0.0.1:{port}"
        async with connect(auth_address=address, mail_address=address, identity=None) as stubs:
            yield stubs


type OpenGateway = Callable[..., AbstractAsyncContextManager[Gateway]]


@pytest.fixture
async def gateway(open_gateway: OpenGateway) -> AsyncIterator[Gateway]:
    async with open_gateway() as gateway:
        yield gateway


@pytest.fixture
async def over_http(gateway: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the gateway's application behind a real server."""
    async with serve_http(gateway.app, host="127.0.0.1", port=0) as port:
        url = f"http://127.0.0.1:{port}"
        # The tests look at the bytes that are sent.
        headers = gateway.as_user("ada") | {"Accept-Encoding": "identity"}
        async with httpx.AsyncClient(base_url=url, headers=headers, trust_env=False) as client:
            yield client


@pytest.fixture
def open_gateway(
    services: Services, auth: FakeAuth, mail: FakeMail, keys: FakeKeys, connections: FakeConnections
) -> OpenGateway:
    """Call it for one more gateway before the same services, with other arguments of `create_app` where given."""
    return partial(_opened, services, auth, mail, keys, connections)


@asynccontextmanager
async def _opened(
    services: Services,
    auth: FakeAuth,
    mail: FakeMail,
    fake_keys: FakeKeys,
    connections: FakeConnections,
    *,
    address: str = "192.0.2.1",
    public_url: str = ISSUER,
    **options: Any,
) -> AsyncIterator[Gateway]:
    clock = Clock()
    registry, stop = CollectorRegistry(), asyncio.Event()
    keys = auth_key_set(services.sessions, monotonic=clock)

    revocations = Revocations(services.api_keys, monotonic=clock)

    async def ready() -> bool:
        return True

    app = create_app(
        services=services,
        signing_keys=keys,
        access_tokens=AccessTokens(keys, issuer=ISSUER, audience=ISSUER),
        api_keys=ApiKeys(services.api_keys),
        revocations=revocations,
        ready=ready,
        long_polls=LongPolls(stop, revocations=revocations),
        telemetry=Telemetry(registry),
        public_url=public_url,
        frontend_redirect_url=FRONTEND,
        cors_origins=("https://app.example",),
        body_limit=BODY_LIMIT,
        **options,
    )
    transport = httpx.ASGITransport(app, client=(address, 123))
    hooks = {"response": [pages_can_read]}
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway", event_hooks=hooks) as http:
        yield Gateway(
            app=app,
            http=http,
            auth=auth,
            mail=mail,
            clock=clock,
            registry=registry,
            stop=stop,
            revocations=revocations,
            keys=fake_keys,
            connections=connections,
        )
