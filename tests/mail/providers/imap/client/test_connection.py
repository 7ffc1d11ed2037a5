"""Connections: TLS, greetings, one command at a time, and what ends a connection."""

import asyncio
import socket
import ssl
from contextlib import ExitStack

import pytest
import uvloop

from services.mail.providers.imap.client.commands import atom, command, string
from services.mail.providers.imap.client.dial import dial
from services.mail.providers.imap.client.errors import (
    ConnectionLostError,
    FramingError,
    RefusedError,
    SilenceError,
)
from services.mail.providers.imap.client.folders import examine
from services.mail.providers.imap.client.frames import Limits, Patience
from services.mail.providers.imap.client.responses import Data, Status
from tests.support.imap.scripted_server import (
    CUT,
    QUICK,
    SILENCE,
    client_tls,
    connect,
    conversation,
    hears,
    scripted_server,
)
from tests.support.silent_server import silent_server

NOOP = command("NOOP")


class TestDial:
    async def test_takes_capabilities_from_the_greeting(self) -> None:
        async with conversation() as (connection, server):
            assert connection.has("IDLE")
            assert server.heard == []

    async def test_asks_for_capabilities_that_the_greeting_lacks(self) -> None:
        script = [hears(b"CAPABILITY", b"* CAPABILITY IMAP4rev1 XLIST\r\nTAG OK done\r\n")]
        async with conversation(*script, greeting=b"* OK ready\r\n") as (connection, _):
            assert connection.capabilities == {"IMAP4REV1", "XLIST"}

    async def test_refuses_a_certificate_of_another_name(self) -> None:
        async with scripted_server(name="example.org") as server:
            with pytest.raises(ConnectionLostError, match="SSLCertVerificationError"):
                await dial("localhost", server.port, tls=client_tls("example.org"), patience=QUICK)

    async def test_refuses_a_certificate_of_an_unknown_authority(self) -> None:
        async with scripted_server() as server:
            with pytest.raises(ConnectionLostError, match="SSLCertVerificationError"):
                await dial("localhost", server.port, tls=ssl.create_default_context(), patience=QUICK)

    @pytest.mark.parametrize("weakness", ["name", "certificate"])
    async def test_refuses_a_context_that_checks_too_little(self, weakness: str) -> None:
        context = ssl.create_default_context()
        context.check_hostname = False
        if weakness == "certificate":
            context.verify_mode = ssl.CERT_NONE
        with pytest.raises(ValueError, match="does not check"):
            await dial("localhost", 9, tls=context)

    @pytest.mark.parametrize(
        "greeting", [b"* BYE too many\r\n", b"* PREAUTH [CAPABILITY IMAP4rev1] hello ada\r\n", b"+ go\r\n"]
    )
    async def test_refuses_another_greeting(self, greeting: bytes) -> None:
        async with scripted_server(greeting=greeting) as server:
            with pytest.raises(ConnectionLostError):
                await connect(server)
            await server.ended.wait()

    async def test_closes_the_connection_that_fails(self) -> None:
        script = [hears(b"CAPABILITY", b"TAG BAD no\r\n")]
        async with scripted_server(script, greeting=b"* OK ready\r\n") as server:
            with pytest.raises(RefusedError):
                await connect(server)
            await server.ended.wait()

    async def test_does_not_wait_for_ever(self) -> None:
        async with silent_server() as server:
            with pytest.raises(SilenceError):
                await dial("127.0.0.1", server.port, tls=client_tls(), patience=Patience(connect=0.05))

    async def test_tries_the_next_address_of_a_host_if_one_does_not_answer(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A network that loses all packets of one IP version would keep mail from being copied for ever."""
        with socket.create_server(("127.0.0.1", 0), backlog=0) as deaf, ExitStack() as waiting:
            for _ in range(3):
                # Those that nobody accepts fill the queue; then the system drops requests for further ones.
                client = waiting.enter_context(socket.socket())
                client.setblocking(False)
                client.connect_ex(deaf.getsockname())
            async with scripted_server() as server:

                async def addresses(*_: object, **__: object) -> list[object]:
                    ports = (deaf.getsockname()[1], server.port)
                    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in ports]

                monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", addresses)
                connection = await dial("localhost", 993, tls=client_tls(), patience=QUICK)
                connection.close()

    async def test_works_on_the_event_loop_of_the_services(self) -> None:
        """It has fewer options than that of tests."""

        async def dialled(port: int) -> None:
            (await dial("localhost", port, tls=client_tls(), patience=QUICK)).close()

        async with scripted_server() as server:
            await asyncio.to_thread(uvloop.run, dialled(server.port))

    async def test_reports_a_server_that_is_not_there(self, free_port: int) -> None:
        with pytest.raises(ConnectionLostError, match="ConnectionRefusedError"):
            await dial("127.0.0.1", free_port, tls=client_tls(), patience=QUICK)


class TestRun:
    async def test_passes_untagged_responses_on_and_skips_unknown_ones(self) -> None:
        got: list[Data | Status] = []
        answer = b"* 3 EXISTS\r\nrubbish\r\n* XYZZY 1\r\nA999 OK not mine\r\n* OK [UNSEEN 2] look\r\nTAG OK done\r\n"
        async with conversation(hears(b"NOOP", answer)) as (connection, _):
            await connection.run(NOOP, collect=got.append)
        assert [each.name if isinstance(each, Data) else each.code for each in got] == ["EXISTS", "XYZZY", "", "UNSEEN"]

    @pytest.mark.parametrize(("asked", "news"), [("NOOP", 1), ("UID SEARCH", 1), ("UID FETCH", 0)])
    async def test_counts_fetches_that_nothing_asked_for(self, asked: str, news: int) -> None:
        examined = hears(b'EXAMINE "INBOX"', b"* 3 EXISTS\r\nTAG OK done\r\n")
        answered = hears(None, b"* 1 FETCH (UID 1 FLAGS (\\Seen))\r\nTAG OK done\r\n")
        async with conversation(examined, answered) as (connection, _):
            await examine(connection, b"INBOX")
            assert connection.selected is not None
            connection.selected.is_watched = True
            await connection.run(command(asked))
            assert (connection.selected.news, connection.selected.is_watched) == (news, bool(news))

    @pytest.mark.parametrize("kind", ["NO", "BAD"])
    async def test_raises_a_refusal_and_goes_on(self, kind: str) -> None:
        script = [
            hears(b"NOOP", b"TAG %s [LIMIT] slow down\r\n" % kind.encode()),
            hears(b"NOOP", b"TAG OK done\r\n"),
        ]
        async with conversation(*script) as (connection, _):
            with pytest.raises(RefusedError) as raised:
                await connection.run(NOOP)
            assert (raised.value.status, raised.value.code, raised.value.text) == (kind, "LIMIT", "slow down")
            await connection.run(NOOP)

    async def test_sends_literals_when_the_server_asks(self) -> None:
        script = [hears(b"EXAMINE {2}", b"+ go\r\n"), hears(b"\xc3\xbc", b"TAG OK done\r\n")]
        async with conversation(*script) as (connection, server):
            await connection.run(command("EXAMINE", string("ü".encode())))
        assert server.heard == [b"EXAMINE {2}", b"\xc3\xbc"]

    async def test_sends_several_commands_at_once(self) -> None:
        script = [hears(b"NOOP 1"), hears(b"NOOP 2", b"A2 NO [X] no\r\nA1 OK done\r\n")]
        async with conversation(*script) as (connection, _):
            commands = [command("NOOP", atom("1")), command("NOOP", atom("2"))]
            statuses = await connection.run_all(commands)
        assert [status.kind for status in statuses] == ["OK", "NO"]

    @pytest.mark.parametrize(
        ("answers", "error"),
        [
            ([CUT], "closed"),
            ([b"* BYE Autologout; idle for too long\r\n", CUT], "BYE Autologout"),
            ([b"* 1 FETCH (BODY[] {500}\r\nabc", CUT], "closed"),
            ([b"* 1 FETCH (BODY[] {999999999}\r\n", SILENCE], "exceeds"),
            ([b"* 1 EXISTS\r\n", SILENCE], "sent nothing"),
            ([b"+ more\r\n", SILENCE], "waits for what no command has"),
        ],
    )
    async def test_ends_with_the_connection(self, answers: list[object], error: str) -> None:
        patience = Patience(connect=5, first=5, next=0.05)
        async with conversation(hears(b"NOOP", *answers), patience=patience) as (connection, server):
            with pytest.raises(ConnectionLostError, match=error):
                await connection.run(NOOP)
            assert not connection.is_open
            await server.ended.wait()
            with pytest.raises(ConnectionLostError, match="is closed"):
                await connection.run(NOOP)

    async def test_closes_the_connection_when_it_is_cancelled(self) -> None:
        async with conversation(hears(b"NOOP", SILENCE)) as (connection, server):
            running = asyncio.create_task(connection.run(NOOP))
            await server.until_heard(1)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            assert not connection.is_open
            await server.ended.wait()

    async def test_closes_the_connection_when_its_caller_fails(self) -> None:
        def fail(_: Data | Status) -> None:
            raise ZeroDivisionError

        async with conversation(hears(b"NOOP", b"* 1 EXISTS\r\nTAG OK\r\n")) as (connection, server):
            with pytest.raises(ZeroDivisionError):
                await connection.run(NOOP, collect=fail)
            await server.ended.wait()

    async def test_refuses_a_second_command_meanwhile(self) -> None:
        async with conversation(hears(b"NOOP", SILENCE)) as (connection, server):
            running = asyncio.create_task(connection.run(NOOP))
            await server.until_heard(1)
            with pytest.raises(RuntimeError):
                await connection.run(NOOP)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    async def test_bounds_the_answer(self) -> None:
        async with conversation(hears(b"NOOP", b"* 1 EXISTS\r\n" * 1_000), limits=Limits(answer=5_000)) as (
            connection,
            _,
        ):
            with pytest.raises(FramingError):
                await connection.run(NOOP)
