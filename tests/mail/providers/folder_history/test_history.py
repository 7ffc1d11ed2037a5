"""The history of a mailbox, made from looks at its folders."""

import tracemalloc
from dataclasses import replace
from datetime import timedelta

import pytest

from services.mail.providers.errors import ProviderUnavailableError
from services.mail.providers.folder_history.model import Phase
from services.mail.providers.folder_history.pass_context import HistoryLimits
from services.mail.providers.folder_history.port import Folder, FolderListing, Item, KeyRange, Page
from services.mail.store.folder_history import folders, locations
from tests.support.folder_history.fake_folders import FakeFolders, arrival_of, key_of
from tests.support.folder_history.observed_history import SMALL, ObservedHistory
from tests.support.mail.logged_pool import LoggedPool
from tests.support.mail.servers import Servers

INBOX, WORK = ("folder", "Inbox"), ("folder", "Work")
SEEN = ("mark", "seen")


async def age(observed: ObservedHistory, column: str, interval: str) -> None:
    """Let time pass for a column of folders."""
    async with observed.pool.acquire() as connection:
        await connection.execute(
            f"UPDATE mail_folders SET {column} = {column} - $2::text::interval WHERE mailbox_id = $1",  # noqa: S608
            observed.mailbox_id,
            interval,
        )


async def is_retiring(observed: ObservedHistory) -> bool:
    """Return whether messages of a folder's earlier numbering are not marked as gone yet."""
    async with observed.pool.acquire() as connection:
        query = "SELECT bool_or(is_retiring) FROM mail_folders WHERE mailbox_id = $1"
        return bool(await connection.fetchval(query, observed.mailbox_id))


async def phase(observed: ObservedHistory) -> str:
    """Return the phase of the pass."""
    async with observed.pool.acquire() as connection:
        query = "SELECT phase FROM folder_histories WHERE mailbox_id = $1"
        return str(await connection.fetchval(query, observed.mailbox_id))


async def equals(observed: ObservedHistory) -> bool:
    """Return whether the copy equals the provider."""
    await observed.follow()
    return await observed.named_copy() == observed.provider.contents()


@pytest.fixture
async def begun(observed: ObservedHistory) -> ObservedHistory:
    """Return a history after its first pass and listing: seven messages in the inbox, two in Work."""
    for content in "abcdefg":
        observed.provider.add("Inbox", content)
    observed.provider.create("Work")
    for content in "hi":
        observed.provider.add("Work", content)
    await observed.begin()
    return observed


class TestFirstPass:
    async def test_finds_all_messages_and_records_none(self, begun: ObservedHistory) -> None:
        assert await equals(begun)
        assert begun.revision == 0
        assert begun.added == []

    async def test_asks_for_ids_of_listed_messages_only(self, observed: ObservedHistory) -> None:
        observed.provider.add("Inbox", "a")
        await observed.look()
        assert observed.provider.identified == []
        await observed.list_all()
        assert observed.provider.identified == ["Inbox/1"]

    async def test_looks_up_no_message_of_a_new_folder(self, servers: Servers, observed: ObservedHistory) -> None:
        observed.provider.add("Inbox", "a")
        pool = LoggedPool(servers.pool)
        await replace(observed, pool=pool.as_pool).look()
        assert len(pool.with_text("INSERT INTO mail_locations")) == 1
        assert pool.with_text("key = ANY", "key BETWEEN") == []

    async def test_needs_no_ids_where_the_provider_has_them(self, observed: ObservedHistory) -> None:
        observed.provider.gives_ids = True
        observed.provider.add("Inbox", "a")
        await observed.begin()
        assert await equals(observed)
        assert observed.provider.identified == []

    async def test_of_a_provider_without_folders_is_refused(self, observed: ObservedHistory) -> None:
        observed.provider.by_name.clear()
        with pytest.raises(ProviderUnavailableError):
            await observed.history.step()


