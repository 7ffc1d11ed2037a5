"""The history of a mailbox at Dovecot equals the mailbox, while an administrator changes it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from email.message import EmailMessage

import pytest

from deploy.local.postgres import Database
from services.kit.stores.postgres import create_pool
from services.mail.content.parse import parse_raw
from services.mail.providers.folder_history.pass_context import HistoryLimits
from services.mail.providers.folder_history.port import Folder
from services.mail.providers.imap.client.connection import Connection
from services.mail.providers.imap.client.dial import dial
from services.mail.providers.imap.client.folders import examine
from services.mail.providers.imap.client.login import Credentials, enable, log_in
from services.mail.providers.imap.content.contents import ImapContents
from services.mail.providers.imap.folders import ImapFolders
from services.mail.providers.imap.identity import id_by_content
from services.mail.providers.imap.look_plan import FolderState, key_of
from services.mail.providers.imap.marks import MarksCheck, unnumbered_folders
from services.mail.providers.imap.session import ImapSession
from services.mail.store.connection import Pool
from services.mail.store.folder_history import folders
from services.mail.store.folder_history.folders import Overview
from tests.mail.conftest import migrate, settings_of
from tests.support.folder_history.observed_history import ObservedHistory
from tests.support.imap.scripted_server import client_tls
from tests.support.mail.stored import add_mailbox
from tests.support.peers.dovecot import YANDEX_LIKE, Dovecot, running_dovecot

pytestmark = pytest.mark.peers
# Words of commands that only servers with an extension know.
_WORDS = {
    "QRESYNC": [b"QRESYNC"],
    "CONDSTORE": [b"CHANGEDSINCE", b"HIGHESTMODSEQ"],
    "ESEARCH": [b"SEARCH RETURN"],
    "SPECIAL-USE": [b"RETURN (SPECIAL-USE)"],
    "OBJECTID": [b"EMAILID", b"MAILBOXID"],
    "NOTIFY-IS-NEVER-USED": [b"NOTIFY", b"XLIST", b"COMPRESS"],
}


@pytest.fixture(scope="module")
async def pool(
    create_database: Callable[[str], Database], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Pool]:
    database = settings_of(create_database("mail"))
    done = await asyncio.to_thread(migrate, database, "upgrade", directory=tmp_path_factory.mktemp("migrations"))
    assert done.returncode == 0, done.stderr
    pool = await create_pool(database, application_name="peers", size=4)
    yield pool
    await pool.close()


@pytest.fixture(scope="module", params=["full", "like Yandex"])
def dovecot(request: pytest.FixtureRequest) -> Iterator[Dovecot]:
    is_full = request.param == "full"
    with running_dovecot(capability="" if is_full else YANDEX_LIKE, separator="/" if is_full else "|") as server:
        yield server


def large_message() -> bytes:
    """Return a message with texts, an attached message and an attachment of 2 MB."""
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


def message(name: str) -> bytes:
    """Return a message with a name that it is known by."""
    return f"Subject: {name}\r\nMessage-ID: <{name}@example.com>\r\n\r\nText of {name}\r\n".encode()


@dataclass
class Mailbox:
    """A user's mailbox at Dovecot, and our history of it."""

    user: str
    dovecot: Dovecot
    session: ImapSession
    observed: ObservedHistory[ImapFolders]

    async def change(self, *command: str) -> None:
        """Let the administrator change the mailbox, with `-u USER` after the command's words."""
        words = 2 if command[0] in ("mailbox", "flags") else 1
        await self.dovecot.doveadm(*command[:words], "-u", self.user, *command[words:])

    async def deliver(self, folder: str, *names: str) -> None:
        """Put messages into a folder."""
        await self.dovecot.save(self.user, folder, *map(message, names))

    async def truth(self) -> dict[str, set[tuple[str, str]]]:
        """Return the labels of all messages by id, as Dovecot's administrator sees them."""
        shown = await self.dovecot.doveadm("-f", "tab", "fetch", "-u", self.user, "mailbox flags hdr.subject", "ALL")
        found: dict[str, set[tuple[str, str]]] = {}
        for line in shown.decode().splitlines()[1:]:
            folder, flags, name = line.split("\t")
            written = message(name)
            header = written[: written.index(b"\r\n\r\n") + 4]
            labels = found.setdefault(id_by_content(header, len(written)), set())
            labels.add(("folder", f"name:{folder}"))
            labels.update(("mark", mark_of(flag)) for flag in flags.split() if flag != "\\Recent")
        return found

    async def equals(self) -> bool:
        """Look at the mailbox as often as a deletion takes; return whether the copy equals it."""
        await self.observed.settle()
        assert await self.observed.named_copy() == await self.truth()
        assert all(known == stored for known, stored in await self.observed.counts())
        return True


