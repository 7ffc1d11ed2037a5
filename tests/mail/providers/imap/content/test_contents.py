"""Contents of messages: whole, without attachments, and of servers that give neither."""

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.message import EmailMessage

import pytest

from services.mail.content.parse import build_message, parse_raw
from services.mail.providers.errors import (
    MessageGoneError,
    OwnLimitError,
    PostponedError,
    ProviderUnavailableError,
    UnreadableMessageError,
)
from services.mail.providers.folder_history.port import Folder
from services.mail.providers.imap.client.connection import Connection
from services.mail.providers.imap.client.errors import MalformedResponseError
from services.mail.providers.imap.client.frames import Frame
from services.mail.providers.imap.client.values import Value, values_of
from services.mail.providers.imap.content.contents import ImapContents
from services.mail.providers.imap.content.skeleton import sections_of, tree_of
from services.mail.providers.imap.content.structure import structure_of
from services.mail.providers.imap.look_plan import FolderState, key_of
from services.mail.providers.imap.session import ImapSession
from tests.support.imap.scripted_server import CUT, Step, connect, hears, scripted_server

INBOX = Folder(key="name:INBOX", path="INBOX", name="INBOX", role="inbox")
STATE = FolderState(validity=7, uid_next=10).text()
EXAMINED = hears(b'EXAMINE "INBOX"', b"* 3 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\nTAG OK\r\n")
SMALL = b"Subject: small\r\n\r\ntext\r\n"


def value_of(text: str) -> Value:
    [value] = values_of(Frame((text.encode(),)))
    return value


class TestStructure:
    def test_names_sections(self) -> None:
        text = (
            '((("text" "plain" ("charset" "utf-8") NIL NIL "7bit" 10 1)("text" "html" NIL NIL NIL "base64" 20 2)'
            ' "alternative" ("boundary" "in"))'
            '("application" "pdf" ("name" "x") NIL NIL "base64" 3000 NIL ("attachment" ("filename" "x.pdf")) NIL)'
            '("message" "rfc822" NIL NIL NIL "7bit" 40 ("d" "s") ("text" "plain" NIL NIL NIL "7bit" 5 1) 3)'
            ' "mixed" ("boundary" "out") NIL NIL)'
        )
        found = structure_of(value_of(text))
        assert [(each.section, each.mime_type, each.octets, each.disposition) for each in found.leaves()] == [
            ("1.1", "text/plain", 10, ""),
            ("1.2", "text/html", 20, ""),
            ("2", "application/pdf", 3000, "attachment"),
            ("3", "message/rfc822", 40, ""),
        ]
        assert (found.boundary, found.children[0].boundary) == (b"out", b"in")

    @pytest.mark.parametrize(
        "text",
        [
            "NIL",
            "()",
            '("text" "plain")',
            '("text" "plain" NIL NIL NIL "7bit" NIL 1)',
            '(("text" "plain" NIL NIL NIL "7bit" 1 1) "mixed")',
            '(("text" "plain" NIL NIL NIL "7bit" 1 1))',
            "(" * 150 + ")" * 150,
        ],
    )
    def test_that_is_malformed_is_an_error(self, text: str) -> None:
        with pytest.raises(MalformedResponseError):
            structure_of(value_of(text))


def large_message() -> bytes:
    """Return a message with texts, a picture, an attached message and an attachment."""
    message = EmailMessage()
    message["From"], message["Subject"] = "Ada <ada@example.com>", "Grüße"
    message.set_content("Der Text, länger.\n")
    message.add_alternative("<p>Der <b>Text</b></p>", subtype="html")
    inner = EmailMessage()
    inner["Subject"] = "inner"
    inner.set_content("inside")
    message.add_attachment(inner)
    message.add_attachment(bytes(range(256)) * 8_000, maintype="application", subtype="pdf", filename="große.pdf")
    return message.as_bytes().replace(b"\n", b"\r\n")


