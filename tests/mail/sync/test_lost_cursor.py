"""Changes while the provider kept no history for the mailbox: a comparison finds all of them."""

import pytest

from services.mail.model import SyncState
from tests.mail.conftest import OpenStage

SLOW_LISTINGS: dict[str, object] = {"method": "gmail.messages.list", "kind": "slow", "seconds": 0.05}


class TestLostCursor:
    async def test_new_mail_is_found(self, stage: OpenStage) -> None:
        async with stage(messages=20) as s:
            await s.sync(count=None)
            await s.at_provider.deliver_many(5)
            await s.at_provider.lose_history()
            await s.hint()
            await s.mirrors()

    async def test_deleted_mail_is_deleted(self, stage: OpenStage) -> None:
        async with stage(messages=20) as s:
            await s.sync(count=None)
            for id_ in list(await s.at_provider.truth())[5:15:3]:
                await s.at_provider.delete(id_)
            await s.at_provider.lose_history()
            await s.hint()
            await s.mirrors()

    async def test_deleted_mail_without_labels_is_deleted(self, stage: OpenStage) -> None:
        async with stage(messages=3) as s:
            unlabelled = await s.at_provider.deliver(labels=[])
            await s.sync(count=None)
            assert (await s.stored())[unlabelled] == frozenset()
            await s.at_provider.delete(unlabelled)
            await s.at_provider.lose_history()
            await s.hint()
            await s.mirrors()

    @pytest.mark.parametrize("change", ["add", "remove"])
    async def test_one_label_is_rebuilt(self, stage: OpenStage, change: str) -> None:
        async with stage(messages=3) as s:
            labels = {"add": ["INBOX"], "remove": ["INBOX", "STARRED"]}[change]
            changed = await s.at_provider.deliver(labels=labels)
            await s.sync(count=None)
            await s.at_provider.relabel(changed, **{change: ("STARRED",)})
            await s.at_provider.lose_history()
            await s.hint()
            await s.mirrors()

    async def test_labels_are_rebuilt(self, stage: OpenStage) -> None:
        async with stage(messages=20) as s:
            await s.sync(count=None)
            label = await s.at_provider.create_label("Later")
            visible = await s.at_provider.visible()
            await s.at_provider.relabel(visible[0], add=(label, "STARRED"), remove=("INBOX", "UNREAD"))
            await s.at_provider.relabel(visible[3], add=("TRASH",), remove=("INBOX",))
            await s.at_provider.lose_history()
            await s.hint()
            await s.mirrors()

    async def test_labels_deleted_meanwhile_are_removed(self, stage: OpenStage) -> None:
        async with stage(messages=5) as s:
            label = await s.at_provider.create_label("Later")
            for id_ in await s.at_provider.visible():
                await s.at_provider.relabel(id_, add=(label,))
            await s.sync(count=None)
            await s.at_provider.control("DELETE", f"labels/{label}")
            await s.at_provider.lose_history()
            await s.hint()
            await s.mirrors()

    async def test_a_mailbox_emptied_meanwhile_is_empty(self, stage: OpenStage) -> None:
        async with stage(messages=6) as s:
            await s.sync(count=None)
            for id_ in await s.at_provider.truth():
                await s.at_provider.delete(id_)
            await s.at_provider.lose_history()
            await s.hint()
            await s.mirrors()

    async def test_mail_that_arrives_during_the_listing_stays(self, stage: OpenStage) -> None:
        async with stage(messages=24, page_size=2) as s:
            await s.sync(count=None)
            await s.at_provider.delete((await s.at_provider.visible())[7])
            await s.at_provider.lose_history()
            # The listing of all messages, not those of the labels.
            await s.at_provider.fail({**SLOW_LISTINGS, "count": 12})
            await s.hint()
            # From here on no page of the listing can show the new message.
            await s.until_listing("listing = 'relist' AND listing_page_token IS NOT NULL")
            new = await s.at_provider.deliver()
            await s.hint()
            await s.until_stored(new)
            assert await s.fetchval("SELECT listing = 'relist' FROM sync_states"), "stored too late to mean anything"
            await s.mirrors()

    async def test_relabels_during_a_labels_listing_stay(self, stage: OpenStage) -> None:
        async with stage(messages=16, page_size=2) as s:
            first, second, *others = await s.at_provider.visible()
            for id_ in (second, *others):
                await s.at_provider.relabel(id_, add=("STARRED",))
            await s.sync(count=None)
            await s.at_provider.lose_history()
            await s.at_provider.fail(SLOW_LISTINGS)
            await s.hint()
            # The first page of the starred messages is listed: it has the second message, but not the first.
            await s.until_listing("listing_label = 'STARRED' AND listing_page_token IS NOT NULL")
            await s.at_provider.relabel(first, add=("STARRED",))
            await s.at_provider.relabel(second, remove=("STARRED",))
            await s.hint()
            await s.until_caught_up()
            assert await s.fetchval("SELECT listing_label = 'STARRED' FROM sync_states"), "too late to mean anything"
            await s.mirrors()

    async def test_changes_of_other_labels_do_not_hide_an_outdated_one(self, stage: OpenStage) -> None:
        async with stage(messages=8, page_size=2) as s:
            newest = await s.at_provider.deliver(labels=["INBOX"])
            await s.sync(count=None)
            await s.at_provider.relabel(newest, add=("STARRED",))
            await s.at_provider.lose_history()
            await s.at_provider.fail(SLOW_LISTINGS)
            await s.hint()
            await s.until_listing("listing = 'relist'")
            await s.at_provider.relabel(newest, add=("IMPORTANT",))
            await s.hint()
            await s.mirrors()

    async def test_of_the_newest_is_compared_down_to_the_oldest_stored(self, stage: OpenStage) -> None:
        async with stage(messages=40) as s:
            await s.sync(count=10)
            oldest = list(await s.stored())[-1]
            await s.at_provider.deliver_many(15)
            await s.at_provider.lose_history()
            await s.hint()
            await s.until_caught_up()
            await s.until_idle()
            everything = list(await s.at_provider.truth())
            assert set(await s.stored()) == set(everything[: everything.index(oldest) + 1])

    async def test_during_the_first_sync_loses_nothing(self, stage: OpenStage) -> None:
        async with stage(messages=200) as s:
            report = await s.request(count=None)
            await s.until_stored_some(20)
            await s.at_provider.deliver()
            await s.at_provider.lose_history()
            await s.hint()
            ended = await s.ended(report)
            assert ended.sync.state is SyncState.COMPLETED
            assert await s.stored() == await s.at_provider.truth()

    async def test_between_two_pages_of_history_is_noticed(self, stage: OpenStage) -> None:
        async with stage(messages=3, page_size=10) as s:
            await s.sync(count=None)
            await s.at_provider.deliver_many(25)
            await s.at_provider.fail(
                {
                    "method": "gmail.history.list",
                    "kind": "error",
                    "status": 404,
                    "reason": "notFound",
                    "after": 1,
                    "count": 1,
                }
            )
            await s.hint()
            await s.mirrors(exactly_paid=False)
            assert await s.at_provider.fired() == [1]