class TestListing:
    async def test_gives_the_messages_of_a_folder_one_after_the_other_within_a_page(
        self, observed: ObservedHistory
    ) -> None:
        observed.provider.create("Work")
        for name, content in (("Work", "a"), ("Inbox", "b"), ("Work", "c"), ("Inbox", "d")):
            observed.provider.add(name, content)
        assert sorted("abcd", key=arrival_of, reverse=True) == ["c", "b", "a", "d"]
        await observed.look()
        page = await observed.history.list_page(token=None, limit=3)
        assert page.external_ids == ["c", "a", "b"]
        page = await observed.history.list_page(token=page.token, limit=3)
        assert page.external_ids == ["d"]

    async def test_shows_a_copy_without_an_id_with_the_message_that_a_look_has_identified(
        self, observed: ObservedHistory
    ) -> None:
        observed.provider.create("Work")
        observed.provider.identified_at_once = {"Work"}
        for folder in ("Inbox", "Work"):
            observed.provider.add(folder, "a")
        await observed.look()
        page = await observed.history.list_page(token=None, limit=1)
        async with observed.pool.acquire() as connection:
            places = await locations.of_messages(connection, observed.mailbox_id, page.external_ids)
        assert (page.external_ids, len(places)) == (["a"], 2)

    async def test_tells_whether_messages_have_moved_between_its_pages(self, observed: ObservedHistory) -> None:
        observed.provider.create("Work")
        for content in "abcd":
            observed.provider.add("Inbox", content)
        await observed.look()
        first = await observed.history.list_page(token=None, limit=2)
        second = await observed.history.list_page(token=first.token, limit=3)
        assert second.skips_none
        assert (len(first.external_ids), len(second.external_ids), second.token) == (2, 2, None)
        observed.provider.move("Inbox", 1, "Work")
        await observed.look()
        assert not (await observed.history.list_page(token=first.token, limit=3)).skips_none

    async def test_waits_for_a_folder_that_fails_as_long_as_it_may_recover(self, observed: ObservedHistory) -> None:
        observed.provider.add("Inbox", "a")
        observed.provider.create("Work")
        observed.provider.add("Work", "b")
        await observed.look()
        observed.provider.failing.add("Work")
        for _ in range(2):
            with pytest.raises(ProviderUnavailableError):
                await observed.list_all()
        await age(observed, "failing_since", "10 minutes")
        page = await observed.history.list_page(token=None, limit=5)
        assert page.external_ids == ["a"]
        observed.provider.failing.clear()
        page = await observed.history.list_page(token=None, limit=5)
        assert set(page.external_ids) == {"a", "b"}

    @pytest.mark.parametrize(
        ("name", "errors"),
        [pytest.param("Inbox", "failing", id="inbox-refused"), pytest.param("Work", "down", id="folder-down")],
    )
    async def test_waits_for_a_folder_at_which_no_pass_could_look_yet(
        self, observed: ObservedHistory, name: str, errors: str
    ) -> None:
        observed.provider.add("Inbox", "a")
        observed.provider.create("Work")
        observed.provider.add("Work", "b")
        getattr(observed.provider, errors).add(name)
        for _ in range(2):
            await observed.look()
            with pytest.raises(ProviderUnavailableError):
                await observed.list_all()
        await age(observed, "failing_since", "10 minutes")
        await observed.list_all()
        assert len(observed.copy) == 1
        getattr(observed.provider, errors).clear()
        await observed.settle()
        assert observed.copy.keys() == {"a", "b"}

    async def test_waits_for_no_folder_that_the_provider_has_always_refused(self, observed: ObservedHistory) -> None:
        observed.provider.add("Inbox", "a")
        observed.provider.create("Of others")
        observed.provider.failing.add("Of others")
        await observed.look()
        await observed.list_all()
        assert observed.copy.keys() == {"a"}

    async def test_takes_no_ids_from_a_folder_that_is_numbered_anew(self, observed: ObservedHistory) -> None:
        for content in "abc":
            observed.provider.add("Inbox", content)
        await observed.look()
        observed.provider.remove("Inbox", 1)
        observed.provider.reset("Inbox")
        with pytest.raises(ProviderUnavailableError):
            await observed.list_all()
        assert observed.provider.identified == []
        await observed.settle()
        page = await observed.history.list_page(token=None, limit=5)
        assert set(page.external_ids) == {"b", "c"}

    async def test_leaves_messages_of_an_earlier_numbering_to_the_look(self, observed: ObservedHistory) -> None:
        for content in "abcdefg":
            observed.provider.add("Inbox", content)
        await observed.look()
        observed.provider.remove("Inbox", 1)
        observed.provider.reset("Inbox")
        while not await is_retiring(observed):
            await observed.take_steps(1)
        await observed.list_all()
        assert observed.copy == {}
        await observed.settle()
        assert set(observed.added) == set("bcdefg")
        assert await equals(observed)


