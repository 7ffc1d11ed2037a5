"""The port over IMAP: the best step that a server offers, and servers that are not what they advertise."""

import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from services.mail.providers.errors import (
    OwnLimitError,
    ProviderUnavailableError,
    RateLimitedError,
    RejectedError,
    TokenRefusedError,
    TooConcurrentError,
    UnreadableMessageError,
)
from services.mail.providers.folder_history.port import Folder, KeyRange, LookedAt, Page
from services.mail.providers.imap.client.connection import Connection
from services.mail.providers.imap.client.errors import (
    ConnectionLostError,
    ImapError,
    LoginRefusedError,
    NoMechanismError,
    RefusedError,
)
from services.mail.providers.imap.client.login import enable
from services.mail.providers.imap.folders import ImapFolders
from services.mail.providers.imap.identity import id_by_content
from services.mail.providers.imap.look import Doubted
from services.mail.providers.imap.look_plan import MARKS_SECONDS, FolderState, LookPlan, Stage, key_of
from services.mail.providers.imap.refusals import provider_error
from services.mail.providers.imap.session import ImapSession
from services.mail.store.folder_history import folders as store
from tests.support.imap.scripted_server import CUT, ScriptedServer, Step, connect, hears, scripted_server
from tests.support.mail.servers import Servers
from tests.support.mail.stored import add_mailbox

INBOX = Folder(key="name:INBOX", path="INBOX", name="INBOX", role="inbox")
ALL = "(UID FLAGS INTERNALDATE RFC822.SIZE)"
IDENTIFIED = "(UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[HEADER])"
# What a server answers to a fetch because of one of its messages.
FAILURES = [
    pytest.param(CUT, id="cut"),
    pytest.param(b"TAG NO internal error\r\n", id="no"),
    pytest.param(b"TAG BAD what\r\n", id="bad"),
    pytest.param(b"TAG NO [SERVERBUG] Internal error occurred\r\n", id="serverbug"),
    pytest.param(b"TAG NO [UNAVAILABLE] UID FETCH Backend error\r\n", id="unavailable"),
]


def headers_of(uids: str) -> bytes:
    """Return the fetch of the headers by which messages are identified."""
    return f"UID FETCH {uids} (UID RFC822.SIZE BODY.PEEK[HEADER])".encode()


def followed_by(*scripts: list[Step], examined: bytes) -> list[list[Step]]:
    """Return scripts whose last one goes on over a new connection if the one before it cuts its own."""
    *before, one, following = scripts
    if CUT in one[-1].answers:
        return [*before, one, [hears(None, examined), *following]]
    return [*before, [*one, *following]]


def greeting(capabilities: bytes = b"") -> bytes:
    return b"* OK [CAPABILITY IMAP4rev1 " + capabilities + b"] ready\r\n"


def selected(exists: int, *, next_uid: int | None, validity: int = 7, modseq: int | None = None) -> bytes:
    """Return the answer to EXAMINE."""
    lines = [b"* %d EXISTS" % exists, b"* OK [UIDVALIDITY %d] x" % validity]
    if next_uid is not None:
        lines.append(b"* OK [UIDNEXT %d] x" % next_uid)
    if modseq is not None:
        lines.append(b"* OK [HIGHESTMODSEQ %d] x" % modseq)
    return b"\r\n".join([*lines, b"TAG OK done\r\n"])


def fetched(*uids: int, flags: bytes = b"") -> bytes:
    """Return the answer to a fetch of attributes."""
    line = b'* %d FETCH (UID %d FLAGS (%s) INTERNALDATE "02-Jan-2026 12:00:00 +0000" RFC822.SIZE 9)\r\n'
    return b"".join(line % (uid, uid, flags) for uid in uids) + b"TAG OK done\r\n"


def identified(*uids: int) -> bytes:
    """Return the answer to a fetch of attributes with header blocks."""
    line = b"* %d FETCH (UID %d RFC822.SIZE 9 BODY[HEADER] {%d}\r\n%b)\r\n"
    headers = {uid: b"A: %d\r\n" % uid for uid in uids}
    return b"".join(line % (uid, uid, len(each), each) for uid, each in headers.items()) + b"TAG OK done\r\n"


def found(*uids: int) -> bytes:
    """Return the answer to a search."""
    return b"* SEARCH" + b"".join(b" %d" % uid for uid in uids) + b"\r\nTAG OK done\r\n"


@asynccontextmanager
async def served(
    *scripts: list[Step], offers: bytes = b"", doubted: Doubted = lambda _: ()
) -> AsyncIterator[tuple[ImapFolders, ScriptedServer]]:
    """Yield the folders of a mailbox at a server with these scripts, and the server."""
    opened: list[Connection] = []
    async with scripted_server(*scripts, greeting=greeting(offers)) as server:

        async def open_() -> Connection:
            opened.append(await connect(server))
            await enable(opened[-1], "QRESYNC")
            return opened[-1]

        try:
            yield ImapFolders(ImapSession(open_), doubted=doubted, now=lambda: 0.0), server
        finally:
            for connection in opened:
                connection.close()


async def look(
    *scripts: list[Step], state: FolderState | None = None, known: int = 0, offers: bytes = b""
) -> tuple[list[Page], FolderState]:
    """Look at the inbox to the end; return the pages and the state."""
    pages: list[Page] = []
    text = None if state is None else state.text()
    async with served(*scripts, offers=offers) as (folders, _):
        while not pages or pages[-1].token is not None:
            token = pages[-1].token if pages else None
            pages.append(await folders.page(INBOX, state=text, known=known, token=token))
            known += len([item for item in pages[-1].items if state is None or int(item.key) >= state.uid_next])
    return pages, FolderState.of(pages[-1].state) if pages[-1].state else FolderState(validity=0, uid_next=0)


def keys_of(pages: list[Page]) -> list[int]:
    return [int(item.key) for page in pages for item in page.items]


