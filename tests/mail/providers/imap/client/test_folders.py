"""LIST, STATUS and EXAMINE."""

import pytest

from services.mail.providers.imap.client.errors import RefusedError
from services.mail.providers.imap.client.folders import (
    Examined,
    FolderStatus,
    ListedFolder,
    examine,
    list_folders,
    statuses,
)
from services.mail.providers.imap.client.frames import Limits
from services.mail.providers.imap.client.login import enable
from services.mail.providers.imap.client.uids import UidRange
from tests.support.imap.scripted_server import Step, conversation, hears


def greeting(capabilities: bytes) -> bytes:
    return b"* OK [CAPABILITY IMAP4rev1 " + capabilities + b"] ready\r\n"


def folder(name: bytes, separator: bytes | None = b"|", *attributes: str) -> ListedFolder:
    return ListedFolder(name=name, separator=separator, attributes=frozenset(attributes))


class TestListFolders:
    async def test_keeps_raw_names_and_attributes(self) -> None:
        answer = (
            b'* LIST (\\HasNoChildren \\Sent) "|" "&BB4EQgQ,BEAEMAQyBDsENQQ9BD0ESwQ1-"\r\n'
            b'* LIST (\\Marked \\NoInferiors) "|" Inbox\r\n'
            b'* LIST (\\Noselect) NIL {4}\r\na"\xff}\r\n'
            b'* LIST () "|" [Mail]/x\r\n'
            b'* LIST () "|" NIL\r\nTAG OK done\r\n'
        )
        async with conversation(hears(b'LIST "" "*"', answer)) as (connection, _):
            listed = await list_folders(connection)
        assert listed.is_complete
        assert listed.folders == [
            folder(b"&BB4EQgQ,BEAEMAQyBDsENQQ9BD0ESwQ1-", b"|", "\\hasnochildren", "\\sent"),
            folder(b"INBOX", b"|", "\\marked", "\\noinferiors"),
            folder(b'a"\xff}', None, "\\noselect"),
            folder(b"[Mail]/x"),
            folder(b"NIL"),
        ]
        assert [each.holds_mail for each in listed.folders] == [True, True, False, True, True]

    @pytest.mark.parametrize("line", [b'* LIST () "|"', b'* LIST "|" x y', b'* LIST (() "|" x', b'* LIST () "|" (x)'])
    async def test_says_when_a_line_cannot_be_read(self, line: bytes) -> None:
        answer = line + b'\r\n* LIST () "|" INBOX\r\nTAG OK done\r\n'
        async with conversation(hears(None, answer)) as (connection, _):
            listed = await list_folders(connection)
        assert not listed.is_complete
        assert listed.folders == [folder(b"INBOX")]

    async def test_asks_for_roles_where_they_are_advertised(self) -> None:
        script = [hears(b'LIST "" "*" RETURN (SPECIAL-USE)', b"TAG OK done\r\n")]
        async with conversation(*script, greeting=greeting(b"LIST-EXTENDED SPECIAL-USE")) as (connection, _):
            await list_folders(connection)


class TestStatuses:
    async def test_of_several_folders_are_asked_for_at_once(self) -> None:
        script = [
            hears(b'STATUS "INBOX" (MESSAGES UIDNEXT UIDVALIDITY UNSEEN)'),
            hears(
                b'STATUS "gone" (MESSAGES UIDNEXT UIDVALIDITY UNSEEN)',
                b"* STATUS inbox (MESSAGES 3 UIDNEXT 9 UIDVALIDITY 1)\r\nA1 OK done\r\n"
                b"A2 NO [NONEXISTENT] no such folder\r\n",
            ),
        ]
        async with conversation(*script) as (connection, _):
            found = await statuses(connection, [b"INBOX", b"gone"])
        assert found[b"INBOX"] == FolderStatus(exists=3, uid_next=9, uid_validity=1)
        refused = found[b"gone"]
        assert isinstance(refused, RefusedError)
        assert refused.code == "NONEXISTENT"

    async def test_of_a_name_with_a_literal_is_asked_for_alone(self) -> None:
        script = [
            hears(b'STATUS "a" (MESSAGES UIDNEXT UIDVALIDITY UNSEEN)', b"* STATUS a (MESSAGES 1)\r\nTAG OK\r\n"),
            hears(b"STATUS {1}", b"+ go\r\n"),
            hears(b"\xff (MESSAGES UIDNEXT UIDVALIDITY UNSEEN)", b"* STATUS {1}\r\n\xff (MESSAGES 2)\r\nTAG OK\r\n"),
            hears(b'STATUS "b" (MESSAGES UIDNEXT UIDVALIDITY UNSEEN)', b"* STATUS b (MESSAGES 3)\r\nTAG OK\r\n"),
        ]
        async with conversation(*script) as (connection, _):
            found = await statuses(connection, [b"a", b"\xff", b"b"])
        assert [found[name] for name in (b"a", b"\xff", b"b")] == [FolderStatus(exists=number) for number in (1, 2, 3)]

    async def test_ask_for_what_extensions_add(self) -> None:
        line = b'STATUS "a" (MESSAGES UIDNEXT UIDVALIDITY HIGHESTMODSEQ MAILBOXID)'
        answer = b"* STATUS a (MESSAGES 1 HIGHESTMODSEQ 7 MAILBOXID (F1))\r\nTAG OK\r\n"
        async with conversation(hears(line, answer), greeting=greeting(b"CONDSTORE OBJECTID")) as (connection, _):
            found = await statuses(connection, [b"a"])
        assert found[b"a"] == FolderStatus(exists=1, modseq=7, object_id="F1")

    async def test_of_many_folders_come_in_batches(self) -> None:
        names = [b"f%d" % number for number in range(120)]
        script = [
            hears(
                b'STATUS "%s" (MESSAGES UIDNEXT UIDVALIDITY UNSEEN)' % name,
                b"* STATUS %s (MESSAGES %d)\r\nTAG OK\r\n" % (name, place),
            )
            for place, name in enumerate(names)
        ]
        async with conversation(*script) as (connection, _):
            found = await statuses(connection, names)
        assert [found[name] for name in names] == [FolderStatus(exists=place) for place in range(120)]