class TestLook:
    async def test_adds_new_messages(self, begun: ObservedHistory) -> None:
        begun.provider.add("Inbox", "new", {"flagged"})
        await begun.look()
        assert await equals(begun)
        assert begun.added == ["new"]

    async def test_records_marks(self, begun: ObservedHistory) -> None:
        begun.provider.by_name["Inbox"].messages[1].marks = frozenset({"seen"})
        await begun.look()
        await begun.follow()
        assert (await begun.named_copy())["a"] == {INBOX, SEEN}
        begun.provider.by_name["Inbox"].messages[1].marks = frozenset()
        await begun.look()
        await begun.follow()
        assert (await begun.named_copy())["a"] == {INBOX}

    async def test_without_changes_records_nothing(self, begun: ObservedHistory) -> None:
        await begun.settle()
        assert begun.revision == 0

    async def test_gives_a_copy_the_same_id(self, begun: ObservedHistory) -> None:
        begun.provider.add("Work", "a")
        await begun.look()
        assert await equals(begun)
        assert begun.added == []

    async def test_that_identifies_a_copy_at_once_identifies_the_message_that_it_equals(
        self, observed: ObservedHistory
    ) -> None:
        observed.provider.create("Work")
        observed.provider.add("Inbox", "a")
        await observed.look()
        observed.provider.identified_at_once = {"Work"}
        observed.provider.add("Work", "a")
        await observed.look()
        await observed.follow()
        # It was there before, and no listing has shown it yet.
        assert observed.added == []

    async def test_counts_two_copies_in_one_folder_as_one_message(self, begun: ObservedHistory) -> None:
        number = begun.provider.add("Inbox", "a", {"seen"})
        await begun.look()
        assert await equals(begun)
        begun.provider.remove("Inbox", number)
        await begun.settle()
        assert await equals(begun)
        assert begun.deleted == []

    async def test_ends_however_many_messages_come_meanwhile(self, begun: ObservedHistory) -> None:
        for number in range(20):
            begun.provider.add("Inbox", f"new{number}")
            await begun.take_steps(1)
        await begun.settle()
        assert await equals(begun)

    async def test_gives_an_id_of_its_own_where_the_provider_has_none(self, begun: ObservedHistory) -> None:
        begun.provider.nameless = {"odd"}
        number = begun.provider.add("Inbox", "odd")
        await begun.look()
        await begun.follow()
        [external_id] = begun.added
        assert external_id.endswith(key_of(number))

    async def test_keeps_the_ids_that_it_got_before_an_error(self, begun: ObservedHistory) -> None:
        """Sign-ins are few: what a look has learnt with them is not learnt again."""
        begun.limits = HistoryLimits(missing=0.0)
        begun.provider.window = 10
        begun.provider.nameless = {"odd1", "odd2"}
        for content in ("odd1", "plain1", "odd2", "plain2"):
            begun.provider.add("Inbox", content)
        begun.provider.identified.clear()
        # A step each begins a pass and looks at the inbox; the calls are those for folders, a page, and ids.
        begun.provider.cut_in = 3
        await begun.take_steps(2)
        await begun.follow()
        assert [external_id.endswith(key_of(8)) for external_id in begun.added] == [True]
        await begun.look()
        await begun.follow()
        assert len(begun.added) == 4
        asked = [each for each in begun.provider.identified if each == "Inbox/8"]
        assert (len(asked), {"plain1", "plain2"} <= set(begun.added)) == (1, True)