class TestFirstLook:
    async def test_lists_all_messages(self) -> None:
        script = [
            hears(b'EXAMINE "INBOX"', selected(3, next_uid=10)),
            hears(b"UID SEARCH UID 1:9", found(2, 5, 9)),
            hears(f"UID FETCH 2,5,9 {IDENTIFIED}".encode(), fetched(2, 5, 9, flags=b"\\Seen $X \\Recent \\Odd")),
        ]
        pages, state = await look(script)
        assert keys_of(pages) == [2, 5, 9]
        assert pages[0].items[0].marks == {"seen", "kw:$X"}
        assert state == FolderState(validity=7, uid_next=10)

    async def test_goes_on_below_what_was_listed(self) -> None:
        script = [
            hears(None, selected(4_000, next_uid=4_001)),
            hears(b"UID SEARCH UID 2001:4000", found(2_001, 4_000)),
            hears(None, fetched(2_001, 4_000)),
            hears(b"UID SEARCH UID 1:2000", found(1, 2_000)),
            hears(None, fetched(1, 2_000)),
        ]
        pages, _ = await look(script)
        assert keys_of(pages) == [2_001, 4_000, 1, 2_000]

    async def test_identifies_the_last_messages_with_their_attributes(self) -> None:
        """One fetch for each hundred, and none of the headers of older messages, which may never be listed."""
        script = [
            hears(None, selected(1_300, next_uid=1_301)),
            hears(None, found(*range(1, 1_301))),
            hears(f"UID FETCH 1:300 {ALL}".encode(), fetched(*range(1, 301))),
            *(
                hears(f"UID FETCH {first}:{first + 99} {IDENTIFIED}".encode(), identified(*range(first, first + 100)))
                for first in range(301, 1_301, 100)
            ),
        ]
        pages, _ = await look(script)
        ids = {int(item.key): item.external_id for item in pages[0].items}
        assert len(ids) == 1_300
        assert {uid for uid, each in ids.items() if each is not None} == set(range(301, 1_301))
        assert ids[301] == id_by_content(b"A: 301\r\n", 9)

    @pytest.mark.parametrize("answer", FAILURES)
    async def test_lists_messages_whose_headers_fail(self, answer: Any) -> None:
        begun = [
            hears(None, selected(2, next_uid=3)),
            hears(None, found(1, 2)),
            hears(f"UID FETCH 1:2 {IDENTIFIED}".encode(), answer),
        ]
        again = [hears(None, found(1, 2)), hears(f"UID FETCH 1:2 {ALL}".encode(), fetched(1, 2))]
        pages, _ = await look(*followed_by(begun, again, examined=selected(2, next_uid=3)))
        assert [(int(item.key), item.external_id) for page in pages for item in page.items] == [(1, None), (2, None)]

    async def test_of_an_empty_folder_asks_for_nothing(self) -> None:
        pages, state = await look([hears(None, selected(0, next_uid=10))])
        assert (keys_of(pages), state.uid_next) == ([], 10)

    async def test_takes_few_pages_for_numbers_that_are_far_apart(self) -> None:
        script = [hears(None, selected(2, next_uid=4_000_000_000))]
        script += [hears(None, found(3, 3_999_999_999)), hears(None, fetched(3, 3_999_999_999))]
        pages, _ = await look(script)
        assert len(pages) == 1

    async def test_shows_messages_whose_attributes_the_server_leaves_out(self) -> None:
        script = [hears(None, selected(2, next_uid=3)), hears(None, found(1, 2)), hears(None, fetched(1))]
        pages, _ = await look(script)
        assert [int(key) for key in pages[0].present] == [1, 2]

    async def test_finds_the_next_number_where_the_server_gives_none(self) -> None:
        """trap 22: no UIDNEXT (chatmail PR 4842, twenty PR 22153)."""
        script = [hears(None, selected(2, next_uid=None)), hears(None, found(4, 8)), hears(None, fetched(4, 8))]
        _, state = await look(script)
        assert state.uid_next == 9

    @pytest.mark.parametrize("uid_next", [None, 0])
    async def test_that_finds_nothing_any_more_takes_no_number_for_known(self, uid_next: int | None) -> None:
        _, state = await look([hears(None, selected(1, next_uid=uid_next)), hears(None, found())])
        assert state.uid_next == 1


KNOWN = FolderState(validity=7, uid_next=10)


