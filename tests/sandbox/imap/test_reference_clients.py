"""Clients that nobody here wrote walk both servers: the standard library's imaplib, and IMAPClient."""

import asyncio
import imaplib
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import imapclient
import pytest

from tests.support.sandbox.imap_servers import EMAIL, Servers, open_servers

RAW = b"From: Bob <bob@example.net>\r\nTo: ada@example.com\r\nSubject: Walk\r\nMessage-ID: <walk@x>\r\n\r\nHello\r\n"


@pytest.fixture(params=["yandex", "modern"])
def profile(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def in_thread(work: Callable[[], None]) -> None:
    """Run a blocking client beside the server."""
    async with asyncio.timeout(30):
        await asyncio.to_thread(work)


def parts(answer: tuple[str, Any]) -> Any:
    """Return the data of a response that must be OK."""
    assert answer[0] == "OK", answer
    return answer[1]


class TestImaplib:
    async def test_walks_the_server(self, servers: Servers, profile: str) -> None:
        for subject in ("One", "Two", "Three"):
            await servers.deliver(subject=subject, text=f"This is {subject}.")
        await servers.label("Travel")

        def walk() -> None:
            with imaplib.IMAP4_SSL("localhost", servers.ports[profile], ssl_context=servers.tls) as client:
                token = f"user={EMAIL}\x01auth=Bearer {servers.token}\x01\x01"
                parts(client.authenticate("XOAUTH2", lambda _: token.encode()))
                assert any(b"Travel" in line for line in parts(client.list()))
                assert parts(client.select()) == [b"3"]
                assert parts(client.search(None, "UNSEEN")) == [b"1 2 3"]
                fetched = parts(client.uid("FETCH", "1:*", "(UID FLAGS RFC822.SIZE BODY.PEEK[])"))
                bodies = [item[1] for item in fetched if isinstance(item, tuple)]
                assert [b"This is " in body for body in bodies] == [True] * 3
                assert b"\\Seen" in parts(client.store("1", "+FLAGS", "(\\Seen)"))[0]
                assert parts(client.search(None, "SEEN")) == [b"1"]
                parts(client.append("Travel", "(\\Flagged)", imaplib.Time2Internaldate(time.time()), RAW))
                parts(client.uid("COPY", "2", "Travel"))
                parts(client.uid("MOVE", "3", "Travel"))
                parts(client.store("1", "+FLAGS", "(\\Deleted)"))
                parts(client.expunge())
                assert parts(client.search(None, "ALL")) == [b"1"]
                assert parts(client.status("Travel", "(MESSAGES UNSEEN)")) == [b'"Travel" (MESSAGES 3 UNSEEN 3)']
                parts(client.close())

        await in_thread(walk)
        truth = await servers.truth()
        assert [len(messages) for name, messages in truth.items() if name == "INBOX" or name.startswith("Label_")] == [
            1,
            3,
        ]

    async def test_is_refused_with_a_wrong_token(self, servers: Servers, profile: str) -> None:
        def refused() -> None:
            client = imaplib.IMAP4_SSL("localhost", servers.ports[profile], ssl_context=servers.tls)
            responses = iter([f"user={EMAIL}\x01auth=Bearer wrong\x01\x01".encode(), b""])
            with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
                client.authenticate("XOAUTH2", lambda _: next(responses))
            client.shutdown()

        await in_thread(refused)


class TestImapClient:
    async def test_walks_the_server(self, profile: str) -> None:
        async with open_servers(120) as servers:
            await in_thread(lambda: self._walk(servers, profile))

    def _walk(self, servers: Servers, profile: str) -> None:
        with imapclient.IMAPClient("localhost", port=servers.ports[profile], ssl_context=servers.tls) as client:
            client.oauth2_login(EMAIL, servers.token)
            roles = {flag for flags, _, _ in client.list_folders() for flag in flags}
            assert {b"\\Sent", b"\\Drafts", b"\\Junk", b"\\Trash"} <= roles
            names = [name for _, _, name in client.list_folders()]
            assert any("Путешествия" in name for name in names)
            selected = client.select_folder("INBOX")
            uids = client.search("ALL")
            assert selected[b"EXISTS"] == len(uids) > 30
            facts = client.fetch(uids, ["ENVELOPE", "BODYSTRUCTURE", "INTERNALDATE", "RFC822.SIZE", "BODY.PEEK[]"])
            assert all(len(fact[b"BODY[]"]) == fact[b"RFC822.SIZE"] for fact in facts.values())
            assert all(fact[b"ENVELOPE"].message_id for fact in facts.values())
            assert all(fact[b"INTERNALDATE"].year >= 2000 for fact in facts.values())
            header = client.fetch(uids[:1], ["BODY.PEEK[HEADER.FIELDS (SUBJECT)]"])[uids[0]]
            assert header[b"BODY[HEADER.FIELDS (SUBJECT)]"].startswith(b"Subject: ")
            client.add_flags(uids[0], [imapclient.FLAGGED, "$Label"])
            assert set(client.get_flags(uids[0])[uids[0]]) >= {b"\\Flagged", b"$Label"}
            assert client.search(["KEYWORD", "$Label"]) == [uids[0]]
            client.create_folder("Later")
            client.move(uids[:2], "Later")
            client.append("Later", RAW, flags=[imapclient.SEEN], msg_time=datetime(2026, 1, 2, tzinfo=UTC))
            assert client.folder_status("Later", ["MESSAGES"]) == {b"MESSAGES": 3}
            client.idle()
            client.idle_done()
            client.select_folder("Later")
            [appended] = client.search(["SEEN", "ON", "02-Jan-2026"])
            assert client.fetch(appended, ["BODY[]"])[appended][b"BODY[]"] == RAW
            client.delete_messages(appended)
            client.expunge()
            assert appended not in client.search()
            client.rename_folder("Later", "Sooner")
            assert client.folder_exists("Sooner")
            client.delete_folder("Sooner")
            assert not client.folder_exists("Sooner")
