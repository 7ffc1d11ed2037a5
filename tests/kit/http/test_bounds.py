"""The bounds of HTTP servers, held against clients on sockets."""

import asyncio
import gc
import resource
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from ipaddress import ip_network

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from services.kit.http.bounds import OTHER_DESCRIPTORS, Bounds, raise_descriptor_limit
from services.kit.http.connections import Connections
from services.kit.http.server import serve_http

GET = b"GET / HTTP/1.1\r\nHost: x\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\n"
BEHIND_A_PROXY = Bounds(connections_per_address=2, trusted_proxies=(ip_network("127.0.0.1/32"),))
QUICK = Bounds(head_seconds=0.2, body_seconds=0.2, body_rate=100, stall_seconds=0.2)


async def _hello(request: Request) -> Response:
    body = await request.body()
    return PlainTextResponse(f"{len(body)} {len(request.headers)}")


@asynccontextmanager
async def served(
    bounds: Bounds, answer: Callable[[Request], Awaitable[Response]] = _hello
) -> AsyncIterator[Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]]:
    """Serve a route within bounds; yield a function that connects."""
    app = Starlette(routes=[Route("/", answer, methods=["GET", "POST"])])
    writers: list[asyncio.StreamWriter] = []
    async with asyncio.timeout(20), serve_http(app, host="127.0.0.1", port=0, drain_seconds=1, bounds=bounds) as port:

        async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writers.append(writer)
            return reader, writer

        try:
            yield connect
        finally:
            for writer in writers:
                writer.close()


async def answer_to(sent: bytes, *, bounds: Bounds = QUICK) -> bytes:
    """Send bytes, and return what comes until the server closes the connection."""
    async with served(bounds) as connect:
        reader, writer = await connect()
        writer.write(sent)
        return await reader.read()


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


class TestHead:
    @pytest.mark.parametrize(
        ("head", "status"),
        [
            (GET, 200),
            (GET + b"A: b\r\n" * 98, 200),
            (GET + b"A: b\r\n" * 99, 431),
            (GET + b"A: " + b"a" * 32_600 + b"\r\n", 200),
            (GET + b"A: " + b"a" * 32_800 + b"\r\n", 431),
            (GET + b"A" * 32_800 + b": b\r\n", 431),
            (b"GET /?" + b"a" * 8_180 + b" HTTP/1.1\r\nHost: x\r\n", 200),
            (b"GET /?" + b"a" * 8_200 + b" HTTP/1.1\r\nHost: x\r\n", 414),
            (b"HELLO\r\n", 400),
            (b"GET / HTTP/1.1\r\n", 400),
            (GET + b"Host: y\r\n", 400),
            (GET + b"HOST: x\r\n", 400),
            (b"GET / HTTP/1.0\r\n", 200),
            (b"GET / HTTP/1.0\r\nHost: x\r\nHost: y\r\n", 400),
        ],
    )
    async def test_is_bounded_in_size_headers_and_url(self, head: bytes, status: int) -> None:
        assert status_of(await answer_to(head + b"Connection: close\r\n\r\n")) == status

    @pytest.mark.parametrize(
        "begin", [GET + b"A: ", GET + b"A", b"GET /", POST + b"Transfer-Encoding: chunked\r\n\r\n1;"]
    )
    async def test_without_an_end_is_refused_early(self, begin: bytes) -> None:
        taken = 0
        async with served(Bounds()) as connect:
            reader, writer = await connect()
            writer.write(begin)
            while not reader.at_eof() and taken < 4_000_000:
                writer.write(b"a" * 65_536)
                taken += 65_536
                await asyncio.wait({asyncio.ensure_future(writer.drain())}, timeout=1)
                if await _readable(reader):
                    break
            assert status_of(await reader.read()) in (414, 431)
        assert taken < 1_000_000

    async def test_of_a_request_after_another_is_bounded_too(self) -> None:
        answer = await answer_to(GET + b"\r\n" + GET + b"A: " + b"a" * 50_000 + b"\r\n\r\n")
        assert answer.count(b"HTTP/1.1 200") <= 1
        assert b"HTTP/1.1 431" not in answer.partition(b"\r\n\r\n")[0]

    @pytest.mark.parametrize("sent", [b"", b"\r\n", GET])
    async def test_that_does_not_end_ends_the_connection(self, sent: bytes) -> None:
        answer = await answer_to(sent)
        assert (status_of(answer) == 408) if sent == GET else answer == b""

    async def test_that_trickles_gets_no_more_time(self) -> None:
        async with served(QUICK) as connect:
            reader, writer = await connect()
            ended = asyncio.ensure_future(reader.read())
            while not ended.done():
                writer.write(b"\r\n")
                await asyncio.wait({ended}, timeout=0.05)
            # Bytes that arrive after the end reset the connection.
            assert isinstance(ended.exception(), ConnectionResetError) or ended.result() == b""

    async def test_takes_no_header_from_the_trailers(self) -> None:
        chunked = POST + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n"
        answer = await answer_to(chunked + b"Authorization: Bearer x\r\n\r\n")
        assert answer.endswith(b"1 3")


