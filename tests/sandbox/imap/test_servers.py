"""What the two servers say, line by line, as imap.yandex.com and the standards have it."""

import asyncio
import base64
import socket
from collections.abc import AsyncIterator

import pytest

from tests.support.sandbox.imap_servers import EMAIL, Connection, Servers, open_servers
from tests.support.sandbox.yandex_client import YandexClient

RAW = "RnJvbTogYUB4DQoNCkhlbGxvDQo="


class TestYandex:
    async def test_greets_and_tells_capabilities_without_those_of_modern_servers(self, servers: Servers) -> None:
        async with servers.connection("yandex", login=False) as connection:
            assert connection.greeting.startswith(b"* OK Yandex IMAP4rev1 at ")
            before = (await connection.run("CAPABILITY"))[0].split()
            assert {b"XLIST", b"IDLE", b"MOVE", b"AUTH=XOAUTH2"} <= set(before)
            unknown = {b"CONDSTORE", b"QRESYNC", b"ESEARCH", b"SPECIAL-USE", b"OBJECTID", b"SASL-IR", b"LIST-STATUS"}
            assert not unknown & set(before)
            assert (await connection.run(f"AUTHENTICATE XOAUTH2 {servers.xoauth2()}"))[-1].startswith(b"OK")
            after = (await connection.run("CAPABILITY"))[0].split()
            assert not [name for name in after if name.startswith(b"AUTH=")]

    async def test_tells_roles_in_a_plain_list_with_russian_names(self, yandex: Connection) -> None:
        lines = await yandex.run('LIST "" "*"')
        assert b'* LIST (\\HasNoChildren) "|" INBOX' in lines
        assert b'* LIST (\\HasNoChildren \\Sent) "|" "&BB4EQgQ,BEAEMAQyBDsENQQ9BD0ESwQ1-"' in lines

    async def test_refuses_a_wrong_token_at_once(self, servers: Servers) -> None:
        async with servers.connection("yandex", login=False) as connection:
            [answer] = await connection.run(f"AUTHENTICATE XOAUTH2 {servers.xoauth2(token='wrong')}")
            text = b"NO [AUTHENTICATIONFAILED] AUTHENTICATE invalid credentials or IMAP is disabled sc="
            assert answer.startswith(text)
            assert (await connection.run("LOGIN ada secret"))[0].startswith(
                text.replace(b"AUTHENTICATE inv", b"LOGIN inv")
            )

    async def test_refuses_a_living_token_alike_while_imap_is_off(self, servers: Servers) -> None:
        await servers.control("PUT", f"users/{EMAIL}/yandex", {"imap": False})
        async with servers.connection("yandex", login=False) as connection:
            [answer] = await connection.run(f"AUTHENTICATE XOAUTH2 {servers.xoauth2()}")
            assert b"or IMAP is disabled" in answer
            assert (await servers.control_api.info(servers.token)).status_code == 200
            await servers.control("PUT", f"users/{EMAIL}/yandex", {"imap": True})
            assert (await connection.run(f"AUTHENTICATE XOAUTH2 {servers.xoauth2()}"))[-1].startswith(b"OK")

    async def test_ends_the_connection_at_xlist(self, yandex: Connection) -> None:
        assert await yandex.run('XLIST "" "*"') == [b""]

    @pytest.mark.parametrize(
        "command",
        [
            "UID SEARCH RETURN (ALL) ALL",
            "UID FETCH 1:* (FLAGS) (CHANGEDSINCE 1)",
            "SELECT INBOX (CONDSTORE)",
            'LIST "" "*" RETURN (STATUS (MESSAGES))',
            "STATUS INBOX (HIGHESTMODSEQ)",
            "UID FETCH 1:* (EMAILID)",
        ],
    )
    async def test_knows_nothing_that_it_does_not_advertise(
        self, servers: Servers, yandex: Connection, command: str
    ) -> None:
        await servers.deliver(subject="x")
        await yandex.select()
        assert (await yandex.run(command))[-1].startswith(b"BAD")

    async def test_finds_nothing_by_headers(self, servers: Servers, yandex: Connection) -> None:
        await servers.deliver(subject="Hello")
        await yandex.select()
        assert (await yandex.run('UID SEARCH HEADER Subject "Hello"'))[0] == b"* SEARCH"

    async def test_opens_folders_with_its_flags(self, servers: Servers, yandex: Connection) -> None:
        await servers.deliver(subject="x")
        lines = await yandex.select()
        assert lines[0] == b"* FLAGS (\\Answered \\Seen \\Draft \\Deleted $Forwarded)"
        assert lines[1] == b"* 1 EXISTS"
        assert b"* OK [UIDNEXT 2] Ok" in lines
        assert lines[-1] == b"OK [READ-WRITE] SELECT Completed."

    async def test_refuses_raw_utf8_in_names(self, yandex: Connection) -> None:
        assert (await yandex.run('SELECT "Спам"'))[0] == b"NO [CLIENTBUG] Folder encoding error"


