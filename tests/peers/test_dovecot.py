"""The protocol client with Dovecot, with all its extensions and with those of Yandex only."""

import asyncio
from collections.abc import Iterator

import pytest

from services.mail.providers.imap.client.errors import LoginRefusedError, RefusedError
from services.mail.providers.imap.client.folders import examine, list_folders, statuses
from services.mail.providers.imap.client.idle import idle
from services.mail.providers.imap.client.login import Credentials, enable, introduce, log_in
from services.mail.providers.imap.client.messages import copy_body, fetch_attributes, fetch_bodies, search
from services.mail.providers.imap.client.uids import HIGHEST_UID, UidRange
from tests.support.peers.dovecot import YANDEX_LIKE, Dovecot, running_dovecot

pytestmark = pytest.mark.peers
EVERYTHING = UidRange(1, HIGHEST_UID)
MESSAGES = [b"Subject: %d\r\nMessage-ID: <%d@example.com>\r\n\r\nText %d\r\n" % (n, n, n) for n in range(3)]


@pytest.fixture(scope="module", params=["full", "like Yandex"])
def dovecot(request: pytest.FixtureRequest) -> Iterator[Dovecot]:
    if request.param == "full":
        with running_dovecot() as server:
            yield server
    else:
        with running_dovecot(capability=YANDEX_LIKE, separator="|") as server:
            yield server


@pytest.fixture
def user(request: pytest.FixtureRequest) -> str:
    """Return a user of this test alone."""
    return f"{abs(hash(request.node.nodeid)):x}@example.com"


class TestSignIn:
    @pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER"])
    @pytest.mark.parametrize("one_step", [True, False])
    async def test_takes_a_token(self, dovecot: Dovecot, user: str, mechanism: str, one_step: bool) -> None:
        async with dovecot.connection() as connection:
            connection.capabilities = frozenset({f"AUTH={mechanism}", *["SASL-IR"] * one_step})
            await log_in(
                connection, Credentials(user=user, token=dovecot.token(user), host="localhost", port=dovecot.port)
            )
            assert connection.has("IDLE")
            await introduce(connection, {"name": "mailroom"})

    @pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER"])
    @pytest.mark.parametrize("fault", ["unknown", "expired", "another user's"])
    async def test_refuses_a_token(self, dovecot: Dovecot, user: str, mechanism: str, fault: str) -> None:
        token = {
            "unknown": "y0_unknown",
            "expired": dovecot.token(user, seconds=-100),
            "another user's": dovecot.token("grace@example.com"),
        }[fault]
        async with dovecot.connection() as connection:
            connection.capabilities = frozenset({f"AUTH={mechanism}"})
            with pytest.raises(LoginRefusedError) as raised:
                await log_in(connection, Credentials(user=user, token=token, host="localhost", port=dovecot.port))
            assert raised.value.code == "AUTHENTICATIONFAILED"


class TestReading:
    async def test_shows_folders_with_roles(self, dovecot: Dovecot, user: str) -> None:
        async with dovecot.session(user) as connection:
            roles = {each.name: each.attributes for each in (await list_folders(connection)).folders}
            assert "\\sent" in roles[b"Sent"]
            assert "\\trash" in roles[b"Trash"]
            assert b"INBOX" in roles

    async def test_gives_messages_byte_for_byte(self, dovecot: Dovecot, user: str) -> None:
        await dovecot.save(user, "INBOX", *MESSAGES)
        async with dovecot.session(user) as connection:
            selected = await examine(connection, b"INBOX")
            assert (selected.status.exists, selected.status.uid_next) == (3, 4)
            assert await search(connection, EVERYTHING) == [1, 2, 3]
            attributes = await fetch_attributes(connection, "1:3")
            assert [each.size for each in attributes.values()] == [len(message) for message in MESSAGES]
            assert list((await fetch_bodies(connection, "1:3")).values()) == MESSAGES
            written: list[bytes] = []

            async def sink(piece: bytes) -> None:
                written.append(piece)

            assert await copy_body(connection, 2, sink) == len(MESSAGES[1])
            assert b"".join(written) == MESSAGES[1]
        # Reading has set no flag.
        assert await dovecot.doveadm("search", "-u", user, "mailbox", "INBOX", "SEEN") == b""

    async def test_refuses_a_folder_that_is_not_there(self, dovecot: Dovecot, user: str) -> None:
        async with dovecot.session(user) as connection:
            with pytest.raises(RefusedError) as raised:
                await examine(connection, b"gone")
            assert "doesn't exist" in raised.value.text
            found = await statuses(connection, [b"INBOX", b"gone", b"Sent"])
            assert isinstance(found[b"gone"], RefusedError)
            assert not isinstance(found[b"Sent"], RefusedError)

    async def test_says_what_vanished_since(self, dovecot: Dovecot, user: str) -> None:
        await dovecot.save(user, "INBOX", *MESSAGES)
        async with dovecot.session(user) as connection:
            await enable(connection, "QRESYNC")
            before = (await examine(connection, b"INBOX")).status
            await dovecot.doveadm("expunge", "-u", user, "mailbox", "INBOX", "uid", "2")
            await dovecot.doveadm("flags", "add", "-u", user, "\\Flagged", "mailbox", "INBOX", "uid", "3")
            if before.modseq is None or "QRESYNC" not in connection.enabled:
                assert (await examine(connection, b"INBOX")).vanished == []
            else:
                assert before.uid_validity is not None
                after = await examine(connection, b"INBOX", since=(before.uid_validity, before.modseq))
                assert after.vanished == [UidRange(2, 2)]
            assert await search(connection, EVERYTHING) == [1, 3]

    async def test_idles_until_mail_arrives(self, dovecot: Dovecot, user: str) -> None:
        async with dovecot.session(user) as connection:
            await examine(connection, b"INBOX")
            idling = asyncio.create_task(idle(connection, seconds=60, stop=asyncio.Event()))
            await dovecot.save(user, "INBOX", MESSAGES[0])
            assert await idling