def described(raw: bytes) -> tuple[str, dict[str, bytes]]:
    """Return the BODYSTRUCTURE of `large_message`, and its sections, as a server cuts them."""
    head, _, rest = raw.partition(b"\r\n\r\n")
    outer = boundary_of(head)
    parts = pieces(rest, outer)
    inner_head, _, inner_rest = parts[0].partition(b"\r\n\r\n")
    inner = boundary_of(inner_head)
    leaves = [*pieces(inner_rest, inner), *parts[1:]]
    names = ["1.1", "1.2", "2", "3"]
    sections = {"HEADER": head + b"\r\n\r\n", "1.MIME": inner_head + b"\r\n\r\n"}
    sizes = []
    for name, leaf in zip(names, leaves, strict=True):
        mime, _, body = leaf.partition(b"\r\n\r\n")
        sections |= {f"{name}.MIME": mime + b"\r\n\r\n", name: body}
        sizes.append(len(body))
    structure = (
        f'((("text" "plain" NIL NIL NIL "8bit" {sizes[0]} 1)("text" "html" NIL NIL NIL "7bit" {sizes[1]} 1)'
        f' "alternative" ("boundary" "{inner.decode()}"))'
        f'("message" "rfc822" NIL NIL NIL "7bit" {sizes[2]} (NIL) (NIL) 3)'
        f'("application" "pdf" NIL NIL NIL "base64" {sizes[3]} NIL ("attachment" NIL))'
        f' "mixed" ("boundary" "{outer.decode()}"))'
    )
    return structure, sections


def boundary_of(head: bytes) -> bytes:
    return head.split(b'boundary="')[1].split(b'"')[0]


def pieces(body: bytes, boundary: bytes) -> list[bytes]:
    # The line end before a boundary belongs to the boundary.
    return [piece.removeprefix(b"\r\n").removesuffix(b"\r\n") for piece in body.split(b"--" + boundary)[1:-1]]


class TestSkeleton:
    def test_gives_what_the_whole_message_gives(self) -> None:
        raw = large_message()
        text, sections = described(raw)
        structure = structure_of(value_of(text))
        wanted = sections_of(structure)
        assert "3" not in wanted
        tree = tree_of(structure, {name: sections[name] for name in wanted})
        assert tree is not None
        found, whole = build_message(tree), parse_raw(raw)
        assert (found.text, found.html, found.headers) == (whole.text, whole.html, whole.headers)
        assert [each.filename for each in found.attachments] == [each.filename for each in whole.attachments]
        assert [each.part_id for each in found.attachments] == [each.part_id for each in whole.attachments]
        assert found.attachments[0] == whole.attachments[0]
        assert found.attachments[1].size == pytest.approx(whole.attachments[1].size, rel=0.01)

    @pytest.mark.parametrize("missing", ["HEADER", "1.1", "3.MIME"])
    def test_is_none_where_a_section_is_missing(self, missing: str) -> None:
        text, sections = described(large_message())
        del sections[missing]
        assert tree_of(structure_of(value_of(text)), sections) is None

    def test_is_none_where_the_structure_is_another_one(self) -> None:
        text, sections = described(large_message())
        sections["1.MIME"] = b"Content-Type: text/plain\r\n\r\n"
        assert tree_of(structure_of(value_of(text)), sections) is None

    def test_of_a_single_large_file_has_its_size(self) -> None:
        structure = structure_of(value_of('("application" "pdf" NIL NIL NIL "base64" 7800 NIL NIL)'))
        assert sections_of(structure) == ["HEADER"]
        tree = tree_of(structure, {"HEADER": b"Subject: x\r\nContent-Type: application/pdf\r\n\r\n"})
        assert tree is not None
        assert build_message(tree).attachments[0].size == 5_700

    def test_bounds_a_huge_text(self) -> None:
        structure = structure_of(value_of('("text" "plain" NIL NIL NIL "7bit" 90000000 1)'))
        assert sections_of(structure) == ["HEADER", "1<0.8388608>"]


@asynccontextmanager
async def contents_at(*scripts: list[Step], whole_up_to: int = 100, sign_ins: int = 10) -> AsyncIterator[ImapContents]:
    """Yield the contents of a mailbox at a server with these scripts, and with so many sign-ins."""
    opened: list[Connection] = []
    async with scripted_server(*scripts) as server:

        async def open_() -> Connection:
            if len(opened) == sign_ins:
                raise OwnLimitError("too many logins", retry_after=300.0)
            opened.append(await connect(server))
            return opened[-1]

        try:
            yield ImapContents(ImapSession(open_), whole_up_to=whole_up_to)
        finally:
            for connection in opened:
                connection.close()