class TestModern:
    async def test_explains_a_refused_token_in_a_challenge(self, servers: Servers) -> None:
        oauthbearer = base64.b64encode(f"n,a={EMAIL},\x01host=h\x01port=1\x01auth=Bearer x\x01\x01".encode()).decode()
        wrong = {"XOAUTH2": (servers.xoauth2(token="x"), b"400"), "OAUTHBEARER": (oauthbearer, b"invalid_token")}
        async with servers.connection("modern", login=False) as connection:
            for mechanism, (response, status) in wrong.items():
                tag = connection.start(f"AUTHENTICATE {mechanism} {response}")
                challenge = await connection.line()
                assert status in base64.b64decode(challenge.removeprefix(b"+ "))
                connection.send("AQ==" if mechanism == "OAUTHBEARER" else "")
                assert (await connection.finish(tag))[-1].startswith(b"NO [AUTHENTICATIONFAILED]")

    async def test_takes_oauthbearer_in_two_steps(self, servers: Servers) -> None:
        text = f"n,a={EMAIL},\x01host=localhost\x01port=993\x01auth=Bearer {servers.token}\x01\x01"
        async with servers.connection("modern", login=False) as connection:
            tag = connection.start("AUTHENTICATE OAUTHBEARER")
            assert (await connection.line()).startswith(b"+")
            connection.send(base64.b64encode(text.encode()))
            assert (await connection.finish(tag))[-1].startswith(b"OK")

    async def test_lists_folders_with_their_counters(self, servers: Servers, modern: Connection) -> None:
        await servers.deliver(subject="x")
        lines = await modern.run('LIST "" "*" RETURN (STATUS (MESSAGES UIDNEXT HIGHESTMODSEQ MAILBOXID))')
        assert any(line.startswith(b"* STATUS INBOX (MESSAGES 1 UIDNEXT 2 HIGHESTMODSEQ ") for line in lines)
        assert any(line.endswith(b"MAILBOXID (INBOX))") for line in lines)

    async def test_searches_compactly(self, servers: Servers, modern: Connection) -> None:
        for _ in range(5):
            await servers.deliver(subject="x")
        await modern.select()
        line = (await modern.run("UID SEARCH RETURN (ALL COUNT) UID 2:4"))[0]
        assert line.endswith(b"UID ALL 2:4 COUNT 3")

    async def test_tells_what_changed_since_a_mod_sequence(self, servers: Servers, modern: Connection) -> None:
        names = [await servers.deliver(subject="x") for _ in range(3)]
        lines = await modern.select()
        [modseq] = [line.split()[3].rstrip(b"]") for line in lines if b"HIGHESTMODSEQ" in line]
        await servers.control("POST", f"users/{EMAIL}/messages/{names[1]}/labels", {"remove": ["UNREAD"]})
        changed = await modern.run(f"UID FETCH 1:4294967295 (FLAGS) (CHANGEDSINCE {modseq.decode()})")
        assert [line for line in changed if b"UID 2" in line and b"\\Seen" in line]
        assert not [line for line in changed if b"UID 1 " in line or b"UID 3 " in line]

    async def test_has_a_highest_mod_sequence_for_each_folder(self, servers: Servers, modern: Connection) -> None:
        work = await servers.label("Work")
        name = await servers.deliver(subject="x", labels=[work])

        async def modseqs() -> dict[str, int]:
            told = {name: (await modern.run(f"STATUS {name} (HIGHESTMODSEQ)"))[0] for name in ("INBOX", "Work")}
            return {name: int(answer.split()[-1].rstrip(b")")) for name, answer in told.items()}

        before = await modseqs()
        await servers.relabel(name, add=["STARRED"])
        marked = await modseqs()
        assert (marked["INBOX"], marked["Work"] > before["Work"]) == (before["INBOX"], True)
        await servers.control("DELETE", f"users/{EMAIL}/messages/{name}")
        gone = await modseqs()
        assert (gone["INBOX"], gone["Work"] > marked["Work"]) == (before["INBOX"], True)

    async def test_resynchronises_a_selection(self, servers: Servers, modern: Connection) -> None:
        names = [await servers.deliver(subject="x") for _ in range(4)]
        lines = await modern.select()
        validity = next(line.split()[3].rstrip(b"]").decode() for line in lines if b"UIDVALIDITY" in line)
        modseq = next(line.split()[3].rstrip(b"]").decode() for line in lines if b"HIGHESTMODSEQ" in line)
        await servers.control("DELETE", f"users/{EMAIL}/messages/{names[1]}")
        await servers.control("POST", f"users/{EMAIL}/messages/{names[3]}/labels", {"add": ["STARRED"]})
        async with servers.connection("modern") as other:
            await other.run("ENABLE QRESYNC")
            lines = await other.select(parameters=f" (QRESYNC ({validity} {modseq}))")
            assert b"* VANISHED (EARLIER) 2" in lines
            assert [line for line in lines if b"UID 4 FLAGS (\\Flagged)" in line]
            wrong = await other.select(parameters=f" (QRESYNC (1 {modseq}))")
            assert not [line for line in wrong if b"VANISHED" in line]

    async def test_tells_vanished_instead_of_expunged_once_enabled(self, servers: Servers, modern: Connection) -> None:
        name = await servers.deliver(subject="x")
        await modern.run("ENABLE QRESYNC")
        await modern.select()
        await servers.control("DELETE", f"users/{EMAIL}/messages/{name}")
        assert (await modern.run("NOOP"))[0] == b"* VANISHED 1"

    async def test_names_messages_and_threads_over_moves(self, servers: Servers, modern: Connection) -> None:
        await servers.label("Work")
        await servers.deliver(subject="x")
        await modern.select()
        before = (await modern.run("UID FETCH 1 (EMAILID THREADID)"))[0]
        await modern.run("UID MOVE 1 Work")
        await modern.select("Work")
        after = (await modern.run("UID FETCH 1 (EMAILID THREADID)"))[0]
        assert before == after
        assert b"EMAILID (M" in after

    async def test_refuses_a_store_of_what_has_changed_since(self, servers: Servers, modern: Connection) -> None:
        name = await servers.deliver(subject="x")
        await modern.select()
        await servers.control("POST", f"users/{EMAIL}/messages/{name}/labels", {"add": ["STARRED"]})
        answer = await modern.run("UID STORE 1 (UNCHANGEDSINCE 1) +FLAGS (\\Seen)")
        assert answer[-1].startswith(b"OK [MODIFIED 1]")


