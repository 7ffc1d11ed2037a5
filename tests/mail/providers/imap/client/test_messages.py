"""UID FETCH and UID SEARCH."""

from datetime import UTC, datetime

import pytest

from services.mail.providers.imap.client.errors import MalformedResponseError
from services.mail.providers.imap.client.messages import (
    Attributes,
    copy_body,
    fetch_attributes,
    fetch_bodies,
    fetch_flags,
    fetch_headers,
    search,
)
from services.mail.providers.imap.client.uids import HIGHEST_UID, UidRange
from tests.support.imap.scripted_server import conversation, hears

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
DATE = b'"02-Jan-2026 15:00:00 +0300"'
ALL = b"UID FETCH 1:9 (UID FLAGS INTERNALDATE RFC822.SIZE)"


def greeting(capabilities: bytes) -> bytes:
    return b"* OK [CAPABILITY IMAP4rev1 " + capabilities + b"] ready\r\n"


async def attributes_at(*lines: bytes) -> dict[int, Attributes]:
    """Return the attributes that a server gives with these lines."""
    async with conversation(hears(ALL, b"\r\n".join([*lines, b"TAG OK\r\n"]))) as (connection, _):
        return await fetch_attributes(connection, "1:9")


class TestFetchAttributes:
    async def test_returns_them_by_uid(self) -> None:
        found = await attributes_at(
            b"* 1 FETCH (UID 3 FLAGS (\\Seen $Work) INTERNALDATE " + DATE + b" RFC822.SIZE 500)",
            b"* 2 FETCH (RFC822.SIZE 9.3736e+06 FLAGS () UID 4)",
        )
        assert found == {
            3: Attributes(uid=3, flags=frozenset({"\\Seen", "$Work"}), arrived_at=NOON, size=500),
            4: Attributes(uid=4, flags=frozenset(), size=9_373_600),
        }

    @pytest.mark.parametrize(
        "date", [b"NIL", b'""', b'"99-Jan-2026 15:00:00 +0300"', b'"02-Foo-2026 15:00:00 +0300"', b'"yesterday"', b"()"]
    )
    async def test_leaves_out_a_date_that_cannot_be_read(self, date: bytes) -> None:
        found = await attributes_at(b"* 1 FETCH (UID 3 FLAGS () INTERNALDATE " + date + b" RFC822.SIZE 5)")
        assert found == {3: Attributes(uid=3, flags=frozenset(), size=5)}

    @pytest.mark.parametrize(
        ("date", "hour"), [(b'" 2-jan-2026 15:00:00 +0300"', 12), (b'"02-Jan-2026 07:00:00 -0500"', 12)]
    )
    async def test_reads_dates_of_any_zone(self, date: bytes, hour: int) -> None:
        [found] = (await attributes_at(b"* 1 FETCH (UID 3 INTERNALDATE " + date + b")")).values()
        assert found.arrived_at == NOON.replace(hour=hour)

    async def test_merges_what_is_said_twice(self) -> None:
        found = await attributes_at(
            b"* 1 FETCH (UID 3 FLAGS () RFC822.SIZE 5)",
            b"* 9 EXPUNGE",
            b"* 1 FETCH (UID 3 FLAGS (\\Seen))",
        )
        assert found == {3: Attributes(uid=3, flags=frozenset({"\\Seen"}), size=5)}

    @pytest.mark.parametrize(
        "line",
        [b"* 2 FETCH (FLAGS ())", b"* 2 FETCH (UID 0 FLAGS ())", b"* 2 FETCH", b"* 2 FETCH (UID", b"* 2 FETCH NIL"],
    )
    async def test_passes_over_what_cannot_be_read(self, line: bytes) -> None:
        assert list(await attributes_at(line, b"* 1 FETCH (UID 3)")) == [3]

    async def test_asks_for_object_ids_where_they_are_advertised(self) -> None:
        line = b"UID FETCH 1:9 (UID FLAGS INTERNALDATE RFC822.SIZE EMAILID)"
        answer = b"* 1 FETCH (UID 3 EMAILID (M1))\r\nTAG OK\r\n"
        async with conversation(hears(line, answer), greeting=greeting(b"OBJECTID")) as (connection, _):
            [found] = (await fetch_attributes(connection, "1:9")).values()
        assert found.object_id == "M1"

    async def test_asks_for_changes_only(self) -> None:
        async with conversation(hears(ALL + b" (CHANGEDSINCE 77)", b"TAG OK\r\n")) as (connection, _):
            assert await fetch_attributes(connection, "1:9", changed_since=77) == {}

    async def test_asks_for_flags_alone(self) -> None:
        script = [hears(b"UID FETCH 4 (UID FLAGS)", b"* 1 FETCH (UID 4 FLAGS (\\Draft))\r\nTAG OK\r\n")]
        async with conversation(*script) as (connection, _):
            assert await fetch_flags(connection, "4") == {4: Attributes(uid=4, flags=frozenset({"\\Draft"}))}