class TestFraming:
    """Requests whose end a proxy and the server could find in different places (request smuggling)."""

    @pytest.mark.parametrize(
        "framing",
        [
            b"Content-Length: 5\r\nTransfer-Encoding: chunked",
            b"Content-Length: 5\r\nContent-Length: 6",
            b"Content-Length: 5\r\nContent-Length: 5",
            b"Content-Length: 5, 5",
            b"Content-Length: +5",
            b"Content-Length:\r\n 5",
            b"Transfer-Encoding: gzip, chunked",
            b"Transfer-Encoding: chunked, identity",
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            b"Transfer-Encoding : chunked",
            b"Transfer-Encoding: chunked\nA: b",
            b"Transfer-Encoding: \x0bchunked",
            b"A: b\r\n c\r\nContent-Length: 5",
        ],
    )
    async def test_that_is_ambiguous_is_refused(self, framing: bytes) -> None:
        answer = await answer_to(POST + framing + b"\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert status_of(answer) == 400
        assert answer.count(b"HTTP/1.1 ") == 1

    @pytest.mark.parametrize(
        "body", [b"5\nabcde\r\n0\r\n\r\n", b"5;\nabcde\r\n0\r\n\r\n", b"5\r\nabcde\n0\r\n\r\n", b"0x5\r\n"]
    )
    async def test_of_chunks_that_is_ambiguous_is_refused(self, body: bytes) -> None:
        answer = await answer_to(POST + b"Transfer-Encoding: chunked\r\n\r\n" + body)
        assert status_of(answer) == 400
        assert answer.count(b"HTTP/1.1 ") == 1

    async def test_by_chunks_is_none_of_http_1_0(self) -> None:
        head = b"POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        assert status_of(await answer_to(head + b"1\r\na\r\n0\r\n\r\n")) == 400

    @pytest.mark.parametrize("coding", [b"chunked", b"Chunked"])
    async def test_by_chunks_is_read(self, coding: bytes) -> None:
        head = POST + b"Connection: close\r\nTransfer-Encoding: " + coding + b"\r\n\r\n"
        assert (await answer_to(head + b"1\r\na\r\n0\r\n\r\n")).endswith(b"1 3")


class TestBody:
    async def test_that_stands_still_is_refused(self) -> None:
        assert status_of(await answer_to(POST + b"Content-Length: 10\r\n\r\n{")) == 408

    async def test_that_trickles_is_refused(self) -> None:
        async with served(QUICK) as connect:
            reader, writer = await connect()
            writer.write(POST + b"Content-Length: 100000\r\n\r\n")
            ended = asyncio.ensure_future(reader.read())
            while not ended.done():
                writer.write(b"a")
                await asyncio.wait({ended}, timeout=0.05)
            assert status_of(ended.result()) == 408

    async def test_that_keeps_its_pace_has_as_long_as_it_needs(self) -> None:
        async with served(QUICK) as connect:
            reader, writer = await connect()
            writer.write(POST + b"Connection: close\r\nContent-Length: 500\r\n\r\n")
            ended = asyncio.ensure_future(reader.read())
            for _ in range(10):
                writer.write(b"a" * 50)
                await asyncio.wait({ended}, timeout=0.06)
            assert status_of(await ended) == 200

    async def test_that_arrives_after_the_head_s_time_is_read(self) -> None:
        async with served(Bounds(head_seconds=0.1)) as connect:
            reader, writer = await connect()
            writer.write(POST + b"Connection: close\r\nContent-Length: 1\r\n\r\n")
            ended = asyncio.ensure_future(reader.read())
            await asyncio.wait({ended}, timeout=0.3)
            writer.write(b"a")
            assert (await ended).endswith(b"1 3")


def _cycles() -> int:
    return sum(isinstance(item, RequestResponseCycle) for item in gc.get_objects())


class TestPipelining:
    async def test_keeps_requests_unparsed_while_one_is_answered(self) -> None:
        arrived, go_on = asyncio.Event(), asyncio.Event()

        async def wait(request: Request) -> Response:
            arrived.set()
            await go_on.wait()
            return await _hello(request)

        before = _cycles()
        async with served(Bounds(), wait) as connect:
            reader, writer = await connect()
            writer.write((GET + b"\r\n") * 5_000)
            await arrived.wait()
            await asyncio.wait({asyncio.ensure_future(writer.drain())}, timeout=0.5)
            assert _cycles() - before < 20
            go_on.set()
            for _ in range(5_000):
                assert status_of(await reader.readuntil(b"0 1")) == 200

    @pytest.mark.parametrize("between", [0, 1_000], ids=["in one slice", "in another slice"])
    async def test_answers_no_request_with_the_refusal_of_a_later_one(self, between: int) -> None:
        async def slow(_: Request) -> Response:
            await asyncio.sleep(0.1)
            return PlainTextResponse("slow")

        async with served(QUICK, slow) as connect:
            reader, writer = await connect()
            writer.write(GET + b"\r\n" + POST + b"A: " + b"a" * between)
            writer.write(b"\r\nTransfer-Encoding: chunked\r\n\r\nno number\r\n")
            answers = (await reader.read()).split(b"HTTP/1.1 ")[1:]
        assert [answer[:3] for answer in answers] == ([b"200", b"400"] if between else [])

    async def test_tells_the_request_under_way_that_its_client_left(self) -> None:
        begun, left = asyncio.Event(), asyncio.Event()

        async def wait(request: Request) -> Response:
            begun.set()
            while (await request.receive())["type"] != "http.disconnect":
                pass
            left.set()
            return PlainTextResponse("late")

        async with served(Bounds(), wait) as connect:
            _, writer = await connect()
            writer.write((GET + b"\r\n") * 2)
            await begun.wait()
            writer.close()
            await asyncio.wait_for(left.wait(), 30)

    async def test_goes_on_behind_an_upgrade_that_is_offered(self) -> None:
        offer = GET + b"Connection: upgrade\r\nUpgrade: h2c\r\n\r\n"
        answer = await answer_to(offer + GET + b"Connection: close\r\n\r\n")
        assert answer.count(b"HTTP/1.1 200") == 2


class TestResponse:
    async def test_that_is_not_read_ends_the_connection(self) -> None:
        ended = asyncio.Event()

        async def large(_: Request) -> Response:
            async def watched() -> AsyncIterator[bytes]:
                try:
                    while True:
                        yield b"a" * 65_536
                        await asyncio.sleep(0)
                finally:
                    ended.set()

            return StreamingResponse(watched())

        async with served(QUICK, large) as connect:
            _, writer = await connect()
            writer.write(GET + b"\r\n")
            await asyncio.wait_for(ended.wait(), 30)

    async def test_takes_as_long_as_it_needs(self) -> None:
        async def slow(_: Request) -> Response:
            await asyncio.sleep(0.5)
            return PlainTextResponse("late")

        async with served(QUICK, slow) as connect:
            reader, writer = await connect()
            writer.write(GET + b"Connection: close\r\n\r\n")
            assert (await reader.read()).endswith(b"late")


class TestUnreadResponses:
    async def test_displace_each_other_and_leave_room_for_one_that_is_read(self) -> None:
        async with served(Bounds(unread_bytes=3 * LARGE), large) as connect:
            silent = [await connect() for _ in range(10)]
            for reader, writer in silent:
                writer.write(GET + b"\r\n")
                await reader.readexactly(12)
            assert len(await answered_once(connect)) > LARGE
            # What the kernel holds is not counted: a connection has up to a megabyte there on loopback.
            lengths = [len(await taken(reader)) for reader, _ in silent]
        whole = [length > LARGE for length in lengths]
        assert whole[:6] == [False] * 6
        assert whole[-1]

    async def test_displace_none_of_another_client_of_the_same_proxy(self) -> None:
        bounds = replace(BEHIND_A_PROXY, unread_bytes=3 * LARGE, connections_per_address=20)
        async with served(bounds, large) as connect:
            slow, writer = await connect()
            writer.write(forwarded(2) + b"\r\n")
            await slow.readexactly(12)
            for _ in range(10):
                reader, writer = await connect()
                writer.write(forwarded(1) + b"\r\n")
                await reader.readexactly(12)
            assert len(await taken(slow)) >= LARGE

    async def test_keep_later_requests_of_their_connection_waiting(self) -> None:
        begun = 0

        async def counted(request: Request) -> Response:
            nonlocal begun
            begun += 1
            return await large(request)

        async with served(Bounds(), counted) as connect:
            reader, writer = await connect()
            writer.write((GET + b"\r\n") * 3)
            await reader.readuntil(b"\r\n\r\n")
            assert len(await answered_once(connect)) > LARGE
            assert begun == 2
            await reader.readexactly(LARGE)
            for _ in range(2):
                await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(LARGE)
            assert begun == 4


LARGE = 8_000_000
"""Bytes of a response, more than the buffers of the kernel take."""


async def large(_: Request) -> Response:
    return PlainTextResponse("a" * LARGE)


async def answered_once(connect: Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]) -> bytes:
    """Ask for a response on a connection of its own and read it."""
    reader, writer = await connect()
    writer.write(GET + b"Connection: close\r\n\r\n")
    return await reader.read()


