"""Real workers copy a mailbox from servers that lack extensions, or values, or one of their folders."""

import re
from collections.abc import Mapping
from email.message import EmailMessage

import pytest

from services.mail.model import SyncState
from services.mail.sync.store_fetched import Retries
from tests.support.imap.altering_proxy import Alter, without
from tests.support.imap.mailbox_stage import Copied, ImapStage, open_imap_stage
from tests.support.mail.servers import Servers
from tests.support.mail.waiting import eventually
from tests.support.sandbox.imap_servers import EMAIL

# What the server says of a message, and what says nothing: NIL, where another server has a value or an empty list.
_NILS = (
    (re.compile(rb"^(\* LIST \([^)]*\)) \"[^\"]*\" "), rb"\1 NIL "),
    (re.compile(rb"\bFLAGS \(\)"), b"FLAGS NIL"),
    (re.compile(rb"\bINTERNALDATE \"[^\"]*\""), b"INTERNALDATE NIL"),
    (re.compile(rb"\bBODYSTRUCTURE \(.*\)\)"), b"BODYSTRUCTURE NIL)"),
    (re.compile(rb"\b(UNSEEN|UIDNEXT) \d+(?=[ )])"), rb"\1 NIL"),
)
# Those of the messages with the UIDs 2 and 4 to 9.
_HEADERS = re.compile(rb"\bFETCH \(UID [24-9] .*BODY\[HEADER\]")
# Those of the messages with the UIDs 5 to 13.
_BAD_BODIES = re.compile(rb"\bFETCH \(UID ([5-9]|1[0-3]) .*BODY\[\]")
# Those of the messages with the UIDs 2 and 4 to 7.
_ATTRIBUTES = re.compile(rb"\bFETCH \(UID [24-7] (FLAGS|.*\bINTERNALDATE|.*\bRFC822\.SIZE)")
_SIZE = re.compile(rb"\bRFC822\.SIZE \d+")


def with_nils(line: bytes) -> bytes:
    """Replace values by NIL."""
    for pattern, value in _NILS:
        line = pattern.sub(value, line)
    return line


def with_nils_for_sizes(line: bytes) -> bytes:
    """Replace sizes, too."""
    return _SIZE.sub(b"RFC822.SIZE NIL", with_nils(line))


def large_message() -> bytes:
    """Return a message that is not fetched whole where the server describes it."""
    message = EmailMessage()
    message["From"], message["Subject"], message["Message-ID"] = "Ada <ada@example.com>", "large", "<large@x>"
    message.set_content("The text of the large one.\n")
    message.add_attachment(bytes(range(256)) * 5_000, maintype="application", subtype="pdf", filename="a.pdf")
    return message.as_bytes().replace(b"\n", b"\r\n")


async def changes(stage: ImapStage) -> None:
    """Let mail come, move and go until the copy equals the true log each time."""
    await stage.sync(count=None)
    await stage.equals()
    work = await stage.create_folder("Work")
    moved, gone = [await stage.imap.deliver(subject=f"new {number}") for number in range(2)]
    await stage.equals()
    await stage.imap.relabel(moved, add=[work], remove=["INBOX"])
    await stage.imap.control("DELETE", f"users/{EMAIL}/messages/{gone}")
    await stage.equals()


@pytest.mark.parametrize(
    ("profile", "alter"),
    [
        ("yandex", without("IDLE")),
        ("yandex", without("UIDPLUS", "MOVE", "UNSELECT", "NAMESPACE", "ID", "ENABLE", "LITERAL+", "CHILDREN")),
        ("modern", without("IDLE", "UIDPLUS", "QRESYNC", "ESEARCH", "LIST-STATUS", "SPECIAL-USE")),
        ("yandex", with_nils),
    ],
    ids=["no IDLE", "nothing but IDLE", "CONDSTORE and OBJECTID only", "NIL everywhere"],
)
class TestServer:
    async def test_is_copied(self, servers: Servers, profile: str, alter: Alter) -> None:
        async with open_imap_stage(servers, profile, messages=8, alter=alter) as stage:
            await stage.imap.import_message(large_message())
            await changes(stage)
            assert stage.altered is not None
            said = stage.altered.commands()
            assert {"AUTHENTICATE", "LIST", "EXAMINE", "UID FETCH"} <= said
            for optional in (b"IDLE", b"NAMESPACE"):
                assert (optional.decode() in said) == (optional in alter(b"* CAPABILITY " + optional + b" X\r\n"))
            assert not said & {"MOVE", "UNSELECT", "XLIST", "UID EXPUNGE", "ESEARCH"}