class TestFetchBodies:
    async def test_returns_bytes_wherever_the_uid_stands(self) -> None:
        answer = (
            b'* 1 FETCH (UID 3 BODY[] {4}\r\na\r\nb)\r\n* 2 FETCH (BODY[] {3}\r\n("x FLAGS (\\Seen) UID 4)\r\n'
            b'* 3 FETCH (UID 5 BODY[] "short")\r\n* 4 FETCH (UID 6 BODY[] NIL)\r\n* 5 FETCH (UID 7 BODY[] {0}\r\n)\r\n'
            b"* 6 FETCH (UID 8 BODY[] FLAGS ())\r\nTAG OK\r\n"
        )
        async with conversation(hears(b"UID FETCH 3:8 (UID BODY.PEEK[])", answer)) as (connection, _):
            found = await fetch_bodies(connection, "3:8")
        assert found == {3: b"a\r\nb", 4: b'("x', 5: b"short", 7: b""}

    async def test_returns_sections(self) -> None:
        answer = b"* 1 FETCH (UID 3 BODY[HEADER] {6}\r\nA: b\r\n)\r\nTAG OK\r\n"
        async with conversation(hears(b"UID FETCH 3 (UID BODY.PEEK[HEADER])", answer)) as (connection, _):
            assert await fetch_bodies(connection, "3", section="HEADER") == {3: b"A: b\r\n"}


async def copy_at(answer: bytes) -> tuple[int | None, bytes]:
    """Copy message 3 from a server; return the size, and what was written."""
    written: list[bytes] = []

    async def sink(piece: bytes) -> None:
        written.append(piece)

    script = [hears(b"UID FETCH 3 (UID BODY.PEEK[])", answer + b"TAG OK\r\n")]
    async with conversation(*script) as (connection, _):
        size = await copy_body(connection, 3, sink)
    return size, b"".join(written)


class TestFetchHeaders:
    async def test_merges_what_several_responses_say_of_a_message(self) -> None:
        """RFC 3501, section 7: a server may send any data at any time, and so each attribute by itself."""
        asked = b"UID FETCH 3:4 (UID RFC822.SIZE BODY.PEEK[HEADER])"
        answer = (
            b"* 1 FETCH (UID 3 RFC822.SIZE 50)\r\n* 1 FETCH (UID 3 BODY[HEADER] {6}\r\nA: b\r\n)\r\n"
            b"* 2 FETCH (BODY[HEADER] {6}\r\nC: d\r\n UID 4 RFC822.SIZE 60)\r\n"
            b"* 2 FETCH (UID 4 FLAGS (\\Seen))\r\nTAG OK\r\n"
        )
        async with conversation(hears(asked, answer)) as (connection, _):
            found = await fetch_headers(connection, "3:4")
        given = {uid: (each.size, each.header) for uid, each in found.items()}
        assert given == {3: (50, b"A: b\r\n"), 4: (60, b"C: d\r\n")}