async def taken(reader: asyncio.StreamReader) -> bytes:
    """Read what comes of a response, until the connection ends or the response is whole."""
    found = bytearray()
    with suppress(ConnectionError):
        while len(found) < LARGE and (part := await reader.read(1 << 20)):
            found += part
    return bytes(found)


class Waiting:
    """A route that waits to be told to go on."""

    def __init__(self) -> None:
        self.arrived, self.go_on = asyncio.Semaphore(0), asyncio.Event()

    async def answer(self, _: Request) -> Response:
        self.arrived.release()
        await self.go_on.wait()
        return PlainTextResponse("done")


def forwarded(client: int) -> bytes:
    """Return the head, without its end, of a request that a proxy passes on for a client."""
    return GET + b"X-Forwarded-For: 198.51.100.7, 203.0.113.%d\r\n" % client


class TestConnections:
    async def test_that_send_nothing_lock_no_client_out(self) -> None:
        async with served(Bounds(connections_per_address=20)) as connect:
            idle = [(await connect())[0] for _ in range(60)]
            reader, writer = await connect()
            writer.write(GET + b"Connection: close\r\n\r\n")
            assert status_of(await reader.read()) == 200
            assert await idle[0].read() == b""

    async def test_without_a_request_are_closed(self) -> None:
        async with served(Bounds(idle_seconds=1)) as connect:
            reader, writer = await connect()
            writer.write(GET + b"\r\n")
            # uvicorn's own bound is 5 s.
            async with asyncio.timeout(4.5):
                assert status_of(await reader.read()) == 200

    def test_are_kept_for_longer_than_load_balancers_keep_them(self) -> None:
        assert Bounds().idle_seconds > 600

    async def test_that_send_half_a_body_lock_no_client_out(self) -> None:
        async with served(Bounds(connections_per_address=20)) as connect:
            slow = [await connect() for _ in range(20)]
            for reader, writer in slow:
                writer.write(POST + b"Expect: 100-continue\r\nContent-Length: 9\r\n\r\na")
                await reader.readuntil(b"\r\n\r\n")
            reader, writer = await connect()
            writer.write(GET + b"Connection: close\r\n\r\n")
            assert status_of(await reader.read()) == 200
            assert await slow[0][0].read() == b""
            for reader, writer in slow[1:]:
                writer.write(b"a" * 8)
                assert status_of(await reader.readuntil(b"9 3")) == 200

    async def test_beyond_the_requests_under_way_are_refused(self) -> None:
        waiting = Waiting()
        async with served(Bounds(connections_per_address=2), waiting.answer) as connect:
            under_way = [await connect() for _ in range(2)]
            for _, writer in under_way:
                writer.write(GET + b"Connection: close\r\n\r\n")
                await waiting.arrived.acquire()
            assert status_of(await (await connect())[0].read()) == 503
            waiting.go_on.set()
            assert [status_of(await reader.read()) for reader, _ in under_way] == [200, 200]

    async def test_of_a_proxy_are_bounded_by_the_requests_under_way_of_each_client(self) -> None:
        waiting = Waiting()
        async with served(BEHIND_A_PROXY, waiting.answer) as connect:
            under_way = [await connect() for _ in range(3)]
            for client, (_, writer) in zip((1, 1, 2), under_way, strict=True):
                writer.write(forwarded(client) + b"\r\n")
                await waiting.arrived.acquire()
            refused, writer = await connect()
            writer.write(forwarded(1) + b"\r\n")
            assert status_of(await refused.read()) == 503
            waiting.go_on.set()
            for reader, _ in under_way:
                assert status_of(await reader.readuntil(b"done")) == 200
            reader, writer = under_way[0]
            writer.write(forwarded(1) + b"\r\n")
            assert status_of(await reader.readuntil(b"done")) == 200

    def test_fit_into_the_descriptors(self) -> None:
        allowed = raise_descriptor_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= allowed
        assert Bounds(connections=10_000_000).fitted().connections == allowed - OTHER_DESCRIPTORS


