"""The HTTP server in a process, the admin port, and the life of the process."""

import asyncio
import json
import os
import pty
import re
import signal
import sys

import httpx
import pytest
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from services.kit.http.admin import admin_app
from services.kit.http.readiness import Readiness
from services.kit.http.server import serve_http
from services.kit.observe.setup import open_telemetry


class TestServeHttp:
    async def test_serves_on_the_port_that_it_yields(self) -> None:
        async def hello(_: Request) -> Response:
            return PlainTextResponse("hello")

        app = Starlette(routes=[Route("/", hello)])
        async with serve_http(app, host="127.0.0.1", port=0) as port, httpx.AsyncClient() as client:
            answer = await client.get(f"http://127.0.0.1:{port}/")
        assert answer.text == "hello"
        assert "server" not in answer.headers

    async def test_refuses_a_port_that_is_taken(self) -> None:
        async with serve_http(Starlette(), host="127.0.0.1", port=0) as port:
            with pytest.raises(OSError, match="in use"):
                async with serve_http(Starlette(), host="127.0.0.1", port=port):
                    pass

    async def test_answers_requests_under_way_before_it_stops(self) -> None:
        arrived, go_on = asyncio.Event(), asyncio.Event()

        async def slow(_: Request) -> Response:
            arrived.set()
            await go_on.wait()
            return PlainTextResponse("done")

        async with httpx.AsyncClient() as client:
            async with serve_http(Starlette(routes=[Route("/", slow)]), host="127.0.0.1", port=0) as port:
                under_way = asyncio.ensure_future(client.get(f"http://127.0.0.1:{port}/"))
                await arrived.wait()
                asyncio.get_running_loop().call_later(0.1, go_on.set)
            assert (await under_way).text == "done"

    async def test_ends_an_answer_that_never_ends(self) -> None:
        arrived = asyncio.Event()

        async def endless(_: Request) -> Response:
            arrived.set()
            return await asyncio.Event().wait()  # type: ignore[return-value]  # it never comes to that

        app = Starlette(routes=[Route("/", endless)])
        async with httpx.AsyncClient() as client, asyncio.timeout(30):
            async with serve_http(app, host="127.0.0.1", port=0, drain_seconds=1) as port:
                under_way = asyncio.ensure_future(client.get(f"http://127.0.0.1:{port}/"))
                await arrived.wait()
            assert (await under_way).status_code == 500

    async def test_asks_clients_to_reconnect_once_stop_is_set(self) -> None:
        stop = asyncio.Event()
        app = admin_app(ready=Readiness(stop), registry=CollectorRegistry())
        async with serve_http(app, host="127.0.0.1", port=0, stop=stop) as port, httpx.AsyncClient() as client:
            before = await client.get(f"http://127.0.0.1:{port}/livez")
            stop.set()
            after = await client.get(f"http://127.0.0.1:{port}/livez")
        assert (before.headers.get("connection"), after.headers.get("connection")) == (None, "close")

    async def test_ignores_proxy_headers_about_the_client(self) -> None:
        async def client_of(request: Request) -> Response:
            assert request.client is not None
            return PlainTextResponse(request.client.host)

        app = Starlette(routes=[Route("/", client_of)])
        async with serve_http(app, host="127.0.0.1", port=0) as port, httpx.AsyncClient() as client:
            answer = await client.get(f"http://127.0.0.1:{port}/", headers={"x-forwarded-for": "203.0.113.9"})
        assert answer.text == "127.0.0.1"


class TestAdminApp:
    @pytest.mark.parametrize(("ready", "status"), [(True, 200), (False, 503)])
    async def test_shows_whether_the_process_is_ready(self, ready: bool, status: int) -> None:
        async def check() -> bool:
            return ready

        with open_telemetry("test", collector=None) as telemetry:
            app = admin_app(ready=check, registry=telemetry.registry)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://admin") as client:
            assert (await client.get("/livez")).status_code == 200
            assert (await client.get("/readyz")).status_code == status
            assert "python_info" in (await client.get("/metrics")).text


class TestReadiness:
    async def test_begins_with_serving_and_ends_with_the_stop(self) -> None:
        stop = asyncio.Event()
        ready = Readiness(stop)
        states = [await ready()]
        ready.serving()
        states.append(await ready())
        stop.set()
        states.append(await ready())
        assert states == [False, True, False]

    async def test_is_not_given_while_the_check_disagrees(self) -> None:
        async def disagree() -> bool:
            return False

        ready = Readiness(asyncio.Event(), check=disagree)
        ready.serving()
        assert not await ready()

    async def test_ends_before_the_process_stops_serving(self) -> None:
        stop = asyncio.Event()
        ready = Readiness(stop)
        ready.serving()
        draining = asyncio.create_task(ready.until_stopped(drain_delay=60))
        stop.set()
        await asyncio.sleep(0)
        assert not await ready()
        assert not draining.done()
        draining.cancel()


PROCESS = """
import asyncio
from services.kit.process import run

async def main(stop: asyncio.Event) -> None:
    print("up", flush=True)
    await stop.wait()
    print("drained", flush=True)

run(main)
"""

LOGGING = """
import logging, structlog
from services.kit.observe.structured_logging import configure_logging

configure_logging(service="test", level="DEBUG")
log = structlog.get_logger("ours")
from services.kit.observe.setup import open_telemetry
with open_telemetry("test", collector="http://127.0.0.1:1") as telemetry:
    with telemetry.tracer.start_as_current_span("request"):
        log.info("traced")
log.info("event", access_token="hunter2", code="hunter2", state="hunter2", retry_token_count=3, status_code="200")
logging.getLogger("library").warning("library says %s", "something")
logging.getLogger("httpx").info("GET http://x/?code=hunter2")
from services.kit.stores.engine import BoundedQueuePool
BoundedQueuePool(lambda: None).dispose()
"""


class TestProcess:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    async def test_drains_on_sigterm(self, number: signal.Signals) -> None:
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", PROCESS, stdout=asyncio.subprocess.PIPE)
        assert process.stdout is not None
        assert await process.stdout.readline() == b"up\n"
        process.send_signal(number)
        assert await process.stdout.read() == b"drained\n"
        assert await process.wait() == 0


class TestLogging:
    async def test_writes_json_lines_and_no_secrets(self) -> None:
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", LOGGING, stderr=asyncio.subprocess.PIPE)
        _, errors = await process.communicate()
        text = errors.decode()
        assert "hunter2" not in text
        assert '"access_token": "[redacted]"' in text
        assert '"status_code": "200"' in text
        assert '"event": "library says something"' in text
        assert "Pool disposed" not in text
        lines = [json.loads(line) for line in text.splitlines()]
        assert {line["service"] for line in lines} == {"test"}
        assert [len(line.get("trace_id", "")) for line in lines if line["event"] in ("traced", "event")] == [32, 0]
        assert all(line.startswith("{") for line in text.splitlines())

    async def test_writes_lines_for_people_and_no_secrets_on_a_terminal(self) -> None:
        ours, theirs = pty.openpty()
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", LOGGING, stderr=theirs)
        os.close(theirs)
        assert await process.wait() == 0
        text = os.read(ours, 65536).decode()
        os.close(ours)
        assert "hunter2" not in text
        event, library = text.splitlines()[-2:]
        assert "{" not in text
        assert "info" in event
        assert re.search("retry_token_count.*=.*3", event)
        assert "library says something" in library