def body(uid: int, data: bytes) -> bytes:
    return b"* 1 FETCH (UID %d BODY[] {%d}\r\n%s)\r\n" % (uid, len(data), data)


class TestFetch:
    async def test_takes_small_messages_at_once(self) -> None:
        answer = body(2, SMALL) + body(3, SMALL) + b"TAG OK\r\n"
        async with contents_at([EXAMINED, hears(b"UID FETCH 2:3 (UID BODY.PEEK[])", answer)]) as contents:
            found = await contents.fetch(INBOX, {key_of(2): 9, key_of(3): 9}, state=STATE)
        assert found == {key_of(2): parse_raw(SMALL), key_of(3): parse_raw(SMALL)}

    async def test_tells_missing_messages_from_unreadable_ones(self) -> None:
        script = [
            EXAMINED,
            hears(b"UID FETCH 2:3 (UID BODY.PEEK[])", b"* 1 FETCH (UID 3 BODY[] NIL)\r\nTAG OK\r\n"),
            hears(b"UID FETCH 2 (UID BODY.PEEK[])", b"TAG OK\r\n"),
            hears(b"UID SEARCH UID 2", b"* SEARCH\r\nTAG OK\r\n"),
            hears(b"UID FETCH 3 (UID BODY.PEEK[])", b"* 1 FETCH (UID 3 BODY[] {0}\r\n)\r\nTAG OK\r\n"),
            hears(b"UID SEARCH UID 3", b"* SEARCH 3\r\nTAG OK\r\n"),
        ]
        async with contents_at(script) as contents:
            found = await contents.fetch(INBOX, {key_of(2): 9, key_of(3): 9}, state=STATE)
        assert [type(each) for each in found.values()] == [MessageGoneError, UnreadableMessageError]

    async def test_isolates_a_message_that_ends_the_connection(self) -> None:
        """trap 16: one bad message stops all (zammad 2754, MailKit 1708)."""
        poisoned = [EXAMINED, hears(None, CUT)]
        single = [EXAMINED, hears(b"UID FETCH 3 (UID BODY.PEEK[])", body(3, SMALL) + b"TAG OK\r\n")]
        async with contents_at(poisoned, poisoned, single) as contents:
            found = await contents.fetch(INBOX, {key_of(2): 9, key_of(3): 9}, state=STATE)
        assert isinstance(found[key_of(2)], ProviderUnavailableError)
        assert found[key_of(3)] == parse_raw(SMALL)

    async def test_signs_in_once_for_each_message_that_ends_the_connection(self) -> None:
        def alone(*uids: int) -> list[Step]:
            return [hears(b"UID FETCH %d (UID BODY.PEEK[])" % uid, body(uid, SMALL) + b"TAG OK\r\n") for uid in uids]

        scripts = [
            [EXAMINED, hears(b"UID FETCH 2:9 (UID BODY.PEEK[])", CUT)],
            [EXAMINED, *alone(2), hears(b"UID FETCH 3 (UID BODY.PEEK[])", CUT)],
            [EXAMINED, *alone(4, 5), hears(b"UID FETCH 6 (UID BODY.PEEK[])", CUT)],
            [EXAMINED, *alone(7, 8, 9)],
        ]
        async with contents_at(*scripts) as contents:
            found = await contents.fetch(INBOX, {key_of(uid): 9 for uid in range(2, 10)}, state=STATE)
        failed = {int(key) for key, each in found.items() if isinstance(each, ProviderUnavailableError)}
        assert (len(found), failed) == (8, {3, 6})

    async def test_keeps_what_it_learnt_before_the_sign_ins_are_used_up(self) -> None:
        """Else the next turn uses them up in the same way, and so on for ever."""
        async with contents_at([EXAMINED, hears(None, CUT)], sign_ins=4) as contents:
            found = await contents.fetch(INBOX, {key_of(uid): 9 for uid in range(2, 8)}, state=STATE)
        assert [type(found[key_of(uid)]) for uid in range(2, 8)] == [
            *[ProviderUnavailableError] * 3,
            *[OwnLimitError] * 3,
        ]

    async def test_asks_for_messages_one_by_one_where_it_is_told_to(self) -> None:
        alone = [hears(b"UID FETCH %d (UID BODY.PEEK[])" % uid, body(uid, SMALL) + b"TAG OK\r\n") for uid in (2, 3)]
        async with contents_at([EXAMINED, *alone]) as contents:
            found = await contents.fetch(INBOX, {key_of(2): 9, key_of(3): 9}, state=STATE, singly=True)
        assert found == {key_of(2): parse_raw(SMALL), key_of(3): parse_raw(SMALL)}

    async def test_asks_for_doubted_messages_one_by_one_as_long_as_there_are_sign_ins_to_spare(self) -> None:
        left = iter([True, False, False])

        async def ensure_spare() -> None:
            if not next(left):
                raise OwnLimitError("too many logins", retry_after=200.0)

        async with contents_at([EXAMINED, hears(b"UID FETCH 3 (UID BODY.PEEK[])", CUT)], sign_ins=1) as contents:
            contents._ensure_spare = ensure_spare
            found = await contents.fetch(INBOX, {key_of(uid): 9 for uid in (3, 2, 4)}, state=STATE, singly=True)
        assert isinstance(found[key_of(3)], ProviderUnavailableError)
        waits = [each.retry_after for each in found.values() if isinstance(each, PostponedError)]
        assert waits == [200.0, 200.0]

    @pytest.mark.parametrize(
        ("refusal", "kind"),
        [
            (b"TAG NO Some messages could not be FETCHed (Failure)\r\n", UnreadableMessageError),
            (b"TAG NO [SERVERBUG] Internal error\r\n", ProviderUnavailableError),
        ],
    )
    async def test_isolates_a_message_that_the_server_refuses(self, refusal: bytes, kind: type[Exception]) -> None:
        alone = [
            hears(b"UID FETCH 2 (UID BODY.PEEK[])", refusal),
            *[hears(b"UID SEARCH UID 2", b"* SEARCH 2\r\nTAG OK\r\n")] * (kind is UnreadableMessageError),
            hears(b"UID FETCH 3 (UID BODY.PEEK[])", body(3, SMALL) + b"TAG OK\r\n"),
        ]
        async with contents_at([EXAMINED, hears(b"UID FETCH 2:3 (UID BODY.PEEK[])", refusal), *alone]) as contents:
            found = await contents.fetch(INBOX, {key_of(2): 9, key_of(3): 9}, state=STATE)
        assert (type(found[key_of(2)]), found[key_of(3)]) == (kind, parse_raw(SMALL))

    async def test_takes_large_messages_without_their_attachments(self) -> None:
        raw = large_message()
        text, sections = described(raw)
        wanted = sections_of(structure_of(value_of(text)))
        fields = b" ".join(b"BODY[%s] {%d}\r\n%s" % (n.encode(), len(sections[n]), sections[n]) for n in wanted)
        items = " ".join(f"BODY.PEEK[{name}]" for name in wanted)
        script = [
            EXAMINED,
            hears(
                b"UID FETCH 2 (UID BODYSTRUCTURE)",
                b"* 1 FETCH (UID 2 BODYSTRUCTURE " + text.encode() + b")\r\nTAG OK\r\n",
            ),
            hears(f"UID FETCH 2 (UID {items})".encode(), b"* 1 FETCH (UID 2 " + fields + b")\r\nTAG OK\r\n"),
        ]
        async with contents_at(script) as contents:
            [found] = (await contents.fetch(INBOX, {key_of(2): len(raw)}, state=STATE)).values()
        assert not isinstance(found, Exception)
        assert found.text == parse_raw(raw).text

    @pytest.mark.parametrize(
        "answer",
        [b"TAG BAD what\r\n", b"TAG NO what\r\n", b"TAG OK\r\n", b"* 1 FETCH (UID 2 BODYSTRUCTURE (()))\r\nTAG OK\r\n"],
    )
    async def test_takes_large_messages_whole_from_a_server_that_cannot_describe_them(self, answer: bytes) -> None:
        script = [
            EXAMINED,
            hears(None, answer),
            hears(b"UID FETCH 2 (UID BODY.PEEK[])", body(2, SMALL) + b"TAG OK\r\n"),
        ]
        async with contents_at(script) as contents:
            found = await contents.fetch(INBOX, {key_of(2): 5_000}, state=STATE)
        assert found == {key_of(2): parse_raw(SMALL)}

    async def test_takes_large_messages_whole_whose_description_ends_the_connection(self) -> None:
        whole = hears(b"UID FETCH 2 (UID BODY.PEEK[])", body(2, SMALL) + b"TAG OK\r\n")
        async with contents_at(
            [EXAMINED, hears(b"UID FETCH 2 (UID BODYSTRUCTURE)", CUT)], [EXAMINED, whole]
        ) as contents:
            found = await contents.fetch(INBOX, {key_of(2): 5_000}, state=STATE)
        assert found == {key_of(2): parse_raw(SMALL)}

    async def test_takes_nothing_in_another_numbering(self) -> None:
        """trap 23: after UIDVALIDITY changed, a UID is another message (chatmail/core 7330)."""
        anew = hears(None, b"* 3 EXISTS\r\n* OK [UIDVALIDITY 8] x\r\nTAG OK\r\n")
        another = hears(None, body(2, SMALL) + b"TAG OK\r\n")
        async with contents_at([anew, another]) as contents:
            found = await contents.fetch(INBOX, {key_of(2): 9}, state=STATE)
        assert isinstance(found[key_of(2)], ProviderUnavailableError)

    async def test_takes_batches_by_bytes(self) -> None:
        big = 5 * 1024 * 1024
        script = [EXAMINED, hears(b"UID FETCH 1 (UID BODY.PEEK[])", body(1, SMALL) + b"TAG OK\r\n")]
        script.append(hears(b"UID FETCH 2:3 (UID BODY.PEEK[])", body(2, SMALL) + body(3, SMALL) + b"TAG OK\r\n"))
        async with contents_at(script, whole_up_to=big) as contents:
            found = await contents.fetch(INBOX, {key_of(1): big, key_of(2): big - 9, key_of(3): 9}, state=STATE)
        assert len(found) == 3

    async def test_takes_small_messages_at_once_whatever_is_between_them(self) -> None:
        script = [
            EXAMINED,
            hears(b"UID FETCH 1,3 (UID BODY.PEEK[])", body(1, SMALL) + body(3, SMALL) + b"TAG OK\r\n"),
            hears(b"UID FETCH 2 (UID BODYSTRUCTURE)", b"TAG BAD what\r\n"),
            hears(b"UID FETCH 2 (UID BODY.PEEK[])", body(2, SMALL) + b"TAG OK\r\n"),
        ]
        async with contents_at(script) as contents:
            found = await contents.fetch(INBOX, {key_of(1): 9, key_of(2): 5_000, key_of(3): 9}, state=STATE)
        assert found == dict.fromkeys(map(key_of, (1, 2, 3)), parse_raw(SMALL))


class TestCopyRaw:
    async def test_writes_the_bytes(self) -> None:
        written: list[bytes] = []

        async def write(piece: bytes) -> None:
            written.append(piece)

        data = base64.b64encode(bytes(200_000))
        async with contents_at([EXAMINED, hears(None, body(2, data) + b"TAG OK\r\n")]) as contents:
            await contents.copy_raw(INBOX, key_of(2), write, state=STATE)
        assert b"".join(written) == data
        assert max(map(len, written)) <= 131_072

    async def test_says_that_the_message_is_gone(self) -> None:
        async def write(_: bytes) -> None:
            raise AssertionError

        script = [EXAMINED, hears(None, b"TAG OK\r\n"), hears(None, b"* SEARCH\r\nTAG OK\r\n")]
        async with contents_at(script) as contents:
            with pytest.raises(MessageGoneError):
                await contents.copy_raw(INBOX, key_of(2), write, state=STATE)