class TestLook:
    async def test_finds_new_messages(self) -> None:
        script = [
            hears(b'EXAMINE "INBOX"', selected(4, next_uid=12)),
            hears(b"UID SEARCH UID 10:11", found(10)),
            hears(None, fetched(10)),
            hears(b'EXAMINE "INBOX"', selected(4, next_uid=12)),
            hears(None, found(2, 5, 9, 10)),
            hears(None, fetched(2, 5, 9, 10)),
        ]
        pages, state = await look(script, state=KNOWN, known=3)
        assert keys_of(pages[:1]) == [10]
        assert (state.validity, state.uid_next) == (7, 12)

    async def test_finds_new_messages_page_by_page(self) -> None:
        script = [
            hears(None, selected(2_005, next_uid=2_012)),
            hears(b"UID SEARCH UID 10:2011", found(*range(10, 2_012))),
            hears(None, fetched(*range(10, 2_010))),
            hears(b"UID SEARCH UID 2010:2011", found(2_010, 2_011)),
            hears(None, fetched(2_010, 2_011)),
            hears(None, selected(2_005, next_uid=2_012)),
            *[hears(None, found(2_011)), hears(None, fetched(2_011))] * 2,
        ]
        pages, state = await look(script, state=KNOWN, known=3, offers=b"OBJECTID")
        assert keys_of(pages[:2]) == [*range(10, 2_012)]
        assert (all(page.covers is None for page in pages), state.uid_next) == (True, 2_012)

    async def test_shows_new_messages_whose_attributes_the_server_leaves_out(self) -> None:
        """The count does not tell of one where another message has vanished."""
        script = [
            hears(None, selected(3, next_uid=12)),
            hears(b"UID SEARCH UID 10:11", found(10, 11)),
            hears(None, fetched(11)),
            hears(None, selected(3, next_uid=12)),
            hears(None, found(2, 10, 11)),
            hears(None, fetched(2, 11)),
        ]
        pages, _ = await look(script, state=KNOWN, known=3)
        assert keys_of(pages[:1]) == [11]
        assert (pages[0].covers, pages[0].present) == (KeyRange(key_of(10), key_of(11)), [key_of(10), key_of(11)])
        assert all(page.covers is None for page in pages[1:])

    async def test_compares_only_where_the_count_differs(self) -> None:
        script = [
            hears(None, selected(2, next_uid=10)),
            hears(None, selected(2, next_uid=10)),
            hears(None, selected(2, next_uid=10)),
            hears(b"UID SEARCH UID 1:4294967295", found(2, 9)),
            hears(None, found(2, 9)),
            hears(None, fetched(2, 9)),
        ]
        pages, _ = await look(script, state=KNOWN, known=3)
        [compared] = [page for page in pages if page.covers is not None]
        assert compared.covers == KeyRange(key_of(1), key_of(4_294_967_295))
        assert [int(key) for key in compared.present] == [2, 9]

    async def test_compares_large_folders_part_by_part(self) -> None:
        known = FolderState(validity=7, uid_next=60_001)
        script = [hears(None, selected(60_000, next_uid=60_001))] * 3
        script.append(hears(b"UID SEARCH UID 10001:60000", found(10_001, 60_000)))
        script += [hears(None, selected(60_000, next_uid=60_001)), hears(b"UID SEARCH UID 1:10000", found(1, 10_000))]
        script += [hears(None, found(60_000)), hears(None, fetched(60_000))] * 2
        pages, _ = await look(script, state=known, known=60_001)
        assert [(page.covers, list(map(int, page.present))) for page in pages if page.covers is not None] == [
            (KeyRange(key_of(10_001), key_of(60_000)), [10_001, 60_000]),
            (KeyRange(key_of(1), key_of(10_000)), [1, 10_000]),
        ]

    async def test_goes_on_at_the_highest_number_that_there_is(self) -> None:
        top = 4_294_967_295
        script = [hears(None, selected(1, next_uid=top + 1)), hears(None, found(top)), hears(None, fetched(top))]
        pages, state = await look(script)
        assert keys_of(pages) == [top]
        script = [hears(None, selected(1, next_uid=top + 1))] * 2
        script += [hears(b"UID SEARCH UID 1:4294967295", found(top)), hears(None, fetched(top))]
        pages, again = await look(script, state=state, known=1)
        assert (keys_of(pages), again.uid_next) == ([top], state.uid_next)

    async def test_of_a_folder_numbered_zero_goes_on(self) -> None:
        """trap 27: UIDVALIDITY 0 (MK 240)."""
        script = [hears(None, selected(0, next_uid=10, validity=0))] * 2
        pages, state = await look(script, state=replace(KNOWN, validity=0))
        assert (any(page.restarts for page in pages), state.validity) == (False, 0)

    async def test_that_is_older_than_what_is_known_keeps_the_numbers_that_are_known(self) -> None:
        """A replica lags: with its numbers for a state a second such answer would look unchanged."""
        script = [hears(None, selected(2, next_uid=9))] * 3
        script += [hears(None, found(2, 5)), hears(None, found(2, 5)), hears(None, fetched(2, 5))]
        pages, state = await look(script, state=KNOWN, known=3)
        assert [page.is_older for page in pages] == [True, *[False] * (len(pages) - 1)]
        assert state.uid_next == 10

    async def test_does_not_believe_a_search_that_leaves_messages_out(self) -> None:
        """trap 9: a search of at most 1,000 messages (mail-archiver 490), or of 10,000 (bichon 144)."""
        script = [hears(None, selected(3, next_uid=10))] * 3 + [hears(None, found(2, 9))]
        with pytest.raises(UnreadableMessageError, match="finds 2 of 3"):
            await look(script, state=KNOWN, known=4)

    async def test_lists_what_comes_meanwhile_once(self) -> None:
        """A folder to which messages come all the time would keep a pass from the other ones."""
        script = [
            hears(None, selected(3, next_uid=10)),
            hears(b'EXAMINE "INBOX"', selected(4, next_uid=11)),
            hears(b"UID SEARCH UID 10", found(10)),
            hears(None, fetched(10)),
            hears(b"UID SEARCH UID 1:10", found(2, 5, 9, 10)),
            hears(None, fetched(2, 5, 9, 10)),
        ]
        pages, state = await look(script, state=KNOWN, known=3)
        assert 10 in keys_of(pages)
        assert state.uid_next == 11

    async def test_leaves_to_the_next_one_of_what_comes_meanwhile_all_but_a_page(self) -> None:
        came = range(10, 2_012)
        script = [
            hears(None, selected(3, next_uid=10)),
            hears(None, selected(2_005, next_uid=2_012)),
            hears(b"UID SEARCH UID 10:2011", found(*came)),
            hears(None, fetched(*came[:2_000])),
            *[hears(None, found(2_009)), hears(None, fetched(2_009))] * 2,
        ]
        pages, state = await look(script, state=KNOWN, known=3)
        assert (all(page.covers is None for page in pages), state.uid_next) == (True, 2_010)

    @pytest.mark.parametrize("answer", FAILURES)
    async def test_finds_new_messages_whose_headers_fail_and_forgets_no_vanished_ones(self, answer: Any) -> None:
        begun = [
            hears(b"ENABLE QRESYNC", b"* ENABLED QRESYNC\r\nTAG OK\r\n"),
            hears(
                b'EXAMINE "INBOX" (QRESYNC (7 40))',
                b"* VANISHED (EARLIER) 3\r\n" + selected(3, next_uid=12, modseq=50),
            ),
            hears(b"UID SEARCH UID 10:11", found(10, 11)),
            hears(f"UID FETCH 10:11 {IDENTIFIED}".encode(), answer),
        ]
        again = [
            hears(b"UID SEARCH UID 10:11", found(10, 11)),
            hears(f"UID FETCH 10:11 {ALL}".encode(), fetched(10, 11)),
        ]
        scripts = followed_by(begun, again, examined=selected(3, next_uid=12, modseq=50))
        if answer is CUT:
            scripts[-1].insert(0, begun[0])
        async with served(*scripts, offers=b"ENABLE QRESYNC CONDSTORE") as (folders, _):
            state = replace(KNOWN, modseq=40).text()
            first = await folders.page(INBOX, state=state, known=4, token=None)
            second = await folders.page(INBOX, state=state, known=3, token=first.token)
        assert (first.vanished, keys_of([first])) == ([KeyRange(key_of(3), key_of(3))], [])
        assert keys_of([second]) == [10, 11]

    @pytest.mark.parametrize("gone", [b"", b"* 1 EXPUNGE\r\n"])
    async def test_compares_though_messages_come_and_go_meanwhile(self, gone: bytes) -> None:
        there = (5, 9) if gone else (2, 5, 9, 10)
        script = [hears(None, selected(3, next_uid=10))] * 3
        script += [hears(None, gone + found(*there)), hears(None, found(*there)), hears(None, fetched(*there))]
        pages, _ = await look(script, state=KNOWN, known=4)
        assert [list(map(int, page.present)) for page in pages if page.covers is not None] == [list(there)]

    async def test_of_a_folder_that_is_numbered_anew_begins_again(self) -> None:
        pages, _ = await look([hears(None, selected(3, next_uid=10, validity=8))], state=KNOWN, known=3)
        assert pages == [Page(restarts=True)]

    async def test_goes_on_in_the_same_numbering_only(self) -> None:
        """trap 23: after a reconnection another message has the number (chatmail/core 7330)."""
        begun = [hears(None, selected(4_000, next_uid=4_001)), hears(None, found(*range(1, 4_001)))]
        begun.append(hears(None, fetched(*range(2_001, 3_001))))
        begun += [hears(None, fetched(*range(first, first + 100))) for first in range(3_001, 3_901, 100)]
        begun.append(hears(None, fetched(*range(3_901, 4_001)), CUT))
        anew = [hears(None, selected(4_000, next_uid=4_001, validity=8))]
        async with served(begun, anew) as (folders, _):
            first = await folders.page(INBOX, state=None, known=0, token=None)
            assert len(first.items) == 2_000
            with pytest.raises(ProviderUnavailableError):
                await folders.page(INBOX, state=None, known=0, token=first.token)
            assert (await folders.page(INBOX, state=None, known=0, token=first.token)).restarts

    async def test_goes_on_in_the_same_numbering_only_though_another_use_has_selected_the_folder(self) -> None:
        plan = LookPlan(stage=Stage.NEW, at=10, width=1, end=replace(KNOWN, uid_next=12))
        async with served([hears(None, selected(3, next_uid=12, validity=8))]) as (folders, _):
            async with folders.session.selected(b"INBOX", validity=None):
                pass
            assert (await folders.page(INBOX, state=KNOWN.text(), known=3, token=plan.text())).restarts

    async def test_takes_marks_that_the_server_leaves_out_for_no_change(self) -> None:
        given = b"* 1 FETCH (UID 2 RFC822.SIZE 9)\r\n* 2 FETCH (UID 5 FLAGS NIL)\r\n* 3 FETCH (UID 9 FLAGS ())\r\n"
        script = [hears(None, selected(3, next_uid=10))] * 2
        script += [hears(None, found(2, 5, 9)), hears(None, given + b"TAG OK\r\n")]
        pages, _ = await look(script, state=KNOWN, known=3)
        assert keys_of(pages) == [5, 9]

    async def test_reads_marks_of_old_messages_in_turn(self) -> None:
        """Without modseq: the last thousand in each look, a window of older ones in turn."""
        swept: list[int] = []
        state = FolderState(validity=7, uid_next=5_001)
        for bottom in (3_001, 2_001, 1_001):
            script = [
                hears(None, selected(5_000, next_uid=5_001)),
                hears(None, selected(5_000, next_uid=5_001)),
                hears(b"UID SEARCH UID 4001:5000", found(*range(4_001, 5_001))),
                hears(None, fetched(*range(4_001, 5_001))),
                hears(b"UID SEARCH UID %d:%d" % (bottom, bottom + 999), found(*range(bottom, bottom + 1_000))),
                hears(None, fetched(1)),
            ]
            _, state = await look(script, state=state, known=5_000)
            swept.append(state.swept)
        assert swept == [3_001, 2_001, 1_001]


