"""Metrics and traces of calls at both ends, with traces on and off."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from grpc import aio
from opentelemetry.trace import SpanKind, StatusCode
from pydantic import SecretStr

from deploy.local.postgres import Database
from services.kit.errors import AppError, Kind
from services.kit.observe.http_calls import CallObserver, ObservedClient
from services.kit.observe.setup import open_telemetry
from services.kit.observe.tracing import continued, only_the_trace, start_span, trace_parent
from services.kit.settings import Postgres
from services.kit.stores.postgres import create_pool
from tests.support.kit.recorded import Recorded
from tests.support.kit.service import served

Context = aio.ServicerContext[Any, Any]
RPC = "mailroom.auth.v1.ProviderTokenService/GetAccessToken"
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
def recorded() -> Recorded:
    return Recorded()


def behaviour(error: Exception | None = None) -> Callable[[Context], Any]:
    async def behave(_: Context) -> None:
        if error is not None:
            raise error

    return behave


class TestRpc:
    @pytest.mark.parametrize(
        ("error", "code"),
        [(None, "OK"), (AppError(Kind.NOT_FOUND, "x", "X."), "NOT_FOUND"), (RuntimeError("hunter2"), "INTERNAL")],
    )
    async def test_is_timed_by_method_and_status(self, error: Exception | None, code: str, recorded: Recorded) -> None:
        async with served(behaviour(error), telemetry=recorded.telemetry) as (_, ask):
            await asyncio.gather(ask(), return_exceptions=True)
        assert recorded.count("mailroom_rpc_seconds", rpc=RPC, code=code) == 1

    async def test_that_its_caller_gives_up_is_cancelled(self, recorded: Recorded) -> None:
        arrived, ended = asyncio.Event(), asyncio.Event()

        async def hang(_: Context) -> None:
            arrived.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        async with served(hang, telemetry=recorded.telemetry) as (_, ask):
            asking = asyncio.ensure_future(ask())
            await arrived.wait()
            asking.cancel()
            async with asyncio.timeout(30):
                await ended.wait()
        assert recorded.count("mailroom_rpc_seconds", rpc=RPC, code="CANCELLED") == 1

    async def test_goes_on_with_the_trace_of_its_caller(self, recorded: Recorded) -> None:
        async with served(behaviour(), telemetry=recorded.telemetry) as (_, ask):
            with start_span(recorded.tracer, "request"):
                await ask()
        server, client, request = recorded.of_kinds(SpanKind.SERVER, SpanKind.CLIENT, SpanKind.INTERNAL)
        assert (server.name, client.name, request.name) == (RPC, RPC, "request")
        assert server.parent is not None
        assert client.parent is not None
        assert (server.parent.span_id, client.parent.span_id) == (client.context.span_id, request.context.span_id)

    async def test_outside_of_a_trace_has_a_span_at_its_server_only(self, recorded: Recorded) -> None:
        async with served(behaviour(), telemetry=recorded.telemetry) as (_, ask):
            await ask()
        [server] = recorded.spans
        assert server.parent is None

    async def test_that_fails_leaves_no_text_of_the_error_in_the_trace(self, recorded: Recorded) -> None:
        async with served(behaviour(RuntimeError("hunter2")), telemetry=recorded.telemetry) as (_, ask):
            with start_span(recorded.tracer, "request"), pytest.raises(AppError):
                await ask()
        server, client = recorded.of_kinds(SpanKind.SERVER, SpanKind.CLIENT)
        assert server.status.status_code is client.status.status_code is StatusCode.ERROR
        assert "hunter2" not in "".join(span.to_json() for span in recorded.spans)


class TestProviderCall:
    @pytest.mark.parametrize("status", [200, 503])
    async def test_is_timed_and_traced_by_its_name(self, status: int, recorded: Recorded) -> None:
        async with self.client(recorded, lambda _: httpx.Response(status, text="secret")) as client:
            with start_span(recorded.tracer, "request"):
                async with client.stream("GET", "http://provider/users/me?code=hunter2") as response:
                    assert await response.aread() == b"secret"
        assert recorded.count("mailroom_provider_call_seconds", call="provider.me", status=str(status)) == 1
        call, _ = recorded.spans
        assert (call.name, call.status.status_code is StatusCode.ERROR) == ("provider.me", status == 503)
        assert "hunter2" not in call.to_json()

    async def test_without_a_response_has_no_status(self, recorded: Recorded) -> None:
        def refuse(request: httpx.Request) -> httpx.Response:
            raise httpx.ConnectError("refused", request=request)

        async with self.client(recorded, refuse) as client:
            with pytest.raises(httpx.ConnectError):
                async with client.stream("GET", "http://provider/users/me"):
                    pass
        assert recorded.count("mailroom_provider_call_seconds", call="provider.me", status="none") == 1

    async def test_with_a_response_that_breaks_off_has_no_status(self, recorded: Recorded) -> None:
        async def broken_off() -> AsyncIterator[bytes]:
            yield b"sec"
            raise httpx.ReadTimeout("nothing more")

        async with self.client(recorded, lambda _: httpx.Response(200, content=broken_off())) as client:
            with pytest.raises(httpx.ReadTimeout):
                async with client.stream("GET", "http://provider/users/me") as response:
                    await response.aread()
        assert recorded.count("mailroom_provider_call_seconds", call="provider.me", status="none") == 1
        assert recorded.count("mailroom_provider_call_seconds", call="provider.me", status="200") is None

    @staticmethod
    def client(recorded: Recorded, answer: Callable[[httpx.Request], httpx.Response]) -> ObservedClient:
        return ObservedClient(
            observer=CallObserver(recorded.telemetry),
            name_call=lambda url: f"provider.{url.path.rpartition('/')[2]}",
            transport=httpx.MockTransport(answer),
        )


class TestStatement:
    async def test_is_in_the_trace_without_its_values(self, recorded: Recorded, database: Postgres) -> None:
        pool = await create_pool(database, application_name="trace-tests", size=1, tracer=recorded.tracer)
        try:
            with start_span(recorded.tracer, "request"):
                await pool.fetchval("SELECT\n    $1::text", "hunter2")
            await pool.fetchval("SELECT 1")
            await asyncio.sleep(0)
        finally:
            await pool.close()
        [statement] = [span for span in recorded.spans if span.name == "postgres"]
        assert statement.attributes is not None
        assert statement.attributes["db.query.text"] == "SELECT $1::text"
        assert "hunter2" not in statement.to_json()

    @pytest.fixture
    def database(self, create_database: Callable[[str], Database]) -> Postgres:
        created = create_database("traces")
        server = created.server
        return Postgres(
            host=server.host,
            port=server.port,
            user=server.user,
            password=SecretStr(server.password),
            database=created.name,
        )


class TestContext:
    def test_outside_of_a_trace_is_nothing(self) -> None:
        assert trace_parent() is None

    def test_travels_as_text(self, recorded: Recorded) -> None:
        given = f"00-{TRACE_ID}-00f067aa0ba902b7-01"
        with start_span(recorded.tracer, "later", context=continued(given)):
            parent = trace_parent()
        assert parent is not None
        assert parent.split("-")[1] == TRACE_ID
        assert parent != given

    @pytest.mark.parametrize("value", [None, "", "nonsense", f"00-{'0' * 32}-00f067aa0ba902b7-01"])
    def test_that_is_malformed_begins_a_trace(self, value: str | None, recorded: Recorded) -> None:
        with start_span(recorded.tracer, "outer"), start_span(recorded.tracer, "later", context=continued(value)):
            pass
        later, outer = recorded.spans
        assert later.parent is None
        assert later.context.trace_id != outer.context.trace_id

    async def test_is_all_that_a_task_of_its_own_keeps(self, recorded: Recorded) -> None:
        async def name() -> str | None:
            return trace_parent()

        with start_span(recorded.tracer, "request"):
            expected = trace_parent()
            assert await asyncio.create_task(name(), context=only_the_trace()) == expected


def test_the_release_that_runs_is_shown() -> None:
    with open_telemetry("auth", collector=None, version="0.2.0") as telemetry:
        assert telemetry.registry.get_sample_value("mailroom_build_info", {"version": "0.2.0"}) == 1


def test_without_a_collector_no_exporter_is_even_imported() -> None:
    code = """
import sys
from services.kit.observe.setup import open_telemetry
with open_telemetry("test", collector=None) as telemetry:
    assert telemetry.tracer is None
print([name for name in sys.modules if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter"))])
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"


def test_a_collector_that_is_away_does_not_keep_the_process_from_ending(closed_port: int) -> None:
    code = f"""
from services.kit.observe.setup import open_telemetry
with open_telemetry("test", collector="http://127.0.0.1:{closed_port}") as telemetry:
    telemetry.tracer.start_span("lost").end()
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=100)