def places(mail: Mapping[str, Copied]) -> set[tuple[str | None, str]]:
    """Return the subjects of messages with each of their folders and flags."""
    return {(each.subject, label) for each in mail.values() for label in each.labels}


async def passes(stage: ImapStage, count: int) -> None:
    """Let the worker look at the mailbox so often."""
    for _ in range(count):
        await stage.hint()
        await stage.until_idle()


async def until_subjects(stage: ImapStage, *subjects: str) -> None:
    """Wait until these are the subjects of the copy; the worker is told to look now and then."""

    async def are_there() -> bool:
        await passes(stage, 1)
        return {message.subject for message in await stage.listed()} == set(subjects)

    await eventually(are_there)


def with_shared_folders(line: bytes) -> bytes:
    """Tell of folders that others share, such as those of this user."""
    return line.replace(b"NIL NIL", b'(("Users|" "|")) (("Shared|" "|"))') if b" NAMESPACE (" in line else line


class TestFoldersOfOthers:
    async def test_are_not_copied(self, servers: Servers) -> None:
        async with open_imap_stage(servers, "yandex", alter=with_shared_folders) as stage:
            for name in ("Shared/all", "Users/bob", "Mine"):
                await stage.imap.deliver(subject=f"in {name}", labels=[await stage.create_folder(name)])
            await stage.sync(count=None)
            await until_subjects(stage, "in Mine")

    async def test_are_forgotten_that_were_copied_before(self, servers: Servers) -> None:
        knows = False

        def alter(line: bytes) -> bytes:
            return with_shared_folders(line) if knows else line

        async with open_imap_stage(servers, "yandex", alter=alter) as stage:
            for name in ("Shared/all", "Mine"):
                await stage.imap.deliver(subject=f"in {name}", labels=[await stage.create_folder(name)])
            await stage.sync(count=None)
            await until_subjects(stage, "in Mine", "in Shared/all")
            knows = True
            await stage.imap.control("DELETE", f"users/{EMAIL}/connections")
            await passes(stage, 2)
            await stage.pool.execute("UPDATE mail_folders SET missing_since = missing_since - interval '1 hour'")
            await until_subjects(stage, "in Mine")


class TestServerWithoutSizes:
    async def test_is_copied_though_its_messages_are_others_when_they_move(self, servers: Servers) -> None:
        async with open_imap_stage(servers, "yandex", messages=5, alter=with_nils_for_sizes) as stage:
            assert (await stage.sync(count=None)).sync.state is SyncState.COMPLETED
            work = await stage.create_folder("Work")
            moved = await stage.imap.deliver(subject="moved", text="one")
            await passes(stage, 1)
            await stage.imap.relabel(moved, add=[work], remove=["INBOX"])
            await passes(stage, 3)
            # One in two folders is two messages: nothing tells that they are the same.
            assert places(await stage.copied_mail()) == places(await stage.true_mail())


class TestMessagesThatEndTheConnection:
    async def test_that_use_up_the_sign_ins_of_each_turn_are_given_up(self, servers: Servers) -> None:
        """The call that would tell an outage finds no sign-in left, either."""

        def cut(line: bytes) -> bytes:
            if b"BODY[]" in line:
                raise ConnectionResetError
            return line

        async with open_imap_stage(servers, "yandex", alter=cut, login_window=1.0) as stage:
            for number in range(9):
                await stage.imap.deliver(subject=f"new {number}")
            await stage.request(count=None)

            async def are_counted() -> bool:
                return bool(await stage.pool.fetchval("SELECT min(attempts) >= 2 FROM fetch_queue"))

            await eventually(are_counted)

    async def test_let_others_through_while_they_are_tried_again(self, servers: Servers) -> None:
        """Nine of them take each sign-in of a window, unless some are left to others."""

        def cut(line: bytes) -> bytes:
            if _BAD_BODIES.search(line):
                raise ConnectionResetError
            return line

        retries = Retries(base_seconds=0.01)
        async with open_imap_stage(servers, "yandex", alter=cut, login_window=3.0, retries=retries) as stage:
            for number in range(1, 14):
                await stage.imap.deliver(subject=f"new {number}")
            await stage.request(count=None)
            good = {f"new {number}" for number in range(1, 5)}

            async def are_there() -> bool:
                return {message.subject for message in await stage.listed()} == good

            await eventually(are_there)
            good.add("newer")
            await stage.imap.deliver(subject="newer")
            await eventually(are_there)
            assert await stage.pool.fetchval("SELECT count(*) FROM dead_letters") == 0