MODSEQ = FolderState(validity=7, uid_next=10, modseq=90)


class TestExtensions:
    async def test_condstore_reads_what_has_changed(self) -> None:
        script = [
            hears(b'EXAMINE "INBOX" (CONDSTORE)', selected(3, next_uid=10, modseq=95)),
            hears(None, selected(3, next_uid=10, modseq=96)),
            hears(f"UID FETCH 1:9 {ALL} (CHANGEDSINCE 90)".encode(), fetched(5, flags=b"\\Flagged")),
        ]
        pages, state = await look(script, state=MODSEQ, known=3, offers=b"CONDSTORE")
        assert keys_of(pages) == [5]
        # What changes after the begin of a look is the next one's: twenty 24826.
        assert state.modseq == 95

    async def test_condstore_reads_large_folders_part_by_part(self) -> None:
        script = [hears(None, selected(60_000, next_uid=60_001, modseq=95))] * 2
        script += [
            hears(f"UID FETCH {uids} {ALL} (CHANGEDSINCE 90)".encode(), fetched(changed))
            for uids, changed in (("10001:60000", 10_001), ("1:10000", 10_000))
        ]
        pages, _ = await look(script, state=replace(MODSEQ, uid_next=60_001), known=60_000, offers=b"CONDSTORE")
        assert keys_of(pages) == [10_001, 10_000]

    async def test_condstore_reads_nothing_where_nothing_has_changed(self) -> None:
        script = [hears(None, selected(3, next_uid=10, modseq=90))] * 2
        pages, _ = await look(script, state=MODSEQ, known=3, offers=b"CONDSTORE")
        assert keys_of(pages) == []

    async def test_condstore_keeps_the_modseq_of_the_begin_when_messages_come_meanwhile(self) -> None:
        script = [
            hears(None, selected(3, next_uid=10, modseq=95)),
            hears(None, selected(4, next_uid=11, modseq=97)),
            hears(None, found(10)),
            hears(None, fetched(10)),
            hears(None, fetched(5, 10)),
        ]
        _, state = await look(script, state=MODSEQ, known=3, offers=b"CONDSTORE")
        assert (state.uid_next, state.modseq) == (11, 95)

    async def test_condstore_leaves_marks_as_they_are_that_the_server_leaves_out(self) -> None:
        script = [hears(None, selected(3, next_uid=10, modseq=95))] * 2
        script.append(hears(None, b"* 1 FETCH (UID 5 MODSEQ (95))\r\nTAG OK\r\n"))
        pages, _ = await look(script, state=MODSEQ, known=3, offers=b"CONDSTORE")
        assert keys_of(pages) == []

    async def test_condstore_reads_all_marks_where_there_was_no_modseq_before(self) -> None:
        """Changes from before it would be in no later answer."""
        script = [
            *[hears(None, selected(2_500, next_uid=2_501, modseq=95))] * 2,
            hears(b"UID SEARCH UID 1501:2500", found(*range(1_501, 2_501))),
            hears(None, fetched(*range(1_501, 2_501))),
            hears(b"UID SEARCH UID 501:1500", found(*range(501, 1_501))),
            hears(None, fetched(*range(501, 1_501))),
            hears(b"UID SEARCH UID 1:500", found(*range(1, 501))),
            hears(None, fetched(*range(1, 501))),
        ]
        before = FolderState(validity=7, uid_next=2_501)
        pages, state = await look(script, state=before, known=2_500, offers=b"CONDSTORE")
        assert (len(keys_of(pages)), state.modseq) == (2_500, 95)

    async def test_status_of_the_selected_folder_is_not_believed(self) -> None:
        status = b"* STATUS INBOX (MESSAGES 3 UIDNEXT 10 UIDVALIDITY 7 HIGHESTMODSEQ 90)\r\nTAG OK\r\n"
        listed = b'* LIST () "/" INBOX\r\nTAG OK\r\n'
        script = [hears(None, listed), hears(None, status)]
        script += [hears(None, selected(3, next_uid=10, modseq=90)), hears(None, listed), hears(None, status)]
        script.append(hears(b'EXAMINE "INBOX" (CONDSTORE)', selected(4, next_uid=11, modseq=91)))
        script += [hears(None, found(10)), hears(None, fetched(10))]
        async with served(script, offers=b"CONDSTORE") as (folders, _):
            await folders.folders()
            looked_at = [LookedAt(folder=INBOX, state=MODSEQ.text(), known=3)]
            assert folders.unchanged(looked_at) == {INBOX.key}
            assert folders.unchanged([replace(looked_at[0], known=2)]) == set()
            assert folders.unchanged([replace(looked_at[0], state=replace(MODSEQ, modseq=89).text())]) == set()
            async with folders.session.selected(b"INBOX", validity=None):
                await folders.folders()
            assert folders.unchanged(looked_at) == set()
            changed = await folders.page(INBOX, state=MODSEQ.text(), known=3, token=None)
            assert [int(item.key) for item in changed.items] == [10]

    @pytest.mark.parametrize(
        ("changes", "name", "is_unchanged"),
        [
            ({}, "Work", True),
            ({"unseen": 2}, "Work", False),
            ({"unseen": None}, "Work", False),
            # The marks of most messages that were read before can change without any number.
            ({"marks_at": -MARKS_SECONDS}, "Work", False),
            ({"uid_next": 11}, "Work", False),
            ({"validity": 6}, "Work", False),
            ({}, "INBOX", False),
        ],
    )
    async def test_without_modseq_unseen_messages_and_time_tell_of_marks(
        self, changes: dict[str, Any], name: str, is_unchanged: bool
    ) -> None:
        listed = f'* LIST () "/" {name}\r\nTAG OK\r\n'.encode()
        status = f"* STATUS {name} (MESSAGES 3 UIDNEXT 10 UIDVALIDITY 7 UNSEEN 1)\r\nTAG OK\r\n".encode()
        state = replace(FolderState(validity=7, uid_next=10, unseen=1, marks_at=-1.0), **changes)
        async with served([hears(None, listed), hears(None, status)]) as (folders, _):
            [folder] = (await folders.folders()).folders
            looked_at = [LookedAt(folder=folder, state=state.text(), known=3)]
            assert bool(folders.unchanged(looked_at)) is is_unchanged

    async def test_unseen_messages_are_counted_anew_where_an_earlier_session_listed_the_folders(self) -> None:
        """A pass can be longer than a turn: without the count the next one would look at each folder again."""
        status = b"* STATUS Work (MESSAGES 1 UIDNEXT 10 UIDVALIDITY 7 UNSEEN 1)\r\nTAG OK\r\n"
        script = [
            hears(b'STATUS "Work" (MESSAGES UIDNEXT UIDVALIDITY UNSEEN)', status),
            hears(b'EXAMINE "Work"', selected(1, next_uid=10)),
            hears(None, found(9)),
            hears(None, fetched(9)),
        ]
        work = replace(INBOX, key="name:Work", path="Work", name="Work", role="")
        async with served(script) as (folders, _):
            page = await folders.page(work, state=None, known=0, token=None)
        assert page.state is not None
        assert FolderState.of(page.state).unseen == 1

    async def test_without_modseq_doubted_messages_are_read_before_others_have_their_turn(self) -> None:
        plan = LookPlan(
            stage=Stage.SWEEP, at=4_000, width=1_000, end=FolderState(validity=7, uid_next=9_000, swept=4_001)
        )
        script = [
            hears(b'EXAMINE "INBOX"', selected(8_000, next_uid=9_000)),
            hears(f"UID FETCH 3,5 {ALL}".encode(), fetched(3, 5, flags=b"\\Flagged")),
            hears(b"UID SEARCH UID 3001:4000", found(3_500)),
            hears(f"UID FETCH 3500 {ALL}".encode(), fetched(3_500)),
        ]
        doubts = [[3, 5], []]
        async with served(script, doubted=lambda _: doubts.pop(0)) as (folders, _):
            pages = [await folders.page(INBOX, state=None, known=8_000, token=plan.text()) for _ in range(2)]
        assert [keys_of([page]) for page in pages] == [[3, 5], [3_500]]
        assert [FolderState.of(page.state or "").swept for page in pages] == [4_001, 3_001]

    @pytest.mark.parametrize(("told", "next_uid"), [(9, 10), (10, 10), (11, 11)])
    async def test_status_tells_of_new_mail_in_a_watched_inbox_that_the_server_does_not_announce(
        self, told: int, next_uid: int
    ) -> None:
        script = [
            hears(b'EXAMINE "INBOX"', selected(3, next_uid=10)),
            hears(b"NOOP", b"TAG OK\r\n"),
            hears(b'LIST "" "*"', b'* LIST () "/" INBOX\r\nTAG OK\r\n'),
            hears(None, b"* STATUS INBOX (MESSAGES 3 UIDNEXT %d UIDVALIDITY 7 UNSEEN 1)\r\nTAG OK\r\n" % told),
        ]
        async with served(script) as (folders, _):
            async with folders.session.examined(b"INBOX"), folders.session.connection() as connection:
                assert connection.selected is not None
                connection.selected.is_watched = True
            polled = await folders.poll([INBOX])
            assert polled is not None
            [inbox] = folders.listing_of(polled).folders
            status = folders.status_of(inbox)
            assert status is not None
            assert (status.exists, status.uid_next, status.uid_validity) == (3, next_uid, 7)

    async def test_qresync_names_what_vanished(self) -> None:
        answer = b"* VANISHED (EARLIER) 2:3,8\r\n" + selected(1, next_uid=10, modseq=95)
        script = [
            hears(b"ENABLE QRESYNC", b"* ENABLED QRESYNC\r\nTAG OK\r\n"),
            hears(b'EXAMINE "INBOX" (QRESYNC (7 90))', answer),
            hears(None, selected(1, next_uid=10, modseq=95)),
            hears(None, fetched()),
        ]
        pages, _ = await look(script, state=MODSEQ, known=1, offers=b"ENABLE CONDSTORE QRESYNC")
        assert pages[0].vanished == [KeyRange(key_of(2), key_of(3)), KeyRange(key_of(8), key_of(8))]

    @pytest.mark.parametrize(("gone", "named"), [(100, 100), (101, 0)])
    async def test_qresync_names_few_ranges_and_a_search_tells_of_more(self, gone: int, named: int) -> None:
        uids = b",".join(b"%d" % uid for uid in range(1, 2 * gone, 2))
        script = [
            hears(b"ENABLE QRESYNC", b"* ENABLED QRESYNC\r\nTAG OK\r\n"),
            hears(None, b"* VANISHED (EARLIER) " + uids + b"\r\n" + selected(1, next_uid=900, modseq=90)),
        ]
        async with served(script, offers=b"ENABLE CONDSTORE QRESYNC") as (folders, _):
            state = replace(MODSEQ, uid_next=900).text()
            page = await folders.page(INBOX, state=state, known=gone + 1, token=None)
        assert len(page.vanished) == named

    async def test_that_is_advertised_and_missing_is_not_used_again(self) -> None:
        """trap 6: a proxy advertises QRESYNC, and then does not know it (cyrus-imapd 4787)."""
        script = [
            hears(b"ENABLE QRESYNC", b"* ENABLED QRESYNC\r\nTAG OK\r\n"),
            hears(b'EXAMINE "INBOX" (QRESYNC (7 90))', b"TAG BAD what\r\n"),
            hears(b'EXAMINE "INBOX"', selected(0, next_uid=10)),
            hears(b'EXAMINE "INBOX"', selected(0, next_uid=10)),
        ]
        pages, state = await look(script, state=MODSEQ, known=0, offers=b"ENABLE CONDSTORE QRESYNC")
        assert (keys_of(pages), state.modseq) == ([], None)

    async def test_esearch_and_object_ids_are_used(self) -> None:
        script = [
            hears(None, selected(1, next_uid=3)),
            hears(b"UID SEARCH RETURN (ALL) UID 1:2", b'* ESEARCH (TAG "A1") UID ALL 2\r\nTAG OK\r\n'),
            hears(
                b"UID FETCH 2 (UID FLAGS INTERNALDATE RFC822.SIZE EMAILID)",
                b"* 1 FETCH (UID 2 EMAILID (M77))\r\nTAG OK\r\n",
            ),
        ]
        pages, _ = await look(script, offers=b"ESEARCH OBJECTID")
        assert pages[0].items[0].external_id == "EM77"

    async def test_ids_and_keywords_have_255_characters_at_most(self) -> None:
        given = b"".join(
            b"* 1 FETCH (UID %d EMAILID (%s) FLAGS (%s))\r\n" % (uid, b"M" * size, b"k" * size)
            for uid, size in ((1, 255), (2, 256))
        )
        script = [hears(None, selected(2, next_uid=3)), hears(None, found(1, 2)), hears(None, given + b"TAG OK\r\n")]
        pages, _ = await look(script, offers=b"OBJECTID")
        assert [(each.external_id, each.marks) for each in pages[0].items] == [
            (f"E{'M' * 255}", {f"kw:{'k' * 255}"}),
            (None, frozenset()),
        ]