class TestMove:
    @pytest.mark.parametrize(("source", "target"), [("Inbox", "Work"), ("Work", "Inbox")])
    async def test_keeps_the_id(self, begun: ObservedHistory, source: str, target: str) -> None:
        begun.provider.move(source, 1, to=target)
        for _ in range(3):
            await begun.look()
            await begun.follow()
        assert await equals(begun)
        assert (begun.deleted, begun.added) == ([], [])

    async def test_shows_the_message_where_it_was_until_it_turns_up(self, begun: ObservedHistory) -> None:
        begun.provider.lies["Work"] = {3}
        begun.provider.move("Inbox", 1, to="Work")
        await begun.look()
        await begun.follow()
        assert (await begun.named_copy())["a"] == {INBOX}
        begun.provider.lies.clear()
        await begun.look()
        assert await equals(begun)

    async def test_between_two_looks_of_a_pass_is_no_deletion(self, begun: ObservedHistory) -> None:
        """The target is looked at before the message comes, the source after it has left."""
        begun.provider.move("Work", 1, to="Inbox")
        await begun.settle()
        number = max(begun.provider.by_name["Inbox"].messages)
        # Folders are looked at in this order: Inbox, then Work.
        await begun.take_steps(5)
        begun.provider.move("Inbox", number, to="Work")
        await begun.settle()
        assert await equals(begun)
        assert begun.deleted == []

    async def test_in_a_complete_copy_is_found_without_an_id(self, observed: ObservedHistory) -> None:
        observed.provider.create("Work")
        observed.provider.add("Inbox", "a")
        await observed.look()
        observed.provider.move("Inbox", 1, to="Work")
        await observed.look()
        await observed.follow()
        assert observed.added == ["a"]


class TestQuietFolder:
    async def test_is_not_looked_at(self, begun: ObservedHistory) -> None:
        begun.provider.quiet = {"Work"}
        begun.provider.looked_at.clear()
        begun.provider.add("Inbox", "new")
        await begun.look()
        assert set(begun.provider.looked_at) == {"Inbox"}
        assert await equals(begun)

    async def test_that_failed_is_looked_at(self, begun: ObservedHistory) -> None:
        begun.provider.failing.add("Work")
        await begun.look()
        begun.provider.failing.clear()
        begun.provider.quiet = {"Work"}
        begun.provider.remove("Work", 1)
        await begun.settle()
        assert await equals(begun)