class Client:
    """A connection that knows whether it was closed."""

    def __init__(self) -> None:
        self.dropped = False

    def drop(self) -> None:
        """Note it."""
        self.dropped = True


class TestAddresses:
    def test_are_networks_of_a_subscriber_in_ipv6(self) -> None:
        connections = Connections(Bounds(connections_per_address=1))
        first, second, other = Client(), Client(), Client()
        assert connections.add(first, "2001:db8::1")
        assert connections.add(second, "2001:db8::2")
        assert connections.add(other, "2001:db8:0:1::1")
        assert [first.dropped, second.dropped, other.dropped] == [True, False, False]

    def test_do_not_include_trusted_proxies(self) -> None:
        proxy = (ip_network("10.0.0.7/32"),)
        connections = Connections(Bounds(connections_per_address=1, trusted_proxies=proxy))
        clients = [Client() for _ in range(9)]
        for client in clients:
            assert connections.add(client, "10.0.0.7")
        assert not any(client.dropped for client in clients)
        assert len(connections) == 9

    def test_have_a_bound_together(self) -> None:
        connections = Connections(Bounds(connections=2))
        clients = [Client() for _ in range(3)]
        for number, client in enumerate(clients):
            assert connections.add(client, f"192.0.2.{number}")
        assert [client.dropped for client in clients] == [True, False, False]
        assert len(connections) == 2

    def test_that_work_are_not_displaced(self) -> None:
        connections = Connections(Bounds(connections=1))
        first, second = Client(), Client()
        connections.add(first, "192.0.2.1")
        connections.works(first)
        assert not connections.add(second, "192.0.2.2")
        connections.waits(first)
        assert connections.add(second, "192.0.2.2")
        assert (first.dropped, len(connections)) == (True, 1)


async def _readable(reader: asyncio.StreamReader) -> bool:
    # There is no other way to look without reading.
    await asyncio.sleep(0)
    return bool(reader._buffer)  # type: ignore[attr-defined]