class TestStoredState:
    def test_of_a_later_release_is_read(self) -> None:
        """As after a rollback."""
        plan = LookPlan(stage=Stage.NEW, at=1, width=1, end=MODSEQ)
        later = json.loads(plan.text()) | {"further": 1}
        later["end"] |= {"further": 1}
        assert LookPlan.of(json.dumps(later)) == plan
        assert FolderState.of(json.dumps(later["end"])) == MODSEQ


class TestFolders:
    async def test_have_roles_and_names_for_people(self) -> None:
        listed = (
            b'* LIST (\\Sent) "|" "&BB4EQgQ,BEAEMAQyBDsENQQ9BD0ESwQ1-"\r\n* LIST () "|" inbox\r\n'
            b'* LIST (\\Noselect) "|" x\r\n* LIST () "|" "&AAA-"\r\nTAG OK\r\n'
        )
        script = [hears(b'LIST "" "*"', listed), *[hears(None, b"TAG OK\r\n")] * 3]
        async with served(script) as (folders, _):
            listing = await folders.folders()
        assert listing.is_complete
        assert [(each.name, each.role) for each in listing.folders] == [
            ("Отправленные", "sent"),
            ("INBOX", "inbox"),
            ("", ""),
        ]

    async def test_with_one_id_for_all_are_known_by_their_names(self) -> None:
        listed = b'* LIST () "/" INBOX\r\n* LIST () "/" a\r\n* LIST () "/" b\r\nTAG OK\r\n'
        status = [b"* STATUS %s (MAILBOXID (%s))\r\nTAG OK\r\n" % each for each in ((b"INBOX", b"F1"), (b"a", b"F0"))]
        status.append(b"* STATUS b (MAILBOXID (F0))\r\nTAG OK\r\n")
        script = [hears(None, listed), *(hears(None, each) for each in status)]
        async with served(script, offers=b"OBJECTID") as (folders, _):
            assert [each.key for each in (await folders.folders()).folders] == ["id:F1", "name:a", "name:b"]

    async def test_that_claim_several_roles_have_the_first_in_each_process(self) -> None:
        listed = b'* LIST () "/" INBOX\r\n* LIST (\\Archive \\Trash \\Junk \\Inbox) "/" a\r\nTAG OK\r\n'
        script = [hears(None, listed), *[hears(None, b"TAG OK\r\n")] * 2]
        async with served(script) as (folders, _):
            assert [each.role for each in (await folders.folders()).folders] == ["inbox", "spam"]

    async def test_have_names_of_a_length_that_the_index_takes(self, servers: Servers) -> None:
        generator = random.Random(1)
        names = [bytes(generator.randrange(128, 256) for _ in range(size)) for size in (1_300, 1_301)]
        literals = [b'* LIST () "/" {%d}\r\n%s\r\n' % (len(name), name) for name in names]
        listed = b'* LIST () "/" INBOX\r\n' + b"".join(literals) + b"TAG OK\r\n"
        script = [hears(None, listed), hears(None, b"TAG OK\r\n"), hears(None, b"+\r\n"), hears(None, b"TAG OK\r\n")]
        async with served(script) as (folders, _):
            listing = await folders.folders()
        assert [each.path.encode("latin-1") for each in listing.folders] == [b"INBOX", names[0]]
        async with servers.pool.acquire() as connection:
            mailbox_id = (await add_mailbox(connection)).mailbox_id
            await store.record_listed(connection, mailbox_id, listing.folders, is_complete=True)
            known = await store.all_of(connection, mailbox_id)
        assert [each.folder for each in known] == listing.folders

    @pytest.mark.parametrize("line", [b'* LIST () "|" x\r\n', b'* LIST () "|" INBOX\r\n* LIST (\r\n'])
    async def test_are_not_complete_without_the_inbox_or_a_line(self, line: bytes) -> None:
        script = [hears(None, line + b"TAG OK\r\n"), hears(None, b"TAG OK\r\n")]
        async with served(script) as (folders, _):
            assert not (await folders.folders()).is_complete

    @pytest.mark.parametrize(
        ("answer", "exists"),
        [
            (b"* STATUS INBOX (MESSAGES 1)\r\nTAG OK\r\n", True),
            (b"TAG NO [NONEXISTENT] gone\r\n", False),
            (b"TAG NO Mailbox doesn't exist: INBOX\r\n", False),
        ],
    )
    async def test_exist_or_not(self, answer: bytes, exists: bool) -> None:
        async with served([hears(None, answer)]) as (folders, _):
            assert await folders.exists(INBOX) is exists

    async def test_that_are_refused_for_a_time_are_not_gone(self) -> None:
        async with served([hears(None, b"TAG NO [UNAVAILABLE] Backend error\r\n")]) as (folders, _):
            with pytest.raises(ProviderUnavailableError):
                await folders.exists(INBOX)


