"""Faults that other clients had with real servers, by the public issue that reports each.

Those of a copy as a whole are not the client's.
"""

import asyncio

import pytest

from services.mail.providers.imap.client.commands import command
from services.mail.providers.imap.client.errors import SilenceError
from services.mail.providers.imap.client.folders import FolderStatus, examine, list_folders, statuses
from services.mail.providers.imap.client.frames import Patience
from services.mail.providers.imap.client.idle import idle
from services.mail.providers.imap.client.messages import fetch_attributes, fetch_bodies, search
from services.mail.providers.imap.client.uids import HIGHEST_UID, UidRange
from tests.support.imap.scripted_server import SILENCE, conversation, hears

SELECTED = hears(b'EXAMINE "INBOX"', b"* 3 EXISTS\r\nTAG OK done\r\n")


async def test_trap_3_vanished_at_another_command_is_news() -> None:
    """Mailspring-Sync PR 141, nextcloud/mail PR 10036."""
    script = [SELECTED, hears(b"NOOP", b"* VANISHED 4:6\r\nTAG OK done\r\n")]
    async with conversation(*script) as (connection, _):
        await examine(connection, b"INBOX")
        await connection.run(command("NOOP"))
        assert connection.selected is not None
        assert connection.selected.news == 1


async def test_trap_4_sets_have_a_numeric_end() -> None:
    """cyrus-imapd 6071, sope PR 73: `1:*` misses the deleted top UID, `900:*` has the last message in any case."""
    script = [hears(b"UID SEARCH UID 900:4294967295", b"* SEARCH 7\r\nTAG OK\r\n")]
    async with conversation(*script) as (connection, _):
        assert await search(connection, UidRange(900, HIGHEST_UID)) == []


async def test_trap_11_data_in_idle_that_nobody_asked_for_is_no_error() -> None:
    """mail-mcp PR 14: an unasked FETCH in IDLE raised."""
    odd = b"* 1 FETCH (FLAGS (\\Seen)\r\n* 9 FETCH\r\n* XYZZY ((\r\n"
    script = [SELECTED, hears(b"IDLE", b"+ idling\r\n", odd), hears(b"DONE", b"TAG OK done\r\n")]
    async with conversation(*script) as (connection, _):
        await examine(connection, b"INBOX")
        assert await idle(connection, seconds=5, stop=asyncio.Event())


async def test_trap_12_a_dead_idle_is_noticed() -> None:
    """IMAPClient 565, thunderbird-android 6035: TCP notices after hours."""
    script = [SELECTED, hears(b"IDLE", b"+ idling\r\n"), hears(b"DONE", SILENCE)]
    async with conversation(*script) as (connection, _):
        await examine(connection, b"INBOX")
        with pytest.raises(SilenceError):
            await idle(connection, seconds=0.01, stop=asyncio.Event())
        assert not connection.is_open


async def test_trap_17_a_large_message_over_a_slow_line_is_read() -> None:
    """zammad 2554: limits of a minute for a whole message."""
    pieces = [b"x" * 1_000] * 50
    answer = [b"* 1 FETCH (UID 3 BODY[] {50000}\r\n", *pieces, b")\r\nTAG OK done\r\n"]
    async with conversation(hears(None, *answer), patience=Patience(first=2, next=2)) as (connection, _):
        assert await fetch_bodies(connection, "3") == {3: b"x" * 50_000}


async def test_trap_20_a_search_that_names_a_quarter_of_a_million_messages_is_read() -> None:
    """hermes-agent 109777, IMAPdedup 65: a limit of 1 MB for a line."""
    listed = b" ".join(b"%d" % uid for uid in range(1_000_000, 1_250_000))
    async with conversation(hears(None, b"* SEARCH " + listed + b"\r\nTAG OK\r\n")) as (connection, _):
        found = await search(connection, UidRange(1, HIGHEST_UID))
    assert found == list(range(1_000_000, 1_250_000))


async def test_trap_21_thousands_of_responses_at_once_are_read() -> None:
    """aioimaplib 118: a recursion per line."""
    lines = b"".join(b"* %d FETCH (UID %d FLAGS ())\r\n" % (uid, uid) for uid in range(1, 5_001))
    async with conversation(hears(None, lines + b"TAG OK\r\n")) as (connection, _):
        assert len(await fetch_attributes(connection, "1:5000")) == 5_000


async def test_trap_22_a_server_without_uidnext_is_no_error() -> None:
    """chatmail PR 4842, twenty PR 22153."""
    script = [
        hears(None, b"* STATUS INBOX (MESSAGES 2 UIDVALIDITY 7)\r\nTAG OK\r\n"),
        hears(None, b"* 2 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\nTAG OK\r\n"),
    ]
    async with conversation(*script) as (connection, _):
        expected = FolderStatus(exists=2, uid_validity=7)
        assert await statuses(connection, [b"INBOX"]) == {b"INBOX": expected}
        assert (await examine(connection, b"INBOX")).status == expected


async def test_trap_24_names_go_back_as_they_came() -> None:
    """freescout 3502: the server refuses a name that was decoded and encoded again."""
    odd = [b"R&D", b"&BBA-&BBE-", b"a &- b", b'a\\"b', "ä".encode()]
    lines = b"".join(b'* LIST () "/" {%d}\r\n%s\r\n' % (len(name), name) for name in odd)
    script = [
        hears(None, lines + b"TAG OK\r\n"),
        *[hears(b'EXAMINE "%s"' % name, b"TAG OK\r\n") for name in (b"R&D", b"&BBA-&BBE-", b"a &- b", b'a\\\\\\"b')],
        hears(b"EXAMINE {2}", b"+\r\n"),
        hears("ä".encode(), b"TAG OK\r\n"),
    ]
    async with conversation(*script) as (connection, _):
        for folder in (await list_folders(connection)).folders:
            await examine(connection, folder.name)


@pytest.mark.parametrize("number", [2**32 + 1, 10**11, -1, 0])
async def test_trap_22_no_uidnext_is_one_that_no_message_can_have(number: int) -> None:
    """A search up to it would be refused, and the folder with it."""
    script = [
        hears(None, b"* OK [UIDNEXT %d] x\r\nTAG OK\r\n" % number),
        hears(None, b"* STATUS a (MESSAGES 1 UIDNEXT %d)\r\nTAG OK\r\n" % number),
    ]
    async with conversation(*script) as (connection, _):
        assert (await examine(connection, b"INBOX")).status.uid_next is None
        assert (await statuses(connection, [b"a"]))[b"a"] == FolderStatus(exists=1)


async def test_trap_27_odd_values_cost_one_field() -> None:
    """MailKit 240, 124 and 1838, defects 8: UIDVALIDITY 0, numbers like 9.3736e+06, `Inbox`."""
    script = [
        hears(None, b"* OK [UIDVALIDITY 0] x\r\n* OK [UIDNEXT x] x\r\nTAG OK\r\n"),
        hears(None, b"* 1 FETCH (UID 3 FLAGS NIL INTERNALDATE NIL RFC822.SIZE 9.3736e+06)\r\nTAG OK\r\n"),
    ]
    async with conversation(*script) as (connection, _):
        assert (await examine(connection, b"INBOX")).status == FolderStatus(exists=0, uid_validity=0)
        [found] = (await fetch_attributes(connection, "3")).values()
    assert (found.flags, found.arrived_at, found.size) == (frozenset(), None, 9_373_600)
