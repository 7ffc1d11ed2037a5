"""Errors, request ids and deadlines keep their meaning from one process to the next."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, NoReturn, override

import grpc
import pytest
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from mailroom.auth.v1 import auth_pb2, auth_pb2_grpc

from services.kit.context import remaining, request_id, start_request
from services.kit.errors import AppError, Kind
from services.kit.rpc.allow_list import Callers
from services.kit.rpc.client import call, open_channel
from services.kit.rpc.errors import from_rpc_error
from services.kit.rpc.server import DEFAULT_TIMEOUT, serve_rpc
from tests.support.kit.service import CALLERS, METHOD, Service, served

Context = aio.ServicerContext[Any, Any]


async def nothing(_: Context) -> None:
    pass


def raises(error: Exception) -> Any:
    async def behaviour(_: Context) -> None:
        raise error

    return behaviour


class TestKinds:
    def test_have_a_status_of_their_own_on_each_transport(self) -> None:
        assert len({kind.grpc_status for kind in Kind}) == len(Kind)
        assert len({kind.http_status for kind in Kind}) == len(Kind)

    def test_are_failures_on_each_transport(self) -> None:
        assert all(kind.http_status >= 400 for kind in Kind)
        assert all(kind.grpc_status is not grpc.StatusCode.OK for kind in Kind)

    @pytest.mark.parametrize(
        ("kind", "status"),
        [
            (Kind.INVALID, 400),
            (Kind.UNAUTHENTICATED, 401),
            (Kind.FORBIDDEN, 403),
            (Kind.NOT_FOUND, 404),
            (Kind.CONFLICT, 409),
            (Kind.GONE, 410),
            (Kind.RATE_LIMITED, 429),
            (Kind.INTERNAL, 500),
            (Kind.UNAVAILABLE, 503),
            (Kind.TIMEOUT, 504),
        ],
    )
    def test_have_the_http_status_that_clients_expect(self, kind: Kind, status: int) -> None:
        assert kind.http_status == status

    @pytest.mark.parametrize("kind", Kind)
    async def test_arrive_with_reason_message_and_metadata(self, kind: Kind) -> None:
        error = AppError(kind, "some_reason", "A sentence, with ü and 漢.", {"retry_after": "7", "field": "x"})
        async with served(raises(error)) as (_, ask):
            with pytest.raises(AppError) as caught:
                await ask()
        arrived = caught.value
        assert (arrived.kind, arrived.reason, arrived.message) == (kind, error.reason, error.message)
        assert arrived.metadata == error.metadata


class TestUnknownExceptions:
    async def test_do_not_reach_the_caller(self) -> None:
        async with served(raises(RuntimeError("password=hunter2"))) as (_, ask):
            with pytest.raises(AppError) as caught:
                await ask()
        cause = caught.value.__cause__
        assert isinstance(cause, aio.AioRpcError)
        assert (caught.value.kind, caught.value.reason) == (Kind.INTERNAL, "internal")
        assert "hunter2" not in f"{caught.value} {cause} {cause.debug_error_string()} {cause.trailing_metadata()}"

    async def test_of_passing_types_can_be_retried(self) -> None:
        async def fail(_: Context) -> None:
            raise ConnectionRefusedError("hunter2:5432")

        start_request(request_id=None)
        register = partial(auth_pb2_grpc.add_ProviderTokenServiceServicer_to_server, Service(fail))
        async with (
            serve_rpc(
                host="127.0.0.1", port=0, register=[register], callers=CALLERS, identity=None, passing=(OSError,)
            ) as port,
            open_channel(f"127.0.0.1:{port}", peer="auth", identity=None, retried=[]) as channel,
        ):
            stub = auth_pb2_grpc.ProviderTokenServiceStub(channel)
            with pytest.raises(AppError) as caught:
                await call(stub.GetAccessToken, auth_pb2.GetAccessTokenRequest())
        assert (caught.value.kind, caught.value.reason) == (Kind.UNAVAILABLE, "service_unavailable")
        assert "hunter2" not in str(caught.value)

    async def test_do_not_reach_the_caller_of_a_stream(self) -> None:
        async def stream(_request: bytes, _context: Context) -> Any:
            yield b"first"
            raise RuntimeError("password=hunter2")

        register = partial(_register, stream)
        async with (
            serve_rpc(host="127.0.0.1", port=0, register=[register], callers=CALLERS, identity=None) as port,
            aio.insecure_channel(f"127.0.0.1:{port}") as channel,
        ):
            watch: Any = channel.unary_stream("/test.Stream/Watch")
            with pytest.raises(aio.AioRpcError) as caught:
                assert [answer async for answer in watch(b"")] == [b"first"]
        assert from_rpc_error(caught.value).reason == "internal"
        assert "hunter2" not in str(caught.value)

    async def test_errors_of_a_stream_keep_their_meaning(self) -> None:
        async def stream(_request: bytes, _context: Context) -> Any:
            yield b"first"
            raise AppError(Kind.GONE, "cursor_expired", "The cursor has expired.")

        register = partial(_register, stream)
        async with (
            serve_rpc(host="127.0.0.1", port=0, register=[register], callers=CALLERS, identity=None) as port,
            aio.insecure_channel(f"127.0.0.1:{port}") as channel,
        ):
            watch: Any = channel.unary_stream("/test.Stream/Watch")
            with pytest.raises(aio.AioRpcError) as caught:
                assert [answer async for answer in watch(b"")] == [b"first"]
        error = from_rpc_error(caught.value)
        assert (error.kind, error.reason) == (Kind.GONE, "cursor_expired")


def _register(stream: Callable[[bytes, Context], Any], server: aio.Server) -> None:
    handlers: dict[str, Any] = {"Watch": grpc.unary_stream_rpc_method_handler(stream)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Stream", handlers),))


class TestRequestId:
    async def test_travels_with_a_call(self) -> None:
        seen = []

        async def remember(_: Context) -> None:
            seen.append(request_id())

        start_request(request_id="id-of-the-browser")
        async with served(remember) as (_, ask):
            await ask()
        assert seen == ["id-of-the-browser"]

    @pytest.mark.parametrize("given", [None, "", "x" * 65, "two\nlines", "смех", "a b"])
    def test_is_created_if_none_is_well_formed(self, given: str | None) -> None:
        assert start_request(request_id=given) != given
        assert len(request_id()) == 32


class TestDeadline:
    async def test_shrinks_on_the_way(self) -> None:
        left = []

        async def remember(context: Context) -> None:
            left.append((context.time_remaining() or 0.0, remaining(60.0)))

        start_request(request_id=None, timeout=5.0)
        async with served(remember) as (_, ask):
            await ask(timeout=60.0)
        [(called, sub_call)] = left
        assert 4.0 < called < 5.0
        assert 4.0 < sub_call < called

    async def test_ends_a_call_that_hangs(self) -> None:
        async def hang(_: Context) -> None:
            await asyncio.Event().wait()

        start_request(request_id=None, timeout=0.4)
        async with served(hang) as (_, ask):
            with pytest.raises(AppError) as caught:
                await ask()
        assert (caught.value.kind, caught.value.reason) == (Kind.TIMEOUT, "deadline_exceeded")

    async def test_is_set_for_a_call_that_comes_without_one(self) -> None:
        left: list[tuple[float | None, float]] = []

        async def remember(context: Context) -> None:
            left.append((context.time_remaining(), remaining(3600.0)))

        register = partial(auth_pb2_grpc.add_ProviderTokenServiceServicer_to_server, Service(remember))
        async with (
            serve_rpc(host="127.0.0.1", port=0, register=[register], callers=CALLERS, identity=None) as port,
            aio.insecure_channel(f"127.0.0.1:{port}") as channel,
        ):
            stub = auth_pb2_grpc.ProviderTokenServiceStub(channel)
            await stub.GetAccessToken(auth_pb2.GetAccessTokenRequest())
        [(called, sub_call)] = left
        assert called is None
        assert DEFAULT_TIMEOUT - 5 < sub_call <= DEFAULT_TIMEOUT

    def test_of_a_sub_call_is_its_own_limit_when_there_is_time(self) -> None:
        start_request(request_id=None, timeout=60.0)
        assert remaining(5.0) == 5.0

    def test_is_never_negative(self) -> None:
        start_request(request_id=None, timeout=0.01)
        assert remaining(5.0) == 0.0


SESSIONS = "mailroom.auth.v1.SessionService"


class UnavailableSessions(auth_pb2_grpc.SessionServiceServicer):
    """A service whose methods are all unavailable."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()

    @override
    async def RefreshSession(
        self, request: auth_pb2.RefreshSessionRequest, context: Context
    ) -> auth_pb2.RefreshSessionResponse:
        return self._fail("RefreshSession")

    @override
    async def RevokeSession(
        self, request: auth_pb2.RevokeSessionRequest, context: Context
    ) -> auth_pb2.RevokeSessionResponse:
        return self._fail("RevokeSession")

    @override
    async def ListSigningKeys(
        self, request: auth_pb2.ListSigningKeysRequest, context: Context
    ) -> auth_pb2.ListSigningKeysResponse:
        return self._fail("ListSigningKeys")

    @override
    async def VerifyRecentSignIn(
        self, request: auth_pb2.VerifyRecentSignInRequest, context: Context
    ) -> auth_pb2.VerifyRecentSignInResponse:
        return self._fail("VerifyRecentSignIn")

    @override
    async def ListSessions(
        self, request: auth_pb2.ListSessionsRequest, context: Context
    ) -> auth_pb2.ListSessionsResponse:
        return self._fail("ListSessions")

    def _fail(self, method: str) -> NoReturn:
        self.calls[method] += 1
        raise AppError(Kind.UNAVAILABLE, "service_unavailable", "Try again.")