class TestRestartedHistory:
    async def test_is_noticed_and_everything_is_compared(self, stage: OpenStage) -> None:
        async with stage(messages=5) as s:
            await s.at_provider.control("PUT", "mailbox", {"history_id": str(10**18)})
            kept = await s.at_provider.deliver(id="kept", labels=["INBOX", "STARRED"])
            await s.sync(count=None)
            await s.start_anew_at_provider(messages=3)
            await s.at_provider.deliver(id=kept, labels=["INBOX"])
            await s.hint()
            await s.mirrors()
            await s.at_provider.relabel(kept, add=("IMPORTANT",))
            await s.at_provider.deliver()
            await s.hint()
            await s.mirrors()


class TestExpiredPageTokens:
    async def test_restart_the_listing(self, stage: OpenStage) -> None:
        async with stage(messages=30, page_size=10) as s:
            await s.at_provider.fail(
                {
                    "method": "gmail.messages.list",
                    "kind": "error",
                    "status": 400,
                    "reason": "invalidArgument",
                    "message": "Invalid pageToken",
                    "after": 1,
                    "count": 1,
                }
            )
            report = await s.sync(count=None)
            assert report.sync.state is SyncState.COMPLETED
            assert await s.stored() == await s.at_provider.truth()
            assert await s.at_provider.fired() == [1]
            assert report.sync.listed_count == 30

    async def test_in_history_continue_from_the_last_page(self, stage: OpenStage) -> None:
        async with stage(messages=3, page_size=10) as s:
            await s.sync(count=None)
            await s.at_provider.deliver_many(25)
            await s.at_provider.fail(
                {
                    "method": "gmail.history.list",
                    "kind": "error",
                    "status": 400,
                    "reason": "invalidArgument",
                    "after": 1,
                    "count": 1,
                }
            )
            await s.hint()
            await s.mirrors(exactly_paid=False)
            assert await s.at_provider.fired() == [1]
            # No comparison took place: the listings are those of the first sync.
            assert await s.at_provider.calls("gmail.messages.list") == 1
