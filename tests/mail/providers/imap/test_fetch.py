"""Messages are fetched from a place at which they are, whatever becomes of their folders."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from services.mail.content.model import ParsedMessage
from services.mail.content.parse import parse_raw
from services.mail.model import ProviderMessage
from services.mail.providers.base import Get
from services.mail.providers.errors import (
    MessageGoneError,
    OwnLimitError,
    PostponedError,
    ProviderError,
    ProviderUnavailableError,
)
from services.mail.providers.folder_history.model import KnownFolder, Location
from services.mail.providers.folder_history.port import Folder
from services.mail.providers.imap.client.connection import Connection
from services.mail.providers.imap.content.contents import ImapContents
from services.mail.providers.imap.fetch import MovedError, Snapshot, Snapshots, fetch
from services.mail.providers.imap.folders import ImapFolders
from services.mail.providers.imap.mailbox_session import ImapMailboxSession
from services.mail.providers.imap.session import ImapSession
from services.mail.store.connection import Connection as Database
from services.mail.store.folder_history import folders, passes
from tests.support.folder_history.fake_folders import FakeFolders, key_of
from tests.support.folder_history.observed_history import ObservedHistory
from tests.support.imap.mailbox_stage import open_imap_stage
from tests.support.mail.logged_pool import LoggedPool
from tests.support.mail.servers import Servers
from tests.support.mail.stored import add_mailbox
from tests.support.mail.waiting import eventually
from tests.support.sandbox.imap_servers import EMAIL


def folder(folder_id: int, *, missing_for: float | None = None, failing_for: float | None = None) -> KnownFolder:
    """Return a folder."""
    name = f"folder {folder_id}"
    return KnownFolder(
        folder_id=folder_id,
        folder=Folder(key=name, path=name, name=name, role=""),
        state=None,
        token=None,
        generation=1,
        known=1,
        looked_pass=1,
        is_retiring=False,
        is_gone=False,
        missing_for=missing_for,
        failing_for=failing_for,
        restarted_ago=None,
        failures=0,
        doubtful_in=None,
    )


def place(folder_id: int) -> Location:
    """Return a place of the message `one`."""
    arrived_at = datetime(2026, 1, 1, tzinfo=UTC)
    return Location(
        folder_id=folder_id,
        generation=1,
        key="1",
        external_id="one",
        size=1,
        arrived_at=arrived_at,
        marks=frozenset(),
        gone_in=None,
    )


class TestPlace:
    def test_is_in_a_folder_that_is_there_if_there_is_one(self) -> None:
        known = [folder(1, missing_for=3.0), folder(2, failing_for=3.0), folder(3)]
        found = Snapshot(revision=1, known=known, places=map(place, (1, 2, 3)))
        assert found.place_of("one") == place(3)

    def test_is_in_a_doubtful_folder_if_there_is_no_other(self) -> None:
        gone = replace(place(2), gone_in=4)
        found = Snapshot(revision=1, known=[folder(1, missing_for=3.0), folder(2)], places=[place(1), gone])
        assert found.place_of("one") == place(1)

    def test_is_in_no_folder_that_is_numbered_anew(self) -> None:
        found = Snapshot(revision=1, known=[replace(folder(1), generation=2)], places=[place(1)])
        assert (found.place_of("one"), found.knows("one")) == (None, True)


class TestFetch:
    async def test_asks_no_further_folders_after_a_limit(self) -> None:
        sign_ins = 0

        async def open_() -> Connection:
            nonlocal sign_ins
            sign_ins += 1
            raise OwnLimitError("too many logins", retry_after=300.0)

        places = [replace(place(number), external_id=str(number)) for number in (1, 2)]
        found = Snapshot(revision=1, known=[folder(1), folder(2)], places=places)
        results = await fetch(found, ["1", "2", "gone"], ImapContents(ImapSession(open_)))
        assert [type(each) for each in (results["1"], results["2"], results["gone"])] == [
            OwnLimitError,
            OwnLimitError,
            MessageGoneError,
        ]
        assert sign_ins == 1


class OnlyMessage:
    """Contents of a mailbox in which one message is at its place; the others have been moved."""

    def __init__(self, key: str) -> None:
        self._key = key

    async def fetch(
        self, folder: Folder, sizes: Mapping[str, int], *, state: str, singly: bool
    ) -> Mapping[str, ParsedMessage | ProviderError]:
        """As ImapContents."""
        del folder, state, singly
        return {key: parse_raw(b"Subject: x\r\n\r\n") if key == self._key else MessageGoneError(key) for key in sizes}


class TestMovedMessage:
    async def test_that_cannot_be_looked_for_keeps_the_others(self, servers: Servers) -> None:
        await servers.empty()
        async with servers.pool.acquire() as connection:
            mailbox_id = (await add_mailbox(connection)).mailbox_id
        observed = ObservedHistory(servers.pool, mailbox_id, FakeFolders())
        there, moved = (observed.provider.add("Inbox", content) for content in ("there", "moved"))
        await observed.begin()

        @asynccontextmanager
        async def writing() -> AsyncIterator[Database]:
            async with servers.pool.acquire() as connection:
                yield connection

        unused: Any = None
        session = ImapMailboxSession(
            mailbox_id,
            session=unused,
            folders=cast("ImapFolders", observed.provider),
            contents=cast("ImapContents", OnlyMessage(key_of(there))),
            marks=unused,
            quiet=unused,
            keeper=unused,
            pool=servers.pool,
            writing=writing,
            step_seconds=1.0,
        )
        observed.provider.remove("Inbox", moved)
        observed.provider.cut_in = 0
        gets = [Get(external_ids=(each,), thread_id=None, units=1) for each in ("there", "moved")]
        results = await session.fetch(gets)
        assert isinstance(results["there"], ProviderMessage)
        assert isinstance(results["moved"], ProviderUnavailableError)


class TestSnapshots:
    async def test_read_folders_again_after_a_step_of_a_pass_only(self, servers: Servers) -> None:
        await servers.empty()
        async with servers.pool.acquire() as connection:
            mailbox_id = (await add_mailbox(connection)).mailbox_id
            pool = LoggedPool(servers.pool)
            snapshots = Snapshots(pool.as_pool, mailbox_id)
            assert (await snapshots.take([])).folders == {}
            await passes.begin(connection, mailbox_id)
            await folders.record_listed(connection, mailbox_id, [folder(1).folder], is_complete=True)
        for _ in range(3):
            assert (await snapshots.take([])).folders == {}
        assert len(pool.with_text("mail_folders")) == 1
        snapshots.outdate()
        assert [each.folder for each in (await snapshots.take([])).folders.values()] == [folder(1).folder]


class TestFolderThatIsDeleted:
    @pytest.mark.parametrize(("missing_for", "error"), [(100.0, PostponedError), (400.0, MovedError)])
    async def test_postpones_its_messages_for_some_minutes(self, missing_for: float, error: type[Exception]) -> None:
        """A server can say for ever that a folder is there which it does not list."""
        found = Snapshot(revision=1, known=[folder(1, missing_for=missing_for)], places=[place(1)])
        results = await fetch(found, ["one"], cast("ImapContents", OnlyMessage("none")))
        assert type(results["one"]) is error

    async def test_holds_up_no_messages_that_have_left_it(self, servers: Servers) -> None:
        async with open_imap_stage(servers, "modern") as stage:
            work = await stage.create_folder("Work")
            await stage.sync(count=None)
            # The look at the folder fetches attributes twice; the contents do not come.
            await stage.imap.plan(method="imap.fetch", kind="cut_literal", path=work, after=2)
            subjects = {f"in Work {number}" for number in range(4)}
            for subject in subjects:
                await stage.imap.deliver(subject=subject, labels=[work])
            await stage.hint()

            async def have_failed() -> bool:
                return bool(await stage.fetchval("SELECT bool_or(attempts > 0) FROM fetch_queue"))

            await eventually(have_failed)
            await stage.imap.control("DELETE", f"users/{EMAIL}/labels/{work}")
            await stage.imap.control("DELETE", "faults")

            async def are_copied() -> bool:
                await stage.hint()
                return {message.subject for message in await stage.listed()} == subjects

            await eventually(are_copied)

    async def test_gives_up_no_message_before_it_is_known_to_be_deleted_with_it(self, servers: Servers) -> None:
        async with open_imap_stage(servers, "modern") as stage:
            work = await stage.create_folder("Work")
            await stage.sync(count=None)
            await stage.imap.plan(method="imap.fetch", kind="cut_literal", path=work, after=2)
            lost = await stage.imap.deliver(subject="lost", labels=[work])
            await stage.hint()

            async def has_failed() -> bool:
                return bool(await stage.fetchval("SELECT bool_or(attempts > 0) FROM fetch_queue"))

            await eventually(has_failed)
            await stage.imap.control("DELETE", f"users/{EMAIL}/messages/{lost}")
            await stage.imap.control("DELETE", f"users/{EMAIL}/labels/{work}")
            await stage.imap.control("DELETE", "faults")

            async def is_missing() -> bool:
                await stage.hint()
                return bool(await stage.fetchval("SELECT bool_or(missing_since IS NOT NULL) FROM mail_folders"))

            await eventually(is_missing)
            before = await stage.fetchval("SELECT attempts FROM fetch_queue")
            for _ in range(3):
                await stage.pool.execute("UPDATE fetch_queue SET not_before = '-infinity'")

                async def is_postponed() -> bool:
                    await stage.hint()
                    return bool(await stage.fetchval("SELECT not_before > now() FROM fetch_queue"))

                await eventually(is_postponed)
            # The first time it may have failed before the folder was known to be missing.
            assert await stage.fetchval("SELECT attempts FROM fetch_queue") <= before + 1
            await stage.pool.execute("UPDATE mail_folders SET missing_since = missing_since - interval '1 hour'")

            async def is_over() -> bool:
                await stage.pool.execute("UPDATE fetch_queue SET not_before = '-infinity'")
                await stage.hint()
                return not await stage.fetchval("SELECT count(*) FROM fetch_queue")

            await eventually(is_over)
            assert await stage.fetchval("SELECT count(*) FROM dead_letters") == 0