class TestDeletion:
    async def test_takes_two_passes(self, begun: ObservedHistory) -> None:
        begun.provider.remove("Inbox", 1)
        await begun.look()
        await begun.follow()
        assert begun.deleted == []
        await begun.look()
        await begun.follow()
        assert begun.deleted == ["a"]
        assert await equals(begun)

    async def test_is_none_of_a_message_that_one_look_does_not_see(self, begun: ObservedHistory) -> None:
        begun.provider.lies["Inbox"] = {1}
        await begun.look()
        begun.provider.lies.clear()
        await begun.settle()
        assert await equals(begun)
        assert begun.deleted == []

    async def test_is_seen_at_the_ends_of_what_a_page_covers(self, observed: ObservedHistory) -> None:
        item = Item(key=key_of(1), size=1, arrived_at=arrival_of(""))
        async with observed.pool.acquire() as connection:
            for number in range(1, 6):
                await locations.put(connection, observed.mailbox_id, 1, 1, [replace(item, key=key_of(number))], {})
            gone = await locations.absent(
                connection,
                observed.mailbox_id,
                1,
                1,
                KeyRange(key_of(2), key_of(4)),
                present=[key_of(3)],
                limit=9,
            )
        assert [int(each.key) for each in gone] == [2, 4]

    async def test_waits_for_messages_of_equal_size_without_an_id(self, observed: ObservedHistory) -> None:
        """A copy that was never listed may be the message."""
        observed.provider.create("Work")
        observed.provider.add("Inbox", "a", delay=timedelta(hours=1))
        observed.provider.add("Work", "a")
        await observed.look()
        page = await observed.history.list_page(token=None, limit=1)
        assert page.external_ids == ["a"]
        observed.copy["a"] = {"folder:1"}
        observed.provider.remove("Inbox", 1)
        await observed.settle()
        assert await equals(observed)
        assert observed.deleted == []

    async def test_of_one_copy_leaves_the_others(self, observed: ObservedHistory) -> None:
        """Copies with the same arrival get their ids together."""
        observed.provider.create("Work")
        for name in ("Inbox", "Work"):
            observed.provider.add(name, "a")
        await observed.look()
        page = await observed.history.list_page(token=None, limit=1)
        assert page.external_ids == ["a"]
        assert sorted(observed.provider.identified) == ["Inbox/1", "Work/1"]

    async def test_is_delayed_by_a_folder_that_fails(self, begun: ObservedHistory) -> None:
        begun.provider.failing.add("Work")
        begun.provider.remove("Inbox", 1)
        begun.provider.add("Inbox", "new")
        await begun.settle()
        assert (begun.deleted, begun.added) == ([], ["new"])
        await age(begun, "failing_since", "25 hours")
        await begun.settle()
        assert begun.deleted == ["a"]
        begun.provider.failing.clear()
        await begun.settle()
        assert await equals(begun)

    async def test_is_not_delayed_for_ever_by_a_folder_that_may_have_the_message(
        self, observed: ObservedHistory
    ) -> None:
        observed.provider.create("Work")
        observed.provider.add("Inbox", "a", delay=timedelta(hours=1))
        observed.provider.add("Work", "b")
        await observed.look()
        page = await observed.history.list_page(token=None, limit=1)
        assert page.external_ids == ["a"]
        observed.copy["a"] = {"folder:1"}
        observed.provider.failing.add("Work")
        observed.provider.remove("Inbox", 1)
        await observed.settle()
        assert observed.deleted == []
        await age(observed, "failing_since", "25 hours")
        await observed.settle()
        assert observed.deleted == ["a"]

    async def test_is_not_delayed_for_ever_by_a_folder_that_refuses_the_proof(self, begun: ObservedHistory) -> None:
        begun.provider.lies["Inbox"] = {1, 2, 3, 4, 5}
        await begun.look()
        begun.provider.failing.add("Inbox")
        await begun.settle()
        assert begun.deleted == []
        await age(begun, "failing_since", "25 hours")
        await begun.settle()
        assert sorted(begun.deleted) == list("abcde")
        begun.provider.failing.clear()
        begun.provider.lies.clear()
        await begun.settle()
        assert await equals(begun)

    async def test_of_many_messages_needs_a_proof(self, begun: ObservedHistory) -> None:
        begun.provider.lies["Inbox"] = {1, 2, 3, 4, 5}
        await begun.settle()
        assert begun.deleted == []
        assert begun.provider.proofs > 0
        begun.provider.lies.clear()
        await begun.settle()
        assert await equals(begun)

    async def test_ends_its_pass_where_a_folder_is_numbered_anew_before_the_proof(self, begun: ObservedHistory) -> None:
        begun.provider.lies["Inbox"] = {1, 2, 3, 4, 5}
        await begun.look()
        while await phase(begun) != Phase.SETTLE:
            await begun.take_steps(1)
        begun.provider.reset("Inbox")
        begun.provider.lies.clear()
        await begun.settle()
        assert begun.provider.proofs > 0
        assert await equals(begun)
        assert begun.deleted == []

    async def test_in_an_answer_that_is_older_than_what_is_known_needs_a_proof(self, begun: ObservedHistory) -> None:
        begun.provider.lies["Inbox"] = {1}
        begun.provider.older = {"Inbox"}
        await begun.settle()
        assert begun.deleted == []
        assert begun.provider.proofs > 0
        begun.provider.lies.clear()
        begun.provider.older.clear()
        await begun.settle()
        assert await equals(begun)

    async def test_of_few_messages_needs_none(self, begun: ObservedHistory) -> None:
        begun.provider.remove("Inbox", 1)
        await begun.settle()
        assert (begun.deleted, begun.provider.proofs) == (["a"], 0)

    async def test_of_all_messages_is_believed_after_the_proof(self, begun: ObservedHistory) -> None:
        begun.provider.by_name["Inbox"].messages.clear()
        await begun.settle()
        assert await equals(begun)
        assert sorted(begun.deleted) == list("abcdefg")
        assert begun.provider.proofs > 0