class TestMessagesWhoseHeadersEndTheConnection:
    @pytest.mark.parametrize("synced_before", [True, False])
    async def test_keep_no_others_from_being_copied(self, servers: Servers, synced_before: bool) -> None:
        """In a look, and in a listing; a window has sign-ins for some of them only."""

        def cut(line: bytes) -> bytes:
            if _HEADERS.search(line):
                raise ConnectionResetError
            return line

        subjects = [f"new {number}" for number in range(1, 11)]
        async with open_imap_stage(servers, "yandex", alter=cut, login_window=3.0) as stage:
            if synced_before:
                await stage.sync(count=None)
            for subject in subjects:
                await stage.imap.deliver(subject=subject)
            if not synced_before:
                assert (await stage.sync(count=None)).sync.state is SyncState.COMPLETED
            await until_subjects(stage, *subjects)


class TestMessagesWhoseAttributesEndTheConnection:
    @pytest.mark.parametrize(
        ("profile", "synced_before"), [("yandex", True), ("yandex", False), ("modern", True), ("modern", False)]
    )
    async def test_are_copied_and_keep_no_others_from_it(
        self, servers: Servers, profile: str, synced_before: bool
    ) -> None:
        def cut(line: bytes) -> bytes:
            if _ATTRIBUTES.search(line):
                raise ConnectionResetError
            return line

        subjects = [f"new {number}" for number in range(1, 10)]
        async with open_imap_stage(servers, profile, alter=cut, login_window=2.0) as stage:
            if synced_before:
                await stage.sync(count=None)
            first, *_ = [await stage.imap.deliver(subject=subject) for subject in subjects]
            if not synced_before:
                assert (await stage.sync(count=None)).sync.state is SyncState.COMPLETED
            await until_subjects(stage, *subjects)
            logins = (await stage.imap.account())["logins"]
            await stage.imap.relabel(first, remove=["UNREAD"])

            async def is_read() -> bool:
                await passes(stage, 1)
                return {each.subject for each in await stage.listed() if each.is_read} == {subjects[0]}

            await eventually(is_read)
            # What was found out is known to later passes.
            assert (await stage.imap.account())["logins"] == logins


async def stale_folders(stage: ImapStage) -> set[str]:
    """Return the folders that users see to be out of date."""
    listed = await stage.messages.labels(await stage.mailbox())
    return {each.label.name for each in listed if each.stale_since is not None}


class TestFolderThatNeverOpens:
    async def test_is_stale_from_the_first_sync_on(self, servers: Servers) -> None:
        async with open_imap_stage(servers, "yandex") as stage:
            work = await stage.create_folder("Work")
            await stage.imap.deliver(subject="not to be seen", labels=[work])
            await stage.imap.deliver(subject="there")
            await stage.imap.plan(method="imap.examine", path="Work", kind="error")
            assert (await stage.sync(count=None)).sync.state is SyncState.COMPLETED
            assert {message.subject for message in await stage.listed()} == {"there"}
            assert await stale_folders(stage) == {"Work"}


class TestFolderThatAlwaysFails:
    @pytest.mark.parametrize("profile", ["yandex", "modern"])
    async def test_is_stale_delays_deletions_by_a_day_and_blocks_nothing_else(
        self, servers: Servers, profile: str
    ) -> None:
        async with open_imap_stage(servers, profile) as stage:
            work = await stage.create_folder("Work")
            await stage.imap.deliver(subject="in the folder", labels=[work])
            gone = await stage.imap.deliver(subject="deleted elsewhere")
            await stage.sync(count=None)
            await stage.equals()
            await stage.imap.plan(method="imap.examine", path="Work", kind="error")
            await stage.imap.deliver(subject="not to be seen", labels=[work])
            await stage.imap.deliver(subject="new")
            await stage.imap.control("DELETE", f"users/{EMAIL}/messages/{gone}")
            await until_subjects(stage, "in the folder", "deleted elsewhere", "new")
            assert (await stage.sync(count=None)).sync.state is SyncState.COMPLETED
            await passes(stage, 3)
            await until_subjects(stage, "in the folder", "deleted elsewhere", "new")
            assert await stale_folders(stage) == {"Work"}
            await stage.pool.execute("UPDATE mail_folders SET failing_since = failing_since - interval '1 day'")
            await passes(stage, 2)
            await until_subjects(stage, "in the folder", "new")
            await stage.imap.control("DELETE", "faults")
            await stage.equals()
            assert await stale_folders(stage) == set()