class TestMessages:
    async def test_absent_in_a_fetch_are_there_if_a_search_finds_them(self) -> None:
        """trap 2: a UID missing from a FETCH was taken for deleted."""
        script = [
            hears(None, selected(3, next_uid=10)),
            hears(f"UID FETCH 2,5 {ALL}".encode(), fetched(2)),
            hears(b"UID SEARCH UID 2,5", found(2, 5)),
        ]
        async with served(script) as (folders, _):
            items = await folders.items(INBOX, [key_of(2), key_of(5)], numbering=None)
        assert [(int(item.key), item.size) for item in items] == [(2, 9), (5, 0)]

    async def test_get_ids_by_header_and_size(self) -> None:
        answer = (
            b"* 1 FETCH (UID 2 RFC822.SIZE 9 BODY[HEADER] {6}\r\nA: b\r\n)\r\n"
            b"* 2 FETCH (UID 3 RFC822.SIZE 9 BODY[HEADER] NIL)\r\nTAG OK\r\n"
        )
        script = [
            hears(None, selected(3, next_uid=10)),
            hears(b"UID FETCH 2:3 (UID RFC822.SIZE BODY.PEEK[HEADER])", answer),
        ]
        async with served(script) as (folders, _):
            ids = await folders.identify(INBOX, [key_of(2), key_of(3)], numbering=None)
        assert ids == {key_of(2): id_by_content(b"A: b\r\n", 9), key_of(3): None}
        assert id_by_content(b"A: b\r\n", 8) != id_by_content(b"A: b\r\n", 9)

    @pytest.mark.parametrize("answer", FAILURES)
    async def test_whose_headers_fail_keep_no_others_from_their_ids(self, answer: Any) -> None:
        """trap 16: one bad message stops all. Each costs four sign-ins, however many messages are with it."""
        last = [
            hears(b"UID FETCH 3 (UID)", b"* 2 FETCH (UID 3)\r\nTAG OK\r\n"),
            hears(headers_of("4"), identified(4)),
        ]
        scripts: list[list[Step]] = [[hears(None, selected(3, next_uid=10)), hears(headers_of("2:4"), answer)]]
        alone = [hears(headers_of("2"), identified(2)), hears(headers_of("3"), answer)]
        again = [hears(headers_of("3"), answer)]
        for following in (alone, again, again, last):
            scripts = followed_by(*scripts[:-1], [*scripts[-1]], following, examined=selected(3, next_uid=10))
        async with served(*scripts) as (folders, server):
            ids = dict(await folders.identify(INBOX, [key_of(2), key_of(3), key_of(4)], numbering=None))
            assert ids == {key_of(2): id_by_content(b"A: 2\r\n", 9), key_of(3): None}
            ids |= await folders.identify(INBOX, [key_of(4)], numbering=None)
        assert ids[key_of(4)] == id_by_content(b"A: 4\r\n", 9)
        assert server.connections == (5 if answer is CUT else 1)

    async def test_have_their_own_ids_after_some_lost_connections(self) -> None:
        """An id from its place stays with a message."""
        cut: list[list[Step]] = [[hears(None, selected(1, next_uid=4)), hears(headers_of("2"), CUT)] for _ in range(3)]
        async with served(*cut, [hears(None, selected(1, next_uid=4)), hears(headers_of("2"), identified(2))]) as (
            folders,
            _,
        ):
            ids = await folders.identify(INBOX, [key_of(2)], numbering=None)
        assert ids == {key_of(2): id_by_content(b"A: 2\r\n", 9)}

    async def test_have_ids_of_their_own_by_no_outage(self) -> None:
        script = [hears(None, selected(2, next_uid=4)), hears(None, CUT)]
        async with served(script) as (folders, server):
            with pytest.raises(ProviderUnavailableError):
                await folders.identify(INBOX, [key_of(2), key_of(3)], numbering=None)
        assert [line for line in server.heard if line.startswith(b"UID")] == [
            headers_of("2:3"),
            *[headers_of("2")] * 3,
            b"UID FETCH 2 (UID)",
        ]

    async def test_have_ids_of_their_own_by_no_limit(self) -> None:
        script = [hears(None, selected(2, next_uid=4)), hears(None, b"TAG NO [LIMIT] later\r\n")]
        async with served(script) as (folders, server):
            with pytest.raises(RateLimitedError):
                await folders.identify(INBOX, [key_of(2), key_of(3)], numbering=None)
        assert len(server.heard) == 2

    @pytest.mark.parametrize("ask", ["items", "identify", "still_there"])
    async def test_are_not_asked_for_by_the_numbers_of_another_time(self, ask: str) -> None:
        earlier = replace(KNOWN, validity=6)
        numberings = [earlier.text(), LookPlan(stage=Stage.NEW, at=1, width=1, end=earlier).text()]
        script = [hears(None, selected(3, next_uid=10))]
        if ask == "still_there":
            script *= 2
        async with served(script) as (folders, _):
            for numbering in numberings:
                with pytest.raises(RejectedError, match="anew"):
                    await getattr(folders, ask)(INBOX, [key_of(2)], numbering=numbering)

    async def test_are_proved_over_a_connection_of_their_own(self) -> None:
        """One for all proofs of a large loss, which takes many turns: each sign-in is counted."""
        examined = hears(b'EXAMINE "INBOX"', selected(0, next_uid=10))
        proof = [examined, hears(b"UID SEARCH UID 2,5", found(5))]
        async with served([examined], [*proof, *proof, examined], proof) as (folders, server):
            await folders.page(INBOX, state=None, known=0, token=None)
            for _ in range(2):
                of_this_turn = ImapFolders(folders.session)
                there = await of_this_turn.still_there(INBOX, [key_of(2), key_of(5)], numbering=None)
                assert (there, server.connections) == ({key_of(5)}, 2)
            await folders.page(INBOX, state=None, known=0, token=None)
            assert await folders.still_there(INBOX, [key_of(2), key_of(5)], numbering=None) == {key_of(5)}
            assert server.connections == 3


