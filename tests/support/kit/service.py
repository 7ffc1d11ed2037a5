"""A service with one method, whose behaviour a test defines."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, override

from grpc import aio
from mailroom.auth.v1 import auth_pb2, auth_pb2_grpc

from services.kit.observe.setup import Telemetry
from services.kit.rpc.allow_list import Callers
from services.kit.rpc.client import call, open_channel
from services.kit.rpc.server import serve_rpc

METHOD = ("mailroom.auth.v1.ProviderTokenService", "GetAccessToken")
# In plaintext callers have no names; unlisted services are refused all the same.
CALLERS: Callers = dict.fromkeys((METHOD[0], "test.Source", "test.Stream"), frozenset())
Behaviour = Callable[[aio.ServicerContext[Any, Any]], Awaitable[None]]


@dataclass
class Service(auth_pb2_grpc.ProviderTokenServiceServicer):
    """A service that runs `behaviour` for each call and counts the calls."""

    behaviour: Behaviour
    calls: int = field(default=0)

    @override
    async def GetAccessToken(
        self, request: auth_pb2.GetAccessTokenRequest, context: aio.ServicerContext[Any, Any]
    ) -> auth_pb2.GetAccessTokenResponse:
        self.calls += 1
        await self.behaviour(context)
        return auth_pb2.GetAccessTokenResponse()


@asynccontextmanager
async def served(
    behaviour: Behaviour, *, retried: bool = False, telemetry: Telemetry | None = None
) -> AsyncIterator[tuple[Service, Callable[..., Awaitable[Any]]]]:
    """Yield the running service and a function that calls its method with kit's client."""
    service = Service(behaviour)
    register = partial(auth_pb2_grpc.add_ProviderTokenServiceServicer_to_server, service)
    async with (
        serve_rpc(
            host="127.0.0.1", port=0, register=[register], callers=CALLERS, identity=None, telemetry=telemetry
        ) as port,
        open_channel(
            f"127.0.0.1:{port}",
            peer="auth",
            identity=None,
            retried=[METHOD] if retried else [],
            tracer=None if telemetry is None else telemetry.tracer,
        ) as channel,
    ):
        stub = auth_pb2_grpc.ProviderTokenServiceStub(channel)
        yield service, partial(call, stub.GetAccessToken, auth_pb2.GetAccessTokenRequest())