def mark_of(flag: str) -> str:
    return flag[1:].lower() if flag.startswith("\\") else f"kw:{flag}"


@pytest.fixture
async def mailbox(dovecot: Dovecot, pool: Pool, request: pytest.FixtureRequest) -> AsyncIterator[Mailbox]:
    user = f"{abs(hash(request.node.nodeid)):x}@example.com"

    async def connect() -> Connection:
        connection = await dial("localhost", dovecot.port, tls=client_tls())
        credentials = Credentials(user=user, token=dovecot.token(user), host="localhost", port=dovecot.port)
        await log_in(connection, credentials)
        await enable(connection, "QRESYNC")
        return connection

    session = ImapSession(connect)
    async with pool.acquire() as connection:
        row = await add_mailbox(connection)
    limits = HistoryLimits(rows=3, missing=0.0, restarts=0.0)
    observed = ObservedHistory(pool, row.mailbox_id, ImapFolders(session), limits=limits)
    mailbox = Mailbox(user, dovecot, session, observed)
    await mailbox.deliver("INBOX", *"abcdefg")
    await mailbox.deliver("Work", "h", "i")
    await observed.begin()
    yield mailbox
    await session.close()


class TestHistory:
    async def test_begins_with_all_messages(self, mailbox: Mailbox) -> None:
        assert await mailbox.equals()
        assert mailbox.observed.added == []

    async def test_follows_new_mail_marks_and_deletions(self, mailbox: Mailbox) -> None:
        await mailbox.deliver("INBOX", "j")
        await mailbox.change("flags", "add", "\\Seen \\Flagged $Label1", "mailbox", "INBOX", "uid", "1:3")
        await mailbox.change("expunge", "mailbox", "INBOX", "uid", "2")
        assert await mailbox.equals()
        await mailbox.change("flags", "remove", "\\Seen", "mailbox", "INBOX", "uid", "1")
        assert await mailbox.equals()
        assert len(mailbox.observed.added) == len(mailbox.observed.deleted) == 1

    async def test_finds_marks_by_searches_where_they_have_no_numbers(self, mailbox: Mailbox) -> None:
        check = MarksCheck(mailbox.observed.pool, hidden_marks=frozenset())

        async def overview() -> Overview:
            async with mailbox.observed.pool.acquire() as reading:
                return await folders.overview(reading, mailbox.observed.mailbox_id)

        async def finds_nothing() -> bool:
            async with mailbox.session.connection() as connection:
                return await check.finds_nothing(connection, mailbox.observed.mailbox_id, await overview())

        assert await mailbox.equals()
        async with mailbox.session.connection() as connection:
            has_numbers = connection.has("CONDSTORE")
        assert bool(unnumbered_folders((await overview()).folders)) is not has_numbers
        if has_numbers:
            return
        for flags in ("\\Answered", "$Label1", "\\Seen"):
            assert await finds_nothing()
            await mailbox.change("flags", "add", flags, "mailbox", "Work", "uid", "2")
            assert not await finds_nothing()
            await mailbox.observed.pool.execute(
                "UPDATE mail_folders SET state = jsonb_set(state::jsonb, '{marks_at}', '0')::text"
            )
            assert await mailbox.equals()

    async def test_keeps_ids_of_moved_messages(self, mailbox: Mailbox) -> None:
        await mailbox.change("move", "Work", "mailbox", "INBOX", "uid", "1:2")
        await mailbox.change("move", "INBOX", "mailbox", "Work", "uid", "1")
        await mailbox.change("copy", "Work", "mailbox", "INBOX", "uid", "3")
        assert await mailbox.equals()
        assert (mailbox.observed.added, mailbox.observed.deleted) == ([], [])

    async def test_keeps_ids_when_folders_are_renamed(self, mailbox: Mailbox) -> None:
        before = set(await mailbox.observed.folder_names())
        await mailbox.change("mailbox", "rename", "Work", "Play")
        await mailbox.deliver("Play", "j")
        assert await mailbox.equals()
        assert set(await mailbox.observed.folder_names()) == before
        assert (len(mailbox.observed.added), mailbox.observed.deleted) == (1, [])

    async def test_keeps_ids_when_a_folder_is_numbered_anew(self, mailbox: Mailbox) -> None:
        await mailbox.change("mailbox", "update", "--uid-validity", "77", "INBOX")
        await mailbox.deliver("INBOX", "j")
        assert await mailbox.equals()
        assert (len(mailbox.observed.added), mailbox.observed.deleted) == (1, [])

    async def test_follows_folders_that_come_and_go(self, mailbox: Mailbox) -> None:
        await mailbox.deliver("New", "j", "a")
        await mailbox.change("mailbox", "delete", "Work")
        assert await mailbox.equals()
        assert len(mailbox.observed.added) == 1
        assert len(mailbox.observed.deleted) == 2

    async def test_reads_numbers_with_gaps(self, mailbox: Mailbox) -> None:
        await mailbox.change("mailbox", "update", "--min-next-uid", "3000000", "INBOX")
        await mailbox.deliver("INBOX", "j")
        await mailbox.change("expunge", "mailbox", "INBOX", "uid", "1:4")
        assert await mailbox.equals()

    async def test_survives_connections_that_are_cut(self, mailbox: Mailbox) -> None:
        await mailbox.change("move", "Work", "mailbox", "INBOX", "uid", "1")
        await mailbox.observed.take_steps(2)
        await mailbox.dovecot.doveadm("kick", mailbox.user)
        assert await mailbox.equals()
        assert mailbox.observed.deleted == []

    async def test_reads_large_messages_without_their_attachments(self, mailbox: Mailbox) -> None:
        raw = large_message()
        await mailbox.dovecot.save(mailbox.user, "INBOX", raw, message("small"))
        folder = Folder(key="name:INBOX", path="INBOX", name="INBOX")
        async with mailbox.session.connection() as connection:
            validity = (await examine(connection, b"INBOX")).status.uid_validity or 0
        contents = ImapContents(mailbox.session)
        state = FolderState(validity=validity, uid_next=1).text()
        sizes = {key_of(8): len(raw), key_of(9): 100}
        fetched = await contents.fetch(folder, sizes, state=state)
        large, small = fetched[key_of(8)], fetched[key_of(9)]
        whole = parse_raw(raw)
        assert not isinstance(large, Exception)
        assert (large.text, large.html, large.headers) == (whole.text, whole.html, whole.headers)
        assert large.attachments[0] == whole.attachments[0]
        assert large.attachments[1].size == pytest.approx(whole.attachments[1].size, rel=0.01)
        assert small == parse_raw(message("small"))
        assert b"BODY.PEEK[3]" not in mailbox.dovecot.heard()

    async def test_sends_nothing_that_is_not_advertised(self, mailbox: Mailbox) -> None:
        await mailbox.deliver("INBOX", "j")
        await mailbox.change("expunge", "mailbox", "INBOX", "uid", "2")
        assert await mailbox.equals()
        heard = mailbox.dovecot.heard()
        async with mailbox.session.connection() as connection:
            for extension, words in _WORDS.items():
                assert any(word in heard for word in words) == connection.has(extension), extension
        assert b" SELECT " not in heard
        assert b" BODY[" not in heard