@pytest.fixture(params=["yandex", "modern"])
async def connection(request: pytest.FixtureRequest, servers: Servers) -> AsyncIterator[Connection]:
    """A connection to each server in turn."""
    async with servers.connection(request.param) as connection:
        yield connection


class TestLogin:
    async def test_is_needed(self, servers: Servers) -> None:
        async with servers.connection(login=False) as connection:
            for command in ('LIST "" "*"', "SELECT INBOX", "UID FETCH 1 (FLAGS)", "IDLE"):
                assert (await connection.run(command))[-1].startswith(b"BAD")

    async def test_takes_only_the_tokens_own_address(self, servers: Servers) -> None:
        async with servers.connection(login=False) as connection:
            other = servers.xoauth2(user="grace@example.org")
            assert (await connection.run(f"AUTHENTICATE XOAUTH2 {other}"))[-1].startswith(b"NO")

    async def test_takes_interchangeable_domains_of_yandex(self, servers: Servers) -> None:
        await servers.control("PATCH", f"users/{EMAIL}", {"email": "ada@yandex.ru"})
        async with servers.connection(login=False) as connection:
            other = servers.xoauth2(user="ada@ya.ru")
            assert (await connection.run(f"AUTHENTICATE XOAUTH2 {other}"))[-1].startswith(b"OK")

    async def test_needs_a_scope_that_reads_mail(self, servers: Servers) -> None:
        narrow = (await YandexClient(servers.control_api.http).sign_in(scope="login:email"))["access_token"]
        async with servers.connection(login=False) as connection:
            assert (await connection.run(f"AUTHENTICATE XOAUTH2 {servers.xoauth2(token=narrow)}"))[-1].startswith(b"NO")

    async def test_of_a_revoked_token_is_refused_and_its_session_goes_on(
        self, servers: Servers, yandex: Connection
    ) -> None:
        await servers.control("POST", f"users/{EMAIL}/revoke")
        assert (await yandex.run("NOOP"))[-1].startswith(b"OK")
        async with servers.connection(login=False) as connection:
            assert (await connection.run(f"AUTHENTICATE XOAUTH2 {servers.xoauth2()}"))[-1].startswith(b"NO")

    async def test_is_limited_in_connections_and_in_rate(self, servers: Servers) -> None:
        await servers.control("PATCH", "imap", {"connections": 2, "logins_per_minute": 3})
        async with servers.connection(), servers.connection(), servers.connection(login=False) as third:
            assert (await third.run(f"AUTHENTICATE XOAUTH2 {servers.xoauth2()}"))[-1].startswith(b"NO [LIMIT]")
        facts = (await servers.control("GET", "imap"))["accounts"][EMAIL]
        assert (facts["logins"], facts["refused_logins"], facts["most_connections"]) == (2, 1, 2)
        await servers.control("PATCH", "imap", {"connections": None})
        async with servers.connection(), servers.connection(login=False) as fourth:
            login = f"AUTHENTICATE XOAUTH2 {servers.xoauth2()}"
            assert (await fourth.run(login))[-1].startswith(b"NO [UNAVAILABLE]")
            servers.clock.advance(60)
            assert (await fourth.run(login))[-1].startswith(b"OK")

    async def test_that_is_refused_too_often_locks_the_account_for_an_hour(self, servers: Servers) -> None:
        await servers.control("PATCH", "imap", {"refusals_before_lock": 3})
        wrong, right = (f"AUTHENTICATE XOAUTH2 {servers.xoauth2(token=token)}" for token in ("wrong", None))
        async with servers.connection(login=False) as connection:
            for _ in range(3):
                assert (await connection.run(wrong))[-1].startswith(b"NO")
            assert b"or IMAP is disabled" in (await connection.run(right))[-1]
            facts = (await servers.control("GET", "imap"))["accounts"][EMAIL]
            assert (facts["refused_logins"], facts["locked"]) == (4, True)
            servers.clock.advance(3600)
            assert (await connection.run(right))[-1].startswith(b"OK")