class TestFolder:
    async def test_that_is_new_is_read(self, begun: ObservedHistory) -> None:
        begun.provider.create("Play")
        begun.provider.add("Play", "new")
        await begun.look()
        assert await equals(begun)

    async def test_that_is_renamed_keeps_its_id(self, begun: ObservedHistory) -> None:
        before = await begun.folder_names()
        begun.provider.rename("Work", "Play")
        begun.provider.add("Play", "new")
        await begun.look()
        assert await equals(begun)
        assert await begun.folder_names() == {
            folder_id: {"Work": "Play"}.get(name, name) for folder_id, name in before.items()
        }
        assert begun.added == ["new"]
        assert "Play/1" not in begun.provider.identified[-1:]

    async def test_whose_key_the_provider_leaves_out_once_stays_one(self, begun: ObservedHistory) -> None:
        begun.provider.keys["Work"] = "another"
        begun.provider.add("Work", "new")
        await begun.look()
        begun.provider.keys.clear()
        await begun.settle()
        assert await equals(begun)
        assert (await begun.folder_names(), begun.added) == ({1: "Inbox", 2: "Work"}, ["new"])

    async def test_that_is_new_and_refused_keeps_no_pass_from_its_end(self, begun: ObservedHistory) -> None:
        begun.provider.rename("Work", "Play")
        begun.provider.failing.add("Play")
        begun.provider.add("Inbox", "new")
        await begun.look()
        assert begun.deleted == []
        begun.provider.failing.clear()
        await begun.settle()
        assert await equals(begun)
        assert begun.added == ["new"]

    async def test_that_takes_the_name_and_numbers_of_another_one_is_another_one(self, begun: ObservedHistory) -> None:
        """Servers number folders by the second of their making."""
        validity = begun.provider.by_name["Work"].validity
        del begun.provider.by_name["Work"]
        begun.provider.create("Play").validity = validity
        for content in "jk":
            begun.provider.add("Play", content)
        await begun.settle()
        assert await equals(begun)
        assert begun.added == ["j", "k"]

    async def test_that_is_deleted_loses_its_messages(self, begun: ObservedHistory) -> None:
        del begun.provider.by_name["Work"]
        await begun.settle()
        assert await equals(begun)
        assert begun.deleted == ["h", "i"]
        assert await begun.folder_names() == {1: "Inbox"}

    async def test_that_is_deleted_delays_nothing_though_it_failed_before(self, begun: ObservedHistory) -> None:
        begun.limits = replace(SMALL, missing=120.0)
        begun.provider.failing.add("Work")
        await begun.look()
        del begun.provider.by_name["Work"]
        begun.provider.remove("Inbox", 1)
        await begun.settle()
        await age(begun, "missing_since", "3 minutes")
        await begun.settle()
        assert await equals(begun)
        assert begun.deleted == ["a", "h", "i"]
        assert await begun.folder_names() == {1: "Inbox"}

    async def test_that_listings_lack_for_a_moment_keeps_messages_that_moved_there(
        self, begun: ObservedHistory
    ) -> None:
        begun.limits = replace(SMALL, missing=120.0)
        begun.provider.move("Inbox", 1, "Work")
        work = begun.provider.by_name.pop("Work")
        await begun.settle()
        assert begun.deleted == []
        begun.provider.by_name["Work"] = work
        await begun.settle()
        assert await equals(begun)
        assert (begun.added, begun.deleted) == ([], [])

    async def test_that_listings_lack_for_a_moment_loses_nothing(self, begun: ObservedHistory) -> None:
        begun.limits = replace(SMALL, missing=120.0)
        work = begun.provider.by_name.pop("Work")
        await begun.settle()
        assert begun.deleted == []
        begun.provider.by_name["Work"] = work
        await begun.settle()
        assert await equals(begun)
        assert begun.deleted == []

    async def test_that_an_incomplete_listing_lacks_is_not_missing(
        self, begun: ObservedHistory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def some() -> FolderListing:
            inbox = Folder(key="Inbox", path="Inbox", name="Inbox", role="inbox")
            return FolderListing(folders=[inbox], is_complete=False)

        monkeypatch.setattr(begun.provider, "folders", some)
        begun.provider.add("Work", "new")
        await begun.settle()
        assert await equals(begun)

    async def test_that_the_provider_still_opens_is_not_gone(
        self, begun: ObservedHistory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def inbox_only() -> FolderListing:
            return FolderListing(folders=[Folder(key="Inbox", path="Inbox", name="Inbox", role="inbox")])

        monkeypatch.setattr(begun.provider, "folders", inbox_only)
        await begun.settle()
        assert begun.deleted == []

    async def test_that_works_again_has_not_failed(self, begun: ObservedHistory) -> None:
        """Four failures in a row leave a folder out of a pass."""
        async with begun.pool.acquire() as connection:
            for _ in range(2):
                await folders.fail(connection, begun.mailbox_id, 1, pass_number=9, skips=False, is_refused=False)
            failed = (await folders.all_of(connection, begun.mailbox_id))[0]
            await folders.go_on(connection, begun.mailbox_id, 1, token="next", state=None, more=0, pass_number=9)
            [inbox, _] = await folders.all_of(connection, begun.mailbox_id)
        assert (failed.failures, inbox.failures, inbox.failing_for, inbox.token) == (2, 0, None, "next")

    async def test_blames_messages_only_where_its_looks_fail_again_and_again(self, begun: ObservedHistory) -> None:
        begun.provider.down.add("Inbox")
        begun.provider.add("Inbox", "new")
        begun.provider.blames.clear()
        await begun.look()
        # The fourth failure leaves the folder out, and the other one has not failed.
        assert begun.provider.blames == [False, False, False, True, False]
        begun.provider.down.clear()
        begun.provider.blames.clear()
        await begun.look()
        await begun.look()
        assert begun.provider.blames[0]
        assert not any(begun.provider.blames[-2:])
        await begun.follow()
        assert begun.added == ["new"]

    async def test_that_fails_keeps_no_other_from_being_read(self, begun: ObservedHistory) -> None:
        begun.provider.failing.add("Inbox")
        begun.provider.add("Work", "new")
        await begun.look()
        await begun.follow()
        assert begun.added == ["new"]


class TestRestart:
    async def test_keeps_ids(self, begun: ObservedHistory) -> None:
        begun.provider.remove("Inbox", 2)
        begun.provider.reset("Inbox")
        begun.provider.add("Inbox", "new")
        await begun.settle()
        assert await equals(begun)
        assert (begun.deleted, begun.added) == (["b"], ["new"])
        assert all(known == stored for known, stored in await begun.counts())

    async def test_shows_messages_meanwhile(self, begun: ObservedHistory) -> None:
        begun.provider.reset("Inbox")
        for _ in range(12):
            await begun.take_steps(1)
            await begun.follow()
            assert set("abcdefghi") <= begun.copy.keys()

    async def test_again_and_again_is_a_failure(self, begun: ObservedHistory) -> None:
        begun.provider.reset("Inbox")
        await begun.settle()
        begun.provider.reset("Inbox")
        begun.provider.add("Inbox", "new")
        begun.provider.remove("Work", 1)
        await begun.settle()
        assert begun.added == []
        await age(begun, "restarted_at", "2 minutes")
        await begun.settle()
        assert await equals(begun)

    def test_is_the_rarer_the_more_messages_the_folder_has(self) -> None:
        limits = HistoryLimits()
        seconds = [limits.between_restarts(messages) for messages in (0, 1_000, 100_000, 10_000_000)]
        assert seconds == [60.0, 160.0, 10_060.0, 6 * 3_600.0]


def change_much(provider: FakeFolders) -> None:
    """Change a mailbox in every way."""
    provider.move("Inbox", 1, to="Work")
    provider.remove("Inbox", 2)
    provider.by_name["Inbox"].messages[3].marks = frozenset({"seen"})
    provider.reset("Work")
    provider.create("Play")
    provider.move("Inbox", 4, to="Play")
    provider.add("Inbox", "new")


class TestCut:
    @pytest.mark.parametrize("place", ["at the provider", "before the commit", "after the commit"])
    async def test_anywhere_changes_nothing(self, begun: ObservedHistory, place: str) -> None:
        """Each call and each transaction of the passes after a change is cut once, the first pass after another."""
        begun.provider.window, begun.limits = 10, replace(SMALL, rows=10)
        change_much(begun.provider)
        cuts = 0
        begun.commits_cut = place == "after the commit"
        for number in range(100):
            if place == "at the provider":
                begun.provider.cut_in = number
            else:
                begun.cut_in = number
            await begun.look()
            await begun.look()
            if begun.provider.cut_in is not None or begun.cut_in is not None:
                break
            cuts += 1
            await begun.look()
            assert await equals(begun)
            await age(begun, "restarted_at", "7 hours")
            change_back(begun.provider)
        assert cuts >= 10


def change_back(provider: FakeFolders) -> None:
    """Change a mailbox further, as `change_much` has."""
    [first, *_] = provider.by_name["Inbox"].messages
    provider.move("Inbox", first, to="Work")
    provider.reset("Work")
    number = provider.add("Inbox", f"new{provider.by_name['Inbox'].next_number}")
    provider.by_name["Inbox"].messages[number].marks ^= {"seen"}


class HugeFolder(FakeFolders):
    """A folder of a million messages that has no list of them in memory; every thousandth one is gone later."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count
        self.is_thinned = False

    async def page(
        self, folder: Folder, *, state: str | None, known: int, token: str | None, blames: bool = True
    ) -> Page:
        """Show 2,000 messages in full the first time, later which of 50,000 are there."""
        del folder, known, blames
        top = int(token) if token else self.count
        bottom = max(1, top - (2_000 if state is None else 50_000) + 1)
        keys = [key_of(number) for number in range(bottom, top + 1) if not self.is_thinned or number % 1_000]
        items = [Item(key=key, size=1_000, arrived_at=arrival_of("")) for key in keys] if state is None else []
        return Page(
            items=items,
            present=keys,
            covers=KeyRange(key_of(bottom), key_of(top)),
            token=str(bottom - 1) if bottom > 1 else None,
            state="seen",
        )


@pytest.mark.long
async def test_a_million_messages_take_bounded_memory(observed: ObservedHistory) -> None:
    provider = HugeFolder(1_000_000)
    observed.provider, observed.limits = provider, HistoryLimits()
    tracemalloc.start()
    try:
        await observed.look()
        assert await observed.counts() == [(1_000_000, 1_000_000)]
        provider.is_thinned = True
        await observed.look()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert await observed.counts() == [(999_000, 999_000)]
    assert peak < 40_000_000
