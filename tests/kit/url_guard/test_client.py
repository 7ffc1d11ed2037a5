"""Requests to given URLs: where they go, what stops them, and how much of an answer is read."""

import asyncio
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from ipaddress import ip_network

import httpcore
import pytest

from services.kit.url_guard.addresses import AddressPolicy
from services.kit.url_guard.client import (
    KEPT_BYTES,
    AddressRefusedError,
    GuardedBackend,
    GuardedClient,
    NoAnswerError,
    Reply,
    Resolve,
    SharedLookups,
    open_client,
)
from services.kit.url_guard.destination import parse
from tests.support.imap.scripted_server import client_tls, server_tls
from tests.support.kit.receiver import OK, raw_receiver

# What would pass for the answer to the next request.
EXCESS = b"HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n"
LOOPBACK = AddressPolicy([ip_network("127.0.0.0/8")])


class Resolver:
    """A name server that gives one answer after the other, and the last one from then on."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def __call__(self, _host: str, _port: int) -> Sequence[str]:
        """Reply."""
        self.asked += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class Network(httpcore.AsyncNetworkBackend):
    """A network that keeps the addresses of connections and makes none."""

    def __init__(self) -> None:
        self.reached: list[str] = []

    async def connect_tcp(self, host: str, *_: object, **__: object) -> httpcore.AsyncNetworkStream:
        """Keep the address."""
        self.reached.append(host)
        raise httpcore.ConnectError


async def post(
    client: GuardedClient, url: str, *, body: bytes = b"{}", timeout: float = 5, headers: dict[str, str] | None = None
) -> Reply:
    return await client.post(parse(url, allow_http=True), body=body, headers=headers or {}, timeout=timeout)


async def post_once(url: str, *, resolve: Resolve | None = None, timeout: float = 5) -> Reply:
    async with open_client(LOOPBACK, connections=2, resolve=resolve) as client:
        return await post(client, url, timeout=timeout)


class TestConnection:
    async def test_goes_to_the_address_that_was_checked(self) -> None:
        resolver, network = Resolver(["93.184.215.14"], ["127.0.0.1"]), Network()
        backend = GuardedBackend(resolver, AddressPolicy(), inner=network)
        with pytest.raises(httpcore.ConnectError):
            await backend.connect_tcp("rebinding.example", 443)
        assert (network.reached, resolver.asked) == (["93.184.215.14"], 1)

    async def test_reaches_nothing_when_the_name_server_changes_its_answer(self) -> None:
        resolver, network = Resolver(["93.184.215.14"], ["169.254.169.254"]), Network()
        backend = GuardedBackend(resolver, AddressPolicy(), inner=network)
        with pytest.raises(httpcore.ConnectError):
            await backend.connect_tcp("rebinding.example", 443)
        with pytest.raises(AddressRefusedError):
            await backend.connect_tcp("rebinding.example", 443)
        assert network.reached == ["93.184.215.14"]

    async def test_reaches_none_of_several_addresses_if_one_is_refused(self) -> None:
        network = Network()
        backend = GuardedBackend(Resolver(["93.184.215.14", "10.0.0.1"]), AddressPolicy(), inner=network)
        with pytest.raises(AddressRefusedError):
            await backend.connect_tcp("mixed.example", 443)
        assert network.reached == []

    async def test_tries_all_addresses(self) -> None:
        network = Network()
        backend = GuardedBackend(Resolver(["2606:4700::1", "93.184.215.14"]), AddressPolicy(), inner=network)
        with pytest.raises(httpcore.ConnectError):
            await backend.connect_tcp("two.example", 443)
        assert network.reached == ["2606:4700::1", "93.184.215.14"]

    @pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "localhost", "169.254.169.254"])
    async def test_to_this_machine_is_refused(self, host: str) -> None:
        async with raw_receiver() as receiver, open_client(AddressPolicy(), connections=2) as client:
            with pytest.raises(AddressRefusedError):
                await post(client, f"http://{host}:{receiver.port}/")
            assert receiver.connections == 0

    async def test_to_a_unix_socket_is_refused(self) -> None:
        with pytest.raises(AddressRefusedError):
            await GuardedBackend(Resolver([]), AddressPolicy(), inner=Network()).connect_unix_socket("/run/docker.sock")

    async def test_uses_no_proxy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async with raw_receiver() as proxy, raw_receiver() as receiver:
            monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
            await post_once(f"http://receiver.example:{receiver.port}/", resolve=Resolver(["127.0.0.1"]))
            assert (proxy.connections, len(receiver.requests)) == (0, 1)

    async def test_is_kept_for_the_next_request(self) -> None:
        resolver = Resolver(["127.0.0.1"])
        async with raw_receiver() as receiver, open_client(LOOPBACK, connections=2, resolve=resolver) as client:
            for _ in range(3):
                await post(client, f"http://receiver.example:{receiver.port}/")
            assert (receiver.connections, resolver.asked, len(receiver.requests)) == (1, 1, 3)

    @pytest.mark.parametrize(
        "answer",
        [
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok" + EXCESS,
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n" + EXCESS,
            b"HTTP/1.1 204 No Content\r\n\r\n" + EXCESS,
            b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n" + EXCESS,
        ],
        ids=["length", "chunks", "no body", "head before"],
    )
    @pytest.mark.parametrize("is_tls", [False, True])
    async def test_is_closed_after_more_than_an_answer(self, answer: bytes, *, is_tls: bool) -> None:
        async with (
            raw_receiver(answer, tls=server_tls() if is_tls else None) as receiver,
            open_client(LOOPBACK, connections=1, resolve=Resolver(["127.0.0.1"]), tls=client_tls()) as client,
        ):
            url = f"{'https' if is_tls else 'http'}://localhost:{receiver.port}/"
            statuses = {(await post(client, url)).status for _ in range(3)}
            assert statuses <= {200, 204}
            assert (receiver.connections, len(receiver.requests)) == (3, 3)

    async def test_is_closed_after_more_in_a_record_of_its_own(self) -> None:
        async with (
            raw_receiver(OK, EXCESS, tls=server_tls()) as receiver,
            open_client(LOOPBACK, connections=1, resolve=Resolver(["127.0.0.1"]), tls=client_tls()) as client,
        ):
            url = f"https://localhost:{receiver.port}/"
            assert [(await post(client, url)).status for _ in range(3)] == [200] * 3
            assert receiver.connections == 3

    @pytest.mark.parametrize("is_tls", [False, True])
    async def test_is_kept_after_an_answer_in_chunks(self, *, is_tls: bool) -> None:
        answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
        async with (
            raw_receiver(answer, tls=server_tls() if is_tls else None) as receiver,
            open_client(LOOPBACK, connections=1, resolve=Resolver(["127.0.0.1"]), tls=client_tls()) as client,
        ):
            for _ in range(3):
                await post(client, f"{'https' if is_tls else 'http'}://localhost:{receiver.port}/")
            assert (receiver.connections, len(receiver.requests)) == (1, 3)


class TestTls:
    async def test_proves_the_name_in_the_url(self) -> None:
        async with (
            raw_receiver(tls=server_tls()) as receiver,
            open_client(LOOPBACK, connections=1, resolve=Resolver(["127.0.0.1"]), tls=client_tls()) as client,
        ):
            assert (await post(client, f"https://localhost:{receiver.port}/")).status == 200
            with pytest.raises(NoAnswerError, match="tls"):
                await post(client, f"https://other.example:{receiver.port}/")
            assert len(receiver.requests) == 1

    async def test_bounds_an_answer_as_well(self) -> None:
        async with (
            raw_receiver(b"HTTP/1.1 100 Continue\r\n\r\n" * 12_000, tls=server_tls()) as receiver,
            open_client(LOOPBACK, connections=1, resolve=Resolver(["127.0.0.1"]), tls=client_tls()) as client,
        ):
            with pytest.raises(NoAnswerError, match="protocol"):
                await post(client, f"https://localhost:{receiver.port}/", timeout=20)


class TestPost:
    async def test_sends_what_is_given(self) -> None:
        async with raw_receiver() as receiver, open_client(LOOPBACK, connections=1) as client:
            url = f"http://127.0.0.1:{receiver.port}/hook?a=b"
            answer = await post(client, url, body=b'{"a": 1}', headers={"webhook-id": "msg_1"})
        [request] = receiver.requests
        assert request.startswith(b"POST /hook?a=b HTTP/1.1\r\n")
        assert request.endswith(b'\r\n\r\n{"a": 1}')
        assert f"host: 127.0.0.1:{receiver.port}\r\n".encode() in request
        assert b"webhook-id: msg_1\r\n" in request
        assert (answer.status, answer.body) == (200, b"ok")

    async def test_follows_no_redirect(self) -> None:
        async with raw_receiver() as elsewhere:
            location = f"http://127.0.0.1:{elsewhere.port}/".encode()
            answer = b"HTTP/1.1 307 Moved\r\nlocation: " + location + b"\r\ncontent-length: 0\r\n\r\n"
            async with raw_receiver(answer) as receiver:
                assert (await post_once(f"http://127.0.0.1:{receiver.port}/")).status == 307
            assert elsewhere.connections == 0

    async def test_keeps_the_beginning_of_an_answer(self) -> None:
        body = b"x" * 5000
        async with raw_receiver(b"HTTP/1.1 500 No\r\ncontent-length: 5000\r\n\r\n" + body) as receiver:
            answer = await post_once(f"http://127.0.0.1:{receiver.port}/")
        assert answer.body == body[:KEPT_BYTES]

    async def test_reads_no_endless_answer(self) -> None:
        endless = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"8000\r\n" + b"x" * 0x8000 + b"\r\n"
        async with raw_receiver(endless + (b"8000\r\n" + b"x" * 0x8000 + b"\r\n") * 3) as receiver:
            answer = await post_once(f"http://127.0.0.1:{receiver.port}/")
        assert (answer.status, len(answer.body)) == (200, KEPT_BYTES)

    async def test_reads_no_endless_answer_in_small_pieces(self) -> None:
        # The sizes of the chunks are five times as long as what they hold.
        pieces = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 50_000
        async with raw_receiver(pieces) as receiver:
            answer = await post_once(f"http://127.0.0.1:{receiver.port}/", timeout=60)
        assert (answer.status, len(answer.body)) == (200, KEPT_BYTES)

    @pytest.mark.parametrize("head", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\na: b\r\n\r\n"])
    async def test_reads_no_endless_heads_before_an_answer(self, head: bytes) -> None:
        async with raw_receiver(head * 12_000) as receiver:
            with pytest.raises(NoAnswerError, match="protocol"):
                await post_once(f"http://127.0.0.1:{receiver.port}/", timeout=60)

    async def test_reads_as_much_of_each_answer_on_a_connection(self) -> None:
        body = b"x" * 60_000
        async with (
            raw_receiver(b"HTTP/1.1 200 OK\r\ncontent-length: 60000\r\n\r\n" + body) as receiver,
            open_client(LOOPBACK, connections=1) as client,
        ):
            for _ in range(6):
                await post(client, f"http://127.0.0.1:{receiver.port}/")
            assert (receiver.connections, len(receiver.requests)) == (1, 6)

    @pytest.mark.parametrize("answer", [None, b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf"])
    async def test_waits_no_longer_than_it_may(self, answer: bytes | None) -> None:
        async with raw_receiver(answer) as receiver:
            began = time.monotonic()
            with pytest.raises(NoAnswerError, match="timeout"):
                await post_once(f"http://127.0.0.1:{receiver.port}/", timeout=0.2)
            assert time.monotonic() - began < 2

    async def test_limits_the_time_of_a_name_server(self) -> None:
        async def silent(_host: str, _port: int) -> Sequence[str]:
            await asyncio.Event().wait()
            return []

        with pytest.raises(NoAnswerError, match="timeout"):
            await post_once("http://silent.example/", resolve=silent, timeout=0.1)

    async def test_tells_why_no_answer_came(self, closed_port: int) -> None:
        with pytest.raises(NoAnswerError, match="connection"):
            await post_once(f"http://127.0.0.1:{closed_port}/")
        with pytest.raises(NoAnswerError, match="name"):
            await post_once("http://does-not-exist.invalid/")
        async with raw_receiver(b"SSH-2.0-OpenSSH\r\n\r\n") as receiver:
            with pytest.raises(NoAnswerError, match="protocol"):
                await post_once(f"http://127.0.0.1:{receiver.port}/")


class NameServers:
    """Name servers of which one does not answer before it is told to."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers = threading.Event()

    def look_up(self, host: str, _port: int) -> Sequence[str]:
        """Reply."""
        self.asked.append(host)
        if host == "silent.example":
            self.answers.wait()
            raise OSError("no answer")
        return ["127.0.0.1"]


class TestSharedLookups:
    async def test_of_a_host_without_an_answer_hold_one_thread(self) -> None:
        servers = NameServers()
        with ThreadPoolExecutor(max_workers=6) as executor, ExitStack() as ended:
            # Threads that wait would hold up the end of the test.
            ended.callback(servers.answers.set)
            lookups = SharedLookups(executor, look_up=servers.look_up)
            for _ in range(5):
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(lookups("silent.example", 443), 0.01)
            assert await lookups("shop.example", 443) == ["127.0.0.1"]
            assert servers.asked == ["silent.example", "shop.example"]
            waiting = asyncio.ensure_future(lookups("silent.example", 443))
            await asyncio.sleep(0)
            servers.answers.set()
            with pytest.raises(OSError, match="no answer"):
                await waiting

    async def test_are_made_anew_once_they_have_ended(self) -> None:
        servers = NameServers()
        with ThreadPoolExecutor(max_workers=2) as executor:
            lookups = SharedLookups(executor, look_up=servers.look_up)
            for _ in range(2):
                await lookups("shop.example", 443)
        assert servers.asked == ["shop.example", "shop.example"]