class TestCopyBody:
    async def test_writes_the_bytes(self) -> None:
        body = b"x" * 300_000
        assert await copy_at(b"* 1 FETCH (BODY[] {300000}\r\n" + body + b" UID 3)\r\n") == (300_000, body)

    async def test_writes_a_quoted_body(self) -> None:
        assert await copy_at(b'* 1 FETCH (UID 3 BODY[] "x")\r\n') == (1, b"x")

    @pytest.mark.parametrize(
        "answer",
        [
            b"* 1 FETCH (UID 3 BODY[] {1}\r\nx)\r\n* 1 FETCH (UID 3 BODY[] {1}\r\nx)\r\n",
            b"* 1 FETCH (UID 3 BODY[] {1}\r\nx BODY[] {1}\r\nx)\r\n",
            b"* 1 FETCH (UID 3 BODY[] {0}\r\n)\r\n* 1 FETCH (UID 3 BODY[] {1}\r\nx)\r\n",
            b'* 1 FETCH (UID 3 BODY[] "x")\r\n* 1 FETCH (UID 3 BODY[] "x")\r\n',
        ],
    )
    async def test_writes_once_what_is_told_twice(self, answer: bytes) -> None:
        assert await copy_at(answer) == (1, b"x")

    @pytest.mark.parametrize("answer", [b"", b"* 1 FETCH (UID 3 BODY[] NIL)\r\n", b"* 1 FETCH (UID 3 FLAGS ())\r\n"])
    async def test_says_when_there_are_none(self, answer: bytes) -> None:
        assert await copy_at(answer) == (None, b"")

    @pytest.mark.parametrize(
        "answer",
        [
            b"* 1 FETCH (BODY[] {1}\r\nx UID 4)\r\n",
            b"* 1 FETCH (BODY[] {1}\r\nx)\r\n",
            b"* 1 FETCH (UID 3 BODY[] {1}\r\nx)\r\n* 1 FETCH (UID 3 BODY[] {2}\r\nxy)\r\n",
            b"* 1 FETCH (UID 4 BODY[] {1}\r\nx)\r\n* 1 FETCH (UID 3 BODY[] {1}\r\nx)\r\n",
        ],
    )
    async def test_does_not_take_those_of_another_message(self, answer: bytes) -> None:
        assert (await copy_at(answer))[0] is None


class TestSearch:
    async def test_returns_the_uids_of_plain_answers(self) -> None:
        answer = b"* SEARCH 5 3 3\r\n* SEARCH 900 4\r\n* 1 EXISTS\r\nTAG OK\r\n"
        async with conversation(hears(b"UID SEARCH UID 1:10", answer)) as (connection, _):
            assert await search(connection, UidRange(1, 10)) == [3, 4, 5]

    @pytest.mark.parametrize(
        ("answer", "uids"),
        [
            (b'* ESEARCH (TAG "A1") UID ALL 2:4,9,4000000000\r\n', [2, 3, 4, 9]),
            (b'* ESEARCH (TAG "A1") UID\r\n', []),
            (b'* ESEARCH (TAG "A1") UID ALL 1:4294967295\r\n', list(range(1, 11))),
        ],
    )
    async def test_returns_those_of_compact_answers(self, answer: bytes, uids: list[int]) -> None:
        script = [hears(b"UID SEARCH RETURN (ALL) UID 1:10", answer + b"TAG OK\r\n")]
        async with conversation(*script, greeting=greeting(b"ESEARCH")) as (connection, _):
            assert await search(connection, UidRange(1, 10)) == uids

    async def test_asks_again_where_the_compact_answer_only_counts(self) -> None:
        script = [
            hears(b"UID SEARCH RETURN (ALL) UID 1:10", b'* ESEARCH (TAG "A1") UID COUNT 2\r\nTAG OK\r\n'),
            hears(b"UID SEARCH UID 1:10", b"* SEARCH 3 4\r\nTAG OK\r\n"),
        ]
        async with conversation(*script, greeting=greeting(b"ESEARCH")) as (connection, _):
            assert await search(connection, UidRange(1, 10)) == [3, 4]

    async def test_of_nothing_is_an_answer(self) -> None:
        async with conversation(hears(None, b"* SEARCH\r\nTAG OK\r\n")) as (connection, _):
            assert await search(connection, UidRange(1, HIGHEST_UID)) == []

    async def test_without_an_answer_proves_nothing(self) -> None:
        async with conversation(hears(None, b"TAG OK\r\n")) as (connection, _):
            with pytest.raises(MalformedResponseError):
                await search(connection, UidRange(1, 10))
