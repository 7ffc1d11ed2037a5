"""The protocol client with the sandbox's servers, which look like Yandex and like a modern server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from services.mail.providers.imap.client.connection import Connection
from services.mail.providers.imap.client.dial import dial
from services.mail.providers.imap.client.errors import ConnectionLostError, LoginRefusedError, RefusedError
from services.mail.providers.imap.client.folders import FolderStatus, examine, list_folders, statuses
from services.mail.providers.imap.client.idle import idle
from services.mail.providers.imap.client.login import Credentials, enable, introduce, log_in
from services.mail.providers.imap.client.messages import copy_body, fetch_attributes, fetch_bodies, search
from services.mail.providers.imap.client.uids import HIGHEST_UID, UidRange
from tests.support.sandbox.imap_servers import EMAIL, Servers, open_servers

EVERYTHING = UidRange(1, HIGHEST_UID)


@pytest.fixture
async def servers() -> AsyncIterator[Servers]:
    async with open_servers() as servers:
        yield servers


@pytest.fixture(params=["yandex", "modern"])
def profile(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@asynccontextmanager
async def session(servers: Servers, profile: str, *, token: str | None = None) -> AsyncIterator[Connection]:
    """Open a connection and log in as Ada."""
    port = servers.ports[profile]
    connection = await dial("localhost", port, tls=servers.tls)
    try:
        given = Credentials(user=EMAIL, token=token or servers.token, host="localhost", port=port)
        await log_in(connection, given)
        yield connection
    finally:
        connection.close()


class TestSignIn:
    async def test_learns_the_capabilities_that_count(self, servers: Servers, profile: str) -> None:
        async with session(servers, profile) as connection:
            assert connection.has("IDLE")
            assert connection.has("QRESYNC") is (profile == "modern")
            assert not [name for name in connection.capabilities if name.startswith("AUTH=")]
            await introduce(connection, {"name": "mailroom"})

    async def test_is_refused_in_both_forms(self, servers: Servers, profile: str) -> None:
        with pytest.raises(LoginRefusedError) as caught:
            async with session(servers, profile, token="wrong"):
                raise AssertionError
        assert caught.value.code == "AUTHENTICATIONFAILED"


class TestReading:
    async def test_gives_true_contents_of_all_folders(self, profile: str) -> None:
        async with open_servers(200) as servers, session(servers, profile) as connection:
            listed = await list_folders(connection)
            assert listed.is_complete
            found: dict[str, set[str]] = {}
            for folder in listed.folders:
                examined = await examine(connection, folder.name)
                uids = await search(connection, EVERYTHING) if examined.status.exists else []
                assert len(uids) == examined.status.exists
                found[folder.name.decode()] = {str(uid) for uid in uids}
            truth = await servers.truth()
            assert sorted(map(len, found.values())) == sorted(map(len, truth.values()))
            assert sum(map(len, truth.values())) >= 200

    async def test_gives_messages_byte_for_byte(self, servers: Servers, profile: str) -> None:
        names = [await servers.deliver(subject=f"{n}", text=f"Text {n}", html="<p>x") for n in range(3)]
        raw = [(await servers.control_api.http.get(f"/_sandbox/users/{EMAIL}/messages/{n}/raw")).content for n in names]
        async with session(servers, profile) as connection:
            await examine(connection, b"INBOX")
            attributes = await fetch_attributes(connection, "1:3")
            assert [each.size for each in attributes.values()] == [len(message) for message in raw]
            assert list((await fetch_bodies(connection, "1:3")).values()) == raw
            written: list[bytes] = []

            async def sink(piece: bytes) -> None:
                written.append(piece)

            assert await copy_body(connection, 2, sink) == len(raw[1])
            assert b"".join(written) == raw[1]

    async def test_counts_folders_that_are_not_selected(self, servers: Servers, profile: str) -> None:
        await servers.deliver(subject="x")
        async with session(servers, profile) as connection:
            found = await statuses(connection, [b"INBOX", b"gone"])
            status = found[b"INBOX"]
            assert isinstance(status, FolderStatus)
            assert (status.exists, status.uid_next) == (1, 2)
            assert (status.modseq is not None) is (profile == "modern")
            assert isinstance(found[b"gone"], RefusedError)

    async def test_tells_what_vanished_since(self, servers: Servers) -> None:
        names = [await servers.deliver(subject="x") for _ in range(3)]
        async with session(servers, "modern") as connection:
            before = (await examine(connection, b"INBOX")).status
        await servers.control("DELETE", f"users/{EMAIL}/messages/{names[1]}")
        async with session(servers, "modern") as connection:
            await enable(connection, "QRESYNC")
            assert before.uid_validity is not None
            assert before.modseq is not None
            examined = await examine(connection, b"INBOX", since=(before.uid_validity, before.modseq))
            assert list(examined.vanished) == [UidRange(2, 2)]


class TestIdle:
    async def test_hears_of_new_mail(self, servers: Servers, profile: str) -> None:
        async with session(servers, profile) as connection:
            await examine(connection, b"INBOX")
            waiting = asyncio.create_task(idle(connection, seconds=30, stop=asyncio.Event()))
            await servers.deliver(subject="x")
            async with asyncio.timeout(30):
                assert await waiting
            assert await search(connection, EVERYTHING) == [1]


class TestFaults:
    @pytest.mark.parametrize("kind", ["bye", "cut_literal", "truncate", "reset", "lost_response"])
    async def test_that_end_the_connection_are_noticed(self, servers: Servers, profile: str, kind: str) -> None:
        await servers.deliver(subject="x", text="y" * 10_000)
        async with session(servers, profile) as connection:
            await examine(connection, b"INBOX")
            await servers.plan(method="imap.fetch", kind=kind)
            with pytest.raises(ConnectionLostError):
                await fetch_bodies(connection, "1")
            assert not connection.is_open

    async def test_a_refusal_leaves_the_connection_open(self, servers: Servers, profile: str) -> None:
        async with session(servers, profile) as connection:
            await examine(connection, b"INBOX")
            await servers.plan(
                method="imap.search", kind="error", reason="UNAVAILABLE", message="Backend error", count=1
            )
            with pytest.raises(RefusedError) as caught:
                await search(connection, EVERYTHING)
            assert caught.value.code == "UNAVAILABLE"
            assert await search(connection, EVERYTHING) == []