async def examine_at(*answers: bytes, offers: bytes = b"", since: tuple[int, int] | None = None) -> Examined:
    """Examine a folder at a server that answers so."""
    script: list[Step] = []
    if b"QRESYNC" in offers:
        script.append(hears(b"ENABLE QRESYNC", b"* ENABLED QRESYNC\r\nTAG OK\r\n"))
    async with conversation(*script, hears(None, *answers), greeting=greeting(offers)) as (connection, server):
        await enable(connection, "QRESYNC")
        found = await examine(connection, b"INBOX", since=since)
        heard = server.heard[-1]
    expected = b" (QRESYNC (5 90))" if since else b" (CONDSTORE)" if b"CONDSTORE" in offers else b""
    assert heard == b'EXAMINE "INBOX"' + expected
    return found


class TestExamine:
    async def test_returns_what_the_server_says(self) -> None:
        found = await examine_at(
            b"* 17 EXISTS\r\n* FLAGS (\\Seen)\r\n* OK [UIDVALIDITY 5] x\r\n* OK [UIDNEXT 44] x\r\n"
            b"* OK [HIGHESTMODSEQ 123456789012] x\r\n* OK [MAILBOXID (F7)] x\r\nTAG OK [READ-ONLY] done\r\n",
            offers=b"CONDSTORE",
        )
        assert found.status == FolderStatus(exists=17, uid_next=44, uid_validity=5, modseq=123456789012, object_id="F7")

    async def test_has_no_modseq_where_the_server_keeps_none(self) -> None:
        found = await examine_at(b"* 0 EXISTS\r\n* OK [NOMODSEQ] x\r\nTAG OK\r\n", offers=b"CONDSTORE")
        assert found.status == FolderStatus(exists=0)

    async def test_returns_what_has_changed_since(self) -> None:
        found = await examine_at(
            b"* VANISHED 900\r\n* OK [CLOSED] was another folder\r\n* 3 EXISTS\r\n* OK [UIDVALIDITY 5] x\r\n"
            b"* OK [HIGHESTMODSEQ 95] x\r\n* VANISHED (EARLIER) 4:6,9\r\n"
            b"* 1 FETCH (UID 3 FLAGS (\\Seen) MODSEQ (95))\r\n* VANISHED 12\r\nTAG OK\r\n",
            offers=b"ENABLE CONDSTORE QRESYNC",
            since=(5, 90),
        )
        assert found.vanished == [UidRange(4, 6), UidRange(9, 9), UidRange(12, 12)]

    async def test_takes_numbers_of_the_folder_before_for_no_others(self) -> None:
        found = await examine_at(
            b"* OK [HIGHESTMODSEQ 95] x\r\n* OK [CLOSED] x\r\n* 3 EXISTS\r\n* OK [NOMODSEQ] x\r\nTAG OK\r\n",
            offers=b"CONDSTORE",
        )
        assert found.status == FolderStatus(exists=3)

    async def test_keeps_nothing_of_messages_that_have_changed(self) -> None:
        changed = b"* 1 FETCH (UID 3 FLAGS (\\Seen) MODSEQ (95))\r\n"
        script = [hears(None, changed * 50 + b"* 3 EXISTS\r\nTAG OK\r\n")]
        async with conversation(*script, limits=Limits(answer=4_000)) as (connection, _):
            assert (await examine(connection, b"INBOX")).status.exists == 3

    async def test_selects_nothing_where_it_is_refused(self) -> None:
        async with conversation(hears(None, b"TAG NO [NONEXISTENT] no\r\n")) as (connection, _):
            with pytest.raises(RefusedError):
                await examine(connection, b"x")
            assert connection.selected is None