class TestFolders:
    async def test_follow_the_mailbox_whoever_changes_it(self, servers: Servers, connection: Connection) -> None:
        work = await servers.label("Work")
        name = await servers.deliver(subject="x")
        await connection.select()
        labels = f"users/{EMAIL}/messages/{name}/labels"
        await servers.control("POST", labels, {"add": ["STARRED"]})
        assert b"\\Flagged" in (await connection.run("NOOP"))[0]
        await servers.control("POST", labels, {"add": [work]})
        assert (await servers.truth())[work] == {"1": name}
        await servers.control("POST", labels, {"remove": ["INBOX"]})
        assert (await connection.run("NOOP"))[0] == b"* 1 EXPUNGE"
        await servers.deliver(subject="y")
        assert (await connection.run("NOOP"))[0] == b"* 1 EXISTS"
        assert (await connection.run("UID FETCH 1:* (UID)"))[0] == b"* 1 FETCH (UID 2)"

    async def test_tell_flags_that_others_changed_before_a_change_of_the_connection_itself(
        self, servers: Servers, connection: Connection
    ) -> None:
        first = await servers.deliver(subject="x")
        await servers.deliver(subject="y")
        await connection.select()
        await servers.relabel(first, add=["STARRED"])
        assert await connection.run("UID STORE 2 +FLAGS.SILENT (\\Seen)") == [
            b"* 1 FETCH (UID 1 FLAGS (\\Flagged))",
            b"OK STORE Completed.",
        ]
        assert await connection.run("NOOP") == [b"OK NOOP Completed."]

    async def test_of_which_one_is_deleted_leave_its_messages_in_the_archive(self, servers: Servers) -> None:
        work = await servers.label("Work")
        before = await servers.deliver(subject="before", labels=[work])
        assert (await servers.truth())[work] == {"1": before}
        await servers.control("DELETE", f"users/{EMAIL}/labels/{work}")
        assert set((await servers.truth())["ARCHIVE"].values()) == {before}

    async def test_have_all_messages_whatever_labels_a_generator_gives_them(self, servers: Servers) -> None:
        """Its labels can be deleted, and nothing asks for folders between that and the message."""
        await servers.control("POST", "users", {"email": "new@example.com", "messages": 40})
        url = "users/new@example.com"
        folders = (await servers.control("GET", f"{url}/folders"))["folders"]
        for folder in folders:
            if folder["id"].startswith("Label_"):
                await servers.control("DELETE", f"{url}/labels/{folder['id']}")
        await servers.control("POST", f"{url}/messages", {"count": 60})
        found = (await servers.control("GET", f"{url}/folders"))["folders"]
        assert len({id_ for folder in found for id_ in folder["messages"].values()}) == 100

    async def test_have_what_was_loaded_later(self, servers: Servers, connection: Connection) -> None:
        await connection.select()
        user = await servers.control("POST", "users", {"email": "new@example.com", "messages": 20})
        assert user["messages"] == 20
        folders = (await servers.control("GET", "users/new@example.com/folders"))["folders"]
        assert len({name for folder in folders for name in folder["messages"].values()}) == 20

    async def test_know_their_children(self, servers: Servers, connection: Connection) -> None:
        for name in ("Work", "Work/Projects", "Workshop"):
            await servers.label(name)
        lines = [line for line in await connection.run('LIST "" "*"') if b"Work" in line]
        assert [b"\\HasChildren" in line for line in lines] == [True, False, False]
        level = [line for line in await connection.run('LIST "" "%"') if b"Work" in line]
        assert len(level) == 2

    async def test_may_be_thousands(self, servers: Servers, connection: Connection) -> None:
        for number in range(1_000):
            await servers.label(f"Folder {number}")
        assert len(await connection.run('LIST "" "Folder *"')) == 1_001
        tags = [connection.start(f'STATUS "Folder {number}" (MESSAGES)') for number in range(1_000)]
        for tag in tags:
            assert (await connection.finish(tag))[0].endswith(b"(MESSAGES 0)")

    async def test_keep_their_uids_over_a_rename_and_not_over_a_reset(
        self, servers: Servers, connection: Connection
    ) -> None:
        work = await servers.label("Work")
        for _ in range(3):
            await servers.deliver(subject="x", labels=[work])
        await connection.select("Work")
        await connection.run("UID STORE 1 +FLAGS.SILENT (\\Deleted)")
        await connection.run("EXPUNGE")
        before = await servers.truth()
        await connection.run("RENAME Work Play")
        assert await servers.truth() == before
        assert list(before[work]) == ["2", "3"]
        await servers.control("POST", f"users/{EMAIL}/folders/{work}/reset")
        after = await servers.truth()
        assert list(after[work]) == ["1", "2"]
        assert list(after[work].values()) == list(before[work].values())

    async def test_that_were_reset_or_deleted_end_the_connections_that_selected_them(
        self, servers: Servers, connection: Connection
    ) -> None:
        work = await servers.label("Work")
        await servers.deliver(labels=[work])
        async with servers.connection() as other:
            await connection.select("Work")
            await other.select("Work")
            tag = other.start("IDLE")
            assert await other.line() == b"+ idling"
            await servers.control("POST", f"users/{EMAIL}/folders/{work}/reset")
            bye = b"* BYE The selected folder was deleted or numbered anew"
            assert await connection.run("UID FETCH 1 BODY.PEEK[]") == [bye, b""]
            assert await other.finish(tag) == [bye, b""]
        async with servers.connection() as other:
            await other.select("Work")
            await servers.control("DELETE", f"users/{EMAIL}/labels/{work}")
            assert await other.run("NOOP") == [bye, b""]

    async def test_that_are_deleted_take_mail_along_that_is_nowhere_else(
        self, servers: Servers, connection: Connection
    ) -> None:
        work = await servers.label("Work")
        only, also = await servers.deliver(labels=[work]), await servers.deliver(labels=[work, "INBOX"])
        assert (await connection.run("DELETE Work"))[-1].startswith(b"OK")
        held = {name for messages in (await servers.truth()).values() for name in messages.values()}
        assert (only in held, also in held) == (False, True)
        assert (await connection.run("DELETE INBOX"))[-1].startswith(b"NO [CANNOT]")
        assert (await connection.run("SELECT Work"))[-1].startswith(b"NO [NONEXISTENT]")