class TestAttributesThatFail:
    async def test_are_those_of_one_message_which_is_known_from_then_on(self) -> None:
        """trap 16: three sign-ins for one message, since what came before it is kept."""
        plan = LookPlan(stage=Stage.NEW, at=2, width=1, end=replace(KNOWN, uid_next=6))
        cut = fetched(2, 3).removesuffix(b"TAG OK done\r\n")
        examined = hears(b'EXAMINE "INBOX"', selected(4, next_uid=6))
        scripts = [
            [examined, hears(None, found(2, 3, 4, 5)), hears(f"UID FETCH 2:5 {ALL}".encode(), cut, CUT)],
            *[[examined, hears(f"UID FETCH 4 {ALL}".encode(), CUT)] for _ in range(2)],
            [examined, hears(f"UID FETCH 5 {ALL}".encode(), fetched(5))],
        ]
        async with served(*scripts) as (folders, _):
            page = await folders.page(INBOX, state=KNOWN.text(), known=0, token=plan.text())
        assert [int(item.key) for item in page.items] == [2, 3, 5]
        assert key_of(4) in page.present
        assert page.token is not None
        assert LookPlan.of(page.token).end.unreadable == (4,)

    async def test_once_by_themselves_are_those_of_a_lost_connection(self) -> None:
        plan = LookPlan(stage=Stage.NEW, at=2, width=1, end=replace(KNOWN, uid_next=4))
        examined = hears(b'EXAMINE "INBOX"', selected(2, next_uid=4))
        alone = f"UID FETCH 2 {ALL}".encode()
        scripts = [
            [examined, hears(None, found(2, 3)), hears(f"UID FETCH 2:3 {ALL}".encode(), CUT)],
            [examined, hears(alone, CUT)],
            [examined, hears(alone, fetched(2)), hears(f"UID FETCH 3 {ALL}".encode(), fetched(3))],
        ]
        async with served(*scripts) as (folders, _):
            page = await folders.page(INBOX, state=KNOWN.text(), known=0, token=plan.text())
        assert [int(item.key) for item in page.items] == [2, 3]
        assert page.token is not None
        assert LookPlan.of(page.token).end.unreadable == ()

    async def test_are_an_outage_where_no_message_is_to_blame_yet(self) -> None:
        plan = LookPlan(stage=Stage.NEW, at=2, width=1, end=replace(KNOWN, uid_next=4))
        cut = fetched(2).removesuffix(b"TAG OK done\r\n")
        script = [hears(None, selected(2, next_uid=4)), hears(None, found(2, 3)), hears(None, cut, CUT)]
        async with served(script) as (folders, server):
            with pytest.raises(ProviderUnavailableError):
                await folders.page(INBOX, state=KNOWN.text(), known=0, token=plan.text(), blames=False)
        assert server.connections == 1

    async def test_are_to_blame_at_once_beside_others_that_are(self) -> None:
        """Of many bad messages each costs the least sign-ins: outages leave no unreadable ones behind."""
        plan = LookPlan(stage=Stage.NEW, at=2, width=1, end=replace(KNOWN, uid_next=4, unreadable=(9,)))
        alone = [[hears(None, selected(2, next_uid=4)), hears(f"UID FETCH 2 {ALL}".encode(), CUT)] for _ in range(2)]
        first = [hears(None, selected(2, next_uid=4)), hears(None, found(2, 3)), hears(None, CUT)]
        last = [hears(None, selected(2, next_uid=4)), hears(None, b"TAG OK\r\n"), hears(None, fetched(3))]
        async with served(first, *alone, last) as (folders, _):
            page = await folders.page(INBOX, state=KNOWN.text(), known=0, token=plan.text(), blames=False)
        assert [int(item.key) for item in page.items] == [3]

    async def test_of_all_messages_are_the_fault_of_the_server(self) -> None:
        plan = LookPlan(stage=Stage.NEW, at=2, width=1, end=replace(KNOWN, uid_next=6))
        first = [hears(None, selected(4, next_uid=6)), hears(None, found(2, 3, 4, 5)), hears(None, CUT)]
        async with served(first, [hears(None, selected(4, next_uid=6)), hears(None, CUT)]) as (folders, _):
            with pytest.raises(ProviderUnavailableError):
                await folders.page(INBOX, state=KNOWN.text(), known=0, token=plan.text())

    async def test_are_not_asked_for_on_the_same_day(self) -> None:
        known = replace(KNOWN, uid_next=6, unreadable=(4,))
        script = [hears(None, selected(4, next_uid=6)), hears(None, found(2, 3, 4, 5))]
        script.append(hears(f"UID FETCH 2:3,5 {ALL}".encode(), fetched(2, 3, 5)))
        async with served(script) as (folders, _):
            token = LookPlan(stage=Stage.RECENT, at=5, width=9, end=known).text()
            page = await folders.page(INBOX, state=known.text(), known=4, token=token)
        assert (len(page.items), FolderState.of(page.state).unreadable) == (3, (4,))

    async def test_are_asked_for_again_on_another_day(self) -> None:
        known = replace(KNOWN, uid_next=6, unreadable=(4,), marks_at=-1.0)
        async with served([hears(None, selected(4, next_uid=6))]) as (folders, _):
            page = await folders.page(INBOX, state=known.text(), known=4, token=None)
        assert page.token is not None
        assert LookPlan.of(page.token).end.unreadable == ()

    async def test_and_use_up_the_sign_ins_are_not_in_vain(self) -> None:
        plan = LookPlan(stage=Stage.NEW, at=2, width=1, end=replace(KNOWN, uid_next=4))
        examined = hears(None, selected(2, next_uid=4))
        scripts = [
            [examined, hears(None, found(2, 3)), hears(None, CUT)],
            *[[examined, hears(f"UID FETCH 2 {ALL}".encode(), CUT)] for _ in range(2)],
            [examined, hears(b"UID FETCH 2 (UID)", b"TAG OK\r\n"), hears(f"UID FETCH 3 {ALL}".encode(), CUT)],
        ]
        async with served(*scripts) as (folders, server):
            opened, dial = [0], folders.session._open

            async def open_() -> Connection:
                opened[0] += 1
                if opened[0] > len(scripts):
                    raise OwnLimitError("too many logins", retry_after=300.0)
                return await dial()

            folders.session._open = open_
            page = await folders.page(INBOX, state=KNOWN.text(), known=0, token=plan.text())
        assert page.token is not None
        assert LookPlan.of(page.token).end.unreadable == (2,)
        assert server.connections == len(scripts)