class TestRetries:
    async def test_repeat_listed_calls_that_reached_no_peer(self) -> None:
        failures = [AppError(Kind.UNAVAILABLE, "service_unavailable", "Try again.")] * 2

        async def fail_twice(_: Context) -> None:
            if failures:
                raise failures.pop()

        start_request(request_id=None)
        async with served(fail_twice, retried=True) as (service, ask):
            await ask()
        assert service.calls == 3

    async def test_do_not_repeat_other_calls(self) -> None:
        async with served(raises(AppError(Kind.UNAVAILABLE, "service_unavailable", "Try again."))) as (service, ask):
            with pytest.raises(AppError):
                await ask()
        assert service.calls == 1

    async def test_do_not_repeat_another_method_of_the_same_service(self) -> None:
        sessions = UnavailableSessions()
        register = partial(auth_pb2_grpc.add_SessionServiceServicer_to_server, sessions)
        callers: Callers = {SESSIONS: frozenset()}
        start_request(request_id=None)
        async with (
            serve_rpc(host="127.0.0.1", port=0, register=[register], callers=callers, identity=None) as port,
            open_channel(
                f"127.0.0.1:{port}", peer="auth", identity=None, retried=[(SESSIONS, "RevokeSession")]
            ) as channel,
        ):
            stub = auth_pb2_grpc.SessionServiceStub(channel)
            with pytest.raises(AppError):
                await call(stub.RefreshSession, auth_pb2.RefreshSessionRequest())
            with pytest.raises(AppError):
                await call(stub.RevokeSession, auth_pb2.RevokeSessionRequest())
        assert sessions.calls["RefreshSession"] == 1
        assert sessions.calls["RevokeSession"] > 1

    async def test_do_not_repeat_a_call_before_the_time_that_the_server_named(self) -> None:
        error = AppError(Kind.UNAVAILABLE, "provider_unavailable", "Later.", {"retry_after": "5"})
        async with served(raises(error), retried=True) as (service, ask):
            with pytest.raises(AppError):
                await ask()
        assert service.calls == 1

    async def test_do_not_repeat_other_errors(self) -> None:
        error = AppError(Kind.RATE_LIMITED, "quota", "Later.")
        async with served(raises(error), retried=True) as (service, ask):
            with pytest.raises(AppError):
                await ask()
        assert service.calls == 1

    async def test_a_peer_that_is_down_is_unavailable(self, closed_port: int) -> None:
        async with open_channel(f"127.0.0.1:{closed_port}", peer="auth", identity=None, retried=[]) as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            with pytest.raises(AppError) as caught:
                await call(health.Check, health_pb2.HealthCheckRequest())
        assert (caught.value.kind, caught.value.reason) == (Kind.UNAVAILABLE, "service_unavailable")

    async def test_are_not_multiplied_by_the_services_on_the_way(self, closed_port: int) -> None:
        start_request(request_id=None)
        async with open_channel(f"127.0.0.1:{closed_port}", peer="auth", identity=None, retried=[]) as next_one:
            health: Any = health_pb2_grpc.HealthStub(next_one)

            async def ask_the_next_one(_: Context) -> None:
                await call(health.Check, health_pb2.HealthCheckRequest())

            async with served(ask_the_next_one, retried=True) as (service, ask):
                with pytest.raises(AppError) as caught:
                    await ask()
        assert (service.calls, caught.value.reason) == (1, "service_unavailable")