class TestMessages:
    async def test_are_told_byte_for_byte(self, servers: Servers, connection: Connection) -> None:
        raw = bytes(range(256)) * 40
        await servers.deliver(raw=base64.urlsafe_b64encode(b"Subject: x\r\n\r\n" + raw).decode())
        await connection.select()
        whole = (await connection.run("UID FETCH 1 (BODY.PEEK[] RFC822.SIZE)"))[0]
        assert raw in whole
        assert b"RFC822.SIZE %d)" % (len(raw) + 14) in whole
        part = (await connection.run("UID FETCH 1 BODY.PEEK[]<14.16>"))[0]
        assert part.endswith(b"BODY[]<14> {16}\r\n" + bytes(range(16)) + b")")
        assert (await connection.run("UID FETCH 1 BODY.PEEK[7]"))[0].endswith(b"BODY[7] NIL)")

    async def test_become_seen_by_reading_unless_peeked_at_or_examined(
        self, servers: Servers, connection: Connection
    ) -> None:
        await servers.deliver(subject="x")
        await connection.run("EXAMINE INBOX")
        await connection.run("UID FETCH 1 BODY[]")
        assert b"FLAGS ()" in (await connection.run("UID FETCH 1 FLAGS"))[0]
        assert (await connection.run("UID STORE 1 +FLAGS (\\Seen)"))[-1].startswith(b"NO [CANNOT]")
        await connection.select()
        await connection.run("UID FETCH 1 BODY.PEEK[]")
        assert b"FLAGS ()" in (await connection.run("UID FETCH 1 FLAGS"))[0]
        assert b"FLAGS (\\Seen)" in (await connection.run("UID FETCH 1 BODY[]"))[0]

    async def test_have_parts(self, servers: Servers, connection: Connection) -> None:
        await servers.deliver(subject="x", text="plain text", html="<p>rich</p>")
        await connection.select()
        structure = (await connection.run("UID FETCH 1 BODYSTRUCTURE"))[0]
        assert b'"TEXT" "PLAIN"' in structure
        assert b'"ALTERNATIVE"' in structure
        assert b"plain text" in (await connection.run("UID FETCH 1 BODY.PEEK[1]"))[0]
        assert b"<p>rich</p>" in (await connection.run("UID FETCH 1 BODY.PEEK[2]"))[0]
        assert b"text/html" in (await connection.run("UID FETCH 1 BODY.PEEK[2.MIME]"))[0]

    async def test_are_asked_for_by_sets_that_include_the_last_one(
        self, servers: Servers, connection: Connection
    ) -> None:
        for _ in range(3):
            await servers.deliver(subject="x")
        await connection.select()
        assert (await connection.run("UID FETCH 900:* (UID)"))[:-1] == [b"* 3 FETCH (UID 3)"]
        assert (await connection.run("UID FETCH 4:900 (UID)"))[:-1] == []

    async def test_lose_no_expunge_to_a_fetch_by_numbers(self, servers: Servers, connection: Connection) -> None:
        first = await servers.deliver(subject="x")
        await servers.deliver(subject="y")
        await connection.select()
        await servers.control("DELETE", f"users/{EMAIL}/messages/{first}")
        assert not [line for line in await connection.run("FETCH 1:2 (UID)") if b"EXPUNGE" in line]
        assert b"* 1 EXPUNGE" in await connection.run("NOOP")


