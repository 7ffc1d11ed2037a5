"""Servers that send what no server should: it costs an answer or the connection, and never the process."""

import pytest

from services.mail.providers.imap.client.commands import command
from services.mail.providers.imap.client.errors import ConnectionLostError, FramingError, MalformedResponseError
from services.mail.providers.imap.client.folders import examine, list_folders, statuses
from services.mail.providers.imap.client.messages import fetch_attributes, fetch_bodies, search
from services.mail.providers.imap.client.uids import HIGHEST_UID, UidRange
from tests.support.imap.scripted_server import CUT, conversation, hears

EXAMINED = b"* 3 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\n* OK [UIDNEXT 9] x\r\nTAG OK done\r\n"
OK = b"TAG OK done\r\n"
# Responses of every kind, which no command has asked for.
NOISE = (
    b"* FLAGS (\\Seen)\r\n* OK [ALERT] read this\r\n* NO warning\r\n* BAD odd\r\n* OK [UNKNOWN {7}] x\r\n"
    b"* CAPABILITY IMAP4rev1 IDLE\r\n* 3 EXISTS\r\n* 0 RECENT\r\n* ENABLED X\r\n* X-UNKNOWN (a {3}\r\nb) )\r\n* \r\n"
    b"* LIST () NIL \xd0\xaf\r\n* NAMESPACE NIL NIL NIL\r\n* STATUS other (MESSAGES 1)\r\nA0 OK late\r\n"
)


class TestHostileServer:
    async def test_that_finds_billions_of_messages_costs_an_answer(self) -> None:
        script = [hears(None, b"* ESEARCH (TAG x) UID ALL 1:4294967295\r\n" + OK), hears(b"NOOP", OK)]
        async with conversation(*script) as (connection, _):
            with pytest.raises(MalformedResponseError, match="more messages than"):
                await search(connection, UidRange(1, HIGHEST_UID))
            await connection.run(command("NOOP"))

    async def test_that_finds_millions_of_numbers_costs_the_connection(self) -> None:
        line = b"* SEARCH" + b" 1" * 700_000 + b"\r\n"
        async with conversation(hears(None, line, line)) as (connection, _):
            with pytest.raises(FramingError, match="more messages than"):
                await search(connection, UidRange(1, HIGHEST_UID))

    async def test_with_folders_without_end_costs_an_answer(self) -> None:
        listed = b"".join(b'* LIST () "/" f%d\r\n' % number for number in range(20_001))
        async with conversation(hears(None, listed + OK)) as (connection, _):
            with pytest.raises(MalformedResponseError, match="20001 folders"):
                await list_folders(connection)
            assert connection.is_open

    @pytest.mark.parametrize("size", [b"268435457", b"99999999999999999999"])
    async def test_with_a_literal_without_end_costs_the_connection(self, size: bytes) -> None:
        async def sink(_: bytes) -> None:
            raise AssertionError("nothing is to be written")

        script = [hears(None, b"* 1 FETCH (UID 1 BODY[] {" + size + b"}\r\n")]
        async with conversation(*script) as (connection, _):
            with pytest.raises(FramingError):
                await connection.run(command("NOOP"), sink=sink)
            assert not connection.is_open

    async def test_that_says_bye_within_a_literal_says_it_in_a_message(self) -> None:
        body = b"* 1 FETCH (UID 1 BODY[] {9}\r\n* BYE x\r\n)\r\n"
        async with conversation(hears(None, body + OK)) as (connection, _):
            assert await fetch_bodies(connection, "1") == {1: b"* BYE x\r\n"}

    async def test_that_says_bye_and_ends_within_a_literal_costs_the_connection(self) -> None:
        script = [hears(None, b"* 1 FETCH (UID 1 BODY[] {90}\r\n* BYE x\r\n", CUT)]
        async with conversation(*script) as (connection, _):
            with pytest.raises(ConnectionLostError):
                await fetch_bodies(connection, "1")

    async def test_whose_tags_repeat_ends_no_other_command(self) -> None:
        script = [
            hears(b"NOOP", OK + OK + b"TAG NO again\r\n"),
            hears(b'EXAMINE "INBOX"', EXAMINED),
            hears(None, NOISE + b"* 1 FETCH (UID 2 FLAGS ())\r\n" + OK),
        ]
        async with conversation(*script) as (connection, _):
            await connection.run(command("NOOP"))
            assert (await examine(connection, b"INBOX")).status.uid_next == 9
            assert list(await fetch_attributes(connection, "2")) == [2]

    async def test_that_answers_more_than_was_asked_changes_no_answer(self) -> None:
        script = [
            hears(b'EXAMINE "INBOX"', NOISE + EXAMINED),
            hears(None, NOISE + b"* SEARCH 2\r\n" + NOISE + b"* SEARCH 5 88\r\n" + OK),
            hears(b'STATUS "a" (MESSAGES UIDNEXT UIDVALIDITY UNSEEN)', NOISE + b"* STATUS a (MESSAGES 3)\r\n" + OK),
        ]
        async with conversation(*script) as (connection, _):
            assert (await examine(connection, b"INBOX")).status.exists == 3
            assert await search(connection, UidRange(1, 9)) == [2, 5]
            assert (await statuses(connection, [b"a"]))[b"a"].exists == 3  # type: ignore[union-attr]  # no refusal

    async def test_whose_count_goes_down_without_a_word_is_looked_at(self) -> None:
        script = [hears(None, EXAMINED), hears(b"NOOP", b"* 1 EXISTS\r\n" + OK)]
        async with conversation(*script) as (connection, _):
            await examine(connection, b"INBOX")
            await connection.run(command("NOOP"))
            assert connection.selected is not None
            assert (connection.selected.exists, connection.selected.news) == (1, 1)

    async def test_whose_capabilities_change_is_believed(self) -> None:
        script = [
            hears(b"NOOP", b"* CAPABILITY IMAP4rev1 CONDSTORE\r\n" + OK),
            hears(b"NOOP", b"TAG OK [CAPABILITY IMAP4rev1] done\r\n"),
        ]
        async with conversation(*script) as (connection, _):
            assert connection.has("IDLE")
            await connection.run(command("NOOP"))
            assert (connection.has("IDLE"), connection.has("CONDSTORE")) == (False, True)
            await connection.run(command("NOOP"))
            assert not connection.has("CONDSTORE")

    async def test_with_sizes_above_63_bits_costs_the_field(self) -> None:
        line = b"* 1 FETCH (UID 4294967295 RFC822.SIZE 9223372036854775808 FLAGS ())\r\n* 2 FETCH (UID 4294967296)\r\n"
        async with conversation(hears(None, line + OK)) as (connection, _):
            [(uid, given)] = (await fetch_attributes(connection, "1:9")).items()
            assert (uid, given.size) == (HIGHEST_UID, None)