class Line:
    """A proxy to a server, whose open connections can die in silence, as when a machine vanishes."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._dead = asyncio.Event()

    async def lead(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._port)
        dead = self._dead
        await asyncio.gather(_carry(reader, there_writer, dead), _carry(there_reader, writer, dead))

    def lose_machine(self) -> None:
        """Let the open connections die in silence; later ones work."""
        self._dead.set()
        self._dead = asyncio.Event()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, dead: asyncio.Event) -> None:
    while data := await reader.read(4096):
        if not dead.is_set():
            writer.write(data)
    writer.close()


class TestConnection:
    async def test_that_died_in_silence_is_replaced_while_a_call_waits(self) -> None:
        start_request(request_id=None)
        register = partial(auth_pb2_grpc.add_ProviderTokenServiceServicer_to_server, Service(nothing))
        async with serve_rpc(host="127.0.0.1", port=0, register=[register], callers=CALLERS, identity=None) as port:
            line = Line(port)
            listening = await asyncio.start_server(line.lead, "127.0.0.1", 0)
            address = f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"
            async with (
                listening,
                open_channel(address, peer="auth", identity=None, retried=[METHOD], keepalive_seconds=0.2) as channel,
            ):
                stub = auth_pb2_grpc.ProviderTokenServiceStub(channel)
                await call(stub.GetAccessToken, auth_pb2.GetAccessTokenRequest())
                line.lose_machine()
                try:
                    await call(stub.GetAccessToken, auth_pb2.GetAccessTokenRequest(), timeout=8)
                finally:
                    # The proxy's end would wait for connections that nobody closes.
                    listening.abort_clients()


class TestServer:
    async def test_reports_its_health(self) -> None:
        async with (
            serve_rpc(host="127.0.0.1", port=0, register=[], callers=CALLERS, identity=None) as port,
            aio.insecure_channel(f"127.0.0.1:{port}") as channel,
        ):
            health: Any = health_pb2_grpc.HealthStub(channel)
            answer = await health.Check(health_pb2.HealthCheckRequest())
        assert answer.status == health_pb2.HealthCheckResponse.SERVING

    async def test_finishes_calls_under_way_before_it_stops(self) -> None:
        arrived, go_on = asyncio.Event(), asyncio.Event()

        async def wait(_: Context) -> None:
            arrived.set()
            await go_on.wait()

        start_request(request_id=None)
        register = partial(auth_pb2_grpc.add_ProviderTokenServiceServicer_to_server, Service(wait))
        async with AsyncExitStack() as stack:
            async with serve_rpc(host="127.0.0.1", port=0, register=[register], callers=CALLERS, identity=None) as port:
                channel = await stack.enter_async_context(
                    open_channel(f"127.0.0.1:{port}", peer="auth", identity=None, retried=[])
                )
                stub = auth_pb2_grpc.ProviderTokenServiceStub(channel)
                under_way = asyncio.ensure_future(call(stub.GetAccessToken, auth_pb2.GetAccessTokenRequest()))
                await arrived.wait()
                asyncio.get_running_loop().call_later(0.1, go_on.set)
            assert go_on.is_set()
            assert await under_way == auth_pb2.GetAccessTokenResponse()

    async def test_refuses_a_port_that_is_taken(self) -> None:
        async with serve_rpc(host="127.0.0.1", port=0, register=[], callers=CALLERS, identity=None) as port:
            with pytest.raises(RuntimeError, match=str(port)):
                async with serve_rpc(host="127.0.0.1", port=port, register=[], callers={}, identity=None):
                    pass


class TestReplicas:
    async def test_share_the_calls(self) -> None:
        async with AsyncExitStack() as stack:
            replicas = [Service(nothing), Service(nothing)]
            ports = [await stack.enter_async_context(_serving(replica)) for replica in replicas]
            ask = await stack.enter_async_context(_asking(ports))
            await _until(lambda: all(replica.calls for replica in replicas), ask)
            before = [replica.calls for replica in replicas]
            for _ in range(20):
                await ask()
            assert [replica.calls - calls for replica, calls in zip(replicas, before, strict=True)] == [10, 10]

    async def test_one_that_stops_leaves_the_calls_to_the_other(self) -> None:
        leaving, staying = Service(nothing), Service(nothing)
        async with AsyncExitStack() as stack:
            stop = AsyncExitStack()
            ports = [await stop.enter_async_context(_serving(leaving))]
            ports.append(await stack.enter_async_context(_serving(staying)))
            ask = await stack.enter_async_context(_asking(ports))
            await _until(lambda: bool(leaving.calls and staying.calls), ask)
            stopping = asyncio.create_task(stop.aclose())
            while not stopping.done():
                await ask()
            before = staying.calls
            for _ in range(20):
                await ask()
            assert staying.calls - before == 20


async def _until(condition: Callable[[], bool], ask: Callable[[], Awaitable[Any]]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await ask()


def _serving(service: Service) -> AbstractAsyncContextManager[int]:
    register = partial(auth_pb2_grpc.add_ProviderTokenServiceServicer_to_server, service)
    return serve_rpc(host="127.0.0.1", port=0, register=[register], callers=CALLERS, identity=None)


@asynccontextmanager
async def _asking(ports: list[int]) -> AsyncIterator[Callable[[], Awaitable[Any]]]:
    """Call through one channel to a name with several addresses, as Kubernetes and compose give them."""
    address = "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports)
    async with open_channel(address, peer="auth", identity=None, retried=[METHOD]) as channel:
        stub = auth_pb2_grpc.ProviderTokenServiceStub(channel)
        yield partial(call, stub.GetAccessToken, auth_pb2.GetAccessTokenRequest())