class TestIdle:
    async def test_tells_what_happens(self, servers: Servers, connection: Connection) -> None:
        name = await servers.deliver(subject="x")
        await connection.select()
        tag = connection.start("IDLE")
        assert await connection.line() == b"+ idling"
        await servers.deliver(subject="y")
        assert await connection.line() == b"* 2 EXISTS"
        await servers.control("POST", f"users/{EMAIL}/messages/{name}/labels", {"remove": ["UNREAD"]})
        assert b"FLAGS (\\Seen)" in await connection.line()
        await servers.control("DELETE", f"users/{EMAIL}/messages/{name}")
        assert await connection.line() == b"* 1 EXPUNGE"
        connection.send("DONE")
        assert (await connection.finish(tag))[-1].startswith(b"OK")

    async def test_ends_with_the_connection(self, servers: Servers, connection: Connection) -> None:
        await connection.select()
        connection.start("IDLE")
        await connection.line()
        assert await servers.control("DELETE", f"users/{EMAIL}/connections") == {"dropped": 1}
        async with asyncio.timeout(30):
            assert await connection.reader.read() == b""


class TestBounds:
    async def test_let_other_connections_be_served_during_a_long_answer(self) -> None:
        async with (
            open_servers(20_000) as servers,
            servers.connection() as busy,
            servers.connection() as other,
        ):
            await busy.select()
            tag = busy.start("UID FETCH 1:* (UID FLAGS)")
            assert b"FETCH" in await busy.line()
            assert (await other.run("NOOP"))[-1].startswith(b"OK")
            assert not busy.reader._buffer.endswith(b"FETCH Completed.\r\n")  # type: ignore[attr-defined]  # received so far
            assert len(await busy.finish(tag)) > 5_000

    async def test_hold_back_what_a_client_does_not_read(self) -> None:
        async with open_servers() as servers, servers.connection() as connection:
            # Buffers that grow could take all that the server sends.
            connection.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
            for _ in range(8):
                await servers.deliver(subject="x", text="y" * 1_000_000)
            await connection.select()
            connection.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a read transport as well
            tag = connection.start("UID FETCH 1:* (BODY.PEEK[])")
            # The server goes on with other commands while that one waits.
            async with servers.connection() as other:
                assert (await other.run("NOOP"))[-1].startswith(b"OK")
            calls = await servers.control("GET", "calls")
            assert "imap.fetch" not in calls["methods"]
            connection.writer.transport.resume_reading()  # type: ignore[attr-defined]
            assert len(await connection.finish(tag)) == 9

    async def test_end_a_connection_that_sends_an_endless_line(self, connection: Connection) -> None:
        connection.writer.write(b"a NOOP " + b"x" * 300_000)
        assert b"* BYE line too long" in [line async for line in connection]

    async def test_end_a_connection_that_announces_a_huge_literal(self, connection: Connection) -> None:
        connection.start("APPEND INBOX {999999999}")
        assert await connection.line() == b"* BYE literals too large"

    @pytest.mark.parametrize("line", [b"", b"x", b"a1 LIST (", b'a1 LIST "', b"a1 UID", b"a1 FETCH x y", b"\xff \xff"])
    async def test_let_malformed_commands_be_answered(self, connection: Connection, line: bytes) -> None:
        await connection.select()
        connection.send(line)
        assert b" BAD " in await connection.line()
        assert (await connection.run("NOOP"))[-1].startswith(b"OK")