def refused(status: str = "NO", code: str = "", text: str = "x") -> RefusedError:
    return RefusedError("STATUS", status=status, code=code, text=text)


class TestProviderError:
    @pytest.mark.parametrize(
        ("error", "kind"),
        [
            (refused(), RejectedError),
            (refused("BAD"), RejectedError),
            (refused(code="NONEXISTENT"), RejectedError),
            (refused(code="UNAVAILABLE", text="Backend error"), ProviderUnavailableError),
            (refused(code="SERVERBUG"), ProviderUnavailableError),
            (refused(code="LIMIT"), RateLimitedError),
            (refused("BAD", text="Request is throttled. Suggested Backoff Time: 9 milliseconds"), RateLimitedError),
            (refused(code="ALERT", text="Too many simultaneous connections. (Failure)"), TooConcurrentError),
            (
                refused(code="LIMIT", text="Maximum number of connections from user+IP exceeded"),
                TooConcurrentError,
            ),
            (LoginRefusedError("AUTHENTICATE", status="NO", code="AUTHENTICATIONFAILED"), TokenRefusedError),
            (LoginRefusedError("AUTHENTICATE", status="NO", code="UNAVAILABLE"), ProviderUnavailableError),
            (ConnectionLostError("BYE Server shutting down"), ProviderUnavailableError),
            (ConnectionLostError("BYE Rate limit hit."), RateLimitedError),
            (NoMechanismError("PLAIN only"), ProviderUnavailableError),
        ],
    )
    def test_is_of_the_engine(self, error: ImapError, kind: type[Exception]) -> None:
        assert type(provider_error(error)) is kind

    def test_waits_as_long_as_the_server_says(self) -> None:
        error = provider_error(refused("BAD", text="throttled. Suggested Backoff Time: 92415 milliseconds"))
        assert isinstance(error, RateLimitedError)
        assert error.retry_after == pytest.approx(92.415)
