"""Listings that skip messages, lag, or are too short: no message is lost, deleted or relabelled because of them."""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import structlog
from starlette.responses import Response

from services.mail.model import SyncState, WaitReason
from services.mail.sync.intervals import Intervals
from tests.mail.conftest import OpenStage
from tests.support.mail.proxied_gmail import (
    AlteredListings,
    Answer,
    LateIndex,
    OffsetPages,
    ProxiedCall,
    as_json,
    proxied,
)
from tests.support.mail.servers import Servers
from tests.support.mail.stage import Stage
from tests.support.mail.waiting import eventually

# Passes of a listing that is too short take a minute and a half together, not none.
SHORT_PAUSES = Intervals(listing_lag=0, short_listing=0.01, labels_confirm=0)


@asynccontextmanager
async def before(servers: Servers, stage: OpenStage, answer: Answer, **options: Any) -> AsyncIterator[Stage]:
    """Open a stage whose provider is the sandbox behind a proxy."""
    async with proxied(servers.sandbox, answer) as url, stage(api_url=url, **options) as s:
        yield s


async def compare_everything(s: Stage) -> None:
    """Lose the history; wait until everything is compared, and until the differences are fetched."""
    await s.at_provider.lose_history()
    await s.hint()
    await s.until_caught_up()
    await s.until_idle()


async def until_listed_anew(s: Stage) -> None:
    """Wait until listings that show all changes before the cursor were read, and until their messages are fetched."""
    await s.until_listing("listable_at IS NULL AND listing IS NULL")
    await s.until_idle()


async def gets(s: Stage) -> int:
    """Return the gets of messages and threads so far."""
    return sum([await s.at_provider.calls(f"gmail.{kind}.get") for kind in ("messages", "threads")])


class TestPasses:
    async def test_cost_a_first_sync_one_more_listing(self, stage: OpenStage) -> None:
        async with stage(messages=30, page_size=10) as s:
            await s.sync(count=None)
            assert await s.at_provider.calls("gmail.messages.list") == 3 + 3

    @pytest.mark.parametrize("count", [10, None])
    async def test_are_not_repeated_if_one_page_shows_everything(self, stage: OpenStage, count: int | None) -> None:
        async with stage(messages=30) as s:
            await s.sync(count=count)
            assert await s.at_provider.calls("gmail.messages.list") == 1

    async def test_are_not_needed_for_a_sync_of_the_same_messages(self, stage: OpenStage) -> None:
        async with stage(messages=30, page_size=10) as s:
            await s.sync(count=25)
            listings = await s.at_provider.calls("gmail.messages.list")
            await s.sync(count=25)
            assert await s.at_provider.calls("gmail.messages.list") == listings + 3

    async def test_are_not_repeated_for_mail_in_history(self, servers: Servers, stage: OpenStage) -> None:
        async def deliver(page: int) -> None:
            await s.at_provider.deliver(subject=str(page))

        pages = OffsetPages(after_page=deliver)
        async with before(servers, stage, pages.answer, messages=30, page_size=10) as s:
            await s.sync(count=None)
            assert pages.pages <= 8
            await s.hint()
            await s.mirrors()

    async def test_count_a_message_once(self, stage: OpenStage) -> None:
        async with stage(messages=30, page_size=10) as s:
            assert (await s.sync(count=None)).sync.listed_count == 30

    async def test_retry_dead_letters_once(self, stage: OpenStage) -> None:
        async with stage(messages=30, page_size=10) as s:
            poison = (await s.at_provider.visible())[4]
            await s.at_provider.fail({"method": "gmail.messages.get", "path": poison, "kind": "error", "status": 400,
                                      "reason": "failedPrecondition"})  # fmt: skip
            report = await s.sync(count=None)
            assert (report.sync.state, report.dead_letter_count) == (SyncState.COMPLETED, 1)
            assert await s.at_provider.calls("gmail.messages.list") == 3 + 3

    async def test_are_not_repeated_for_a_message_that_is_listed_but_gone(
        self, servers: Servers, stage: OpenStage
    ) -> None:
        listings = AlteredListings(invents=lambda: ["00000000deadbeef"])
        async with before(servers, stage, listings.answer, messages=30, page_size=10) as s:
            await s.sync(count=None)
            assert listings.listings <= 3 * 3
            assert await s.fetchval("SELECT covered_all FROM sync_states")
            await s.mirrors()

    async def test_without_an_end_fail_their_sync(self, servers: Servers, stage: OpenStage) -> None:
        numbers = itertools.count(0xDEAD0000)
        listings = AlteredListings(invents=lambda: [f"{next(numbers):016x}"])
        with structlog.testing.capture_logs() as logs:
            async with before(servers, stage, listings.answer, messages=20, page_size=10) as s:
                report = await s.sync(count=None)
                assert (report.sync.state, report.sync.error) == (SyncState.FAILED, "listing_incomplete")
                assert not await s.fetchval("SELECT covered_all FROM sync_states")
                await s.until_idle()
                assert await s.stored() == await s.at_provider.truth()
        assert "a listing never became complete" in [entry["event"] for entry in logs]


class TestSkippedMessages:
    @pytest.mark.parametrize("count", [25, None])
    async def test_are_found_by_another_pass(self, servers: Servers, stage: OpenStage, count: int | None) -> None:
        """Nothing but the passes tells: there is no deletion in history."""
        skipped: set[str] = set()

        async def answer(call: ProxiedCall) -> Response | None:
            nonlocal skipped
            if not (call.lists_messages and call.request.query_params.get("pageToken")):
                return None
            lacks, skipped = skipped, set()
            return await AlteredListings(lacks=lacks).answer(call)

        async with before(servers, stage, answer, messages=30, page_size=10) as s:
            skipped = set((await s.at_provider.visible())[11:14])
            await s.sync(count=count)
            assert set((await s.at_provider.visible())[:25]) <= set(await s.stored())


class TestLargePages:
    async def test_are_read_completely(self, servers: Servers, stage: OpenStage) -> None:
        async def answer(call: ProxiedCall) -> Response | None:
            if not call.lists_messages:
                return None
            # Twice the requested number.
            size = int(call.request.query_params["maxResults"])
            return as_json((await call.forward(maxResults=str(2 * size))).json())

        async with before(servers, stage, answer, messages=30, page_size=5) as s:
            await s.sync(count=7)
            assert list(await s.stored()) == (await s.at_provider.visible())[:7]
            await s.sync(count=None)
            await s.mirrors()


class TestOffsetsAsPageTokens:
    @pytest.mark.parametrize("count", [25, None])
    async def test_deletions_between_pages_hide_no_message(
        self, servers: Servers, stage: OpenStage, count: int | None
    ) -> None:
        async def delete(page: int) -> None:
            if page == 1:
                for id_ in (await s.at_provider.visible())[:4]:
                    await s.at_provider.delete(id_)

        async with before(servers, stage, OffsetPages(after_page=delete).answer, messages=30, page_size=10) as s:
            report = await s.sync(count=count)
            assert report.sync.state is SyncState.COMPLETED
            await s.hint()
            await s.until_idle()
            assert set((await s.at_provider.visible())[:25]) <= set(await s.stored())
            await s.sync(count=None)
            await s.mirrors()

    async def test_deletions_in_each_pass_hide_no_message(self, servers: Servers, stage: OpenStage) -> None:
        async def delete(page: int) -> None:
            for id_ in {1: ids[:4], 4: ids[4:8]}.get(page, []):
                await s.at_provider.delete(id_)
            if page == 3:
                # They take the places of the deleted ones, so the next pass would skip the same messages.
                for _ in range(4):
                    await s.at_provider.deliver()

        async with before(servers, stage, OffsetPages(after_page=delete).answer, messages=30, page_size=10) as s:
            ids = list(await s.at_provider.truth())
            await s.sync(count=None)
            await s.hint()
            await s.mirrors()

    async def test_deletions_hide_no_message_that_came_while_history_was_lost(
        self, servers: Servers, stage: OpenStage
    ) -> None:
        async def delete(page: int) -> None:
            if page == relist_begins:
                for id_ in ids[:4]:
                    await s.at_provider.delete(id_)

        relist_begins = 0
        pages = OffsetPages(after_page=delete)
        async with before(servers, stage, pages.answer, messages=8, page_size=10) as s:
            await s.sync(count=None)
            await s.at_provider.deliver_many(14)
            ids = await s.at_provider.visible()
            relist_begins = pages.pages + 1
            await compare_everything(s)
            await s.hint()
            await s.mirrors()

    async def test_deletions_hide_nothing_from_a_verification(self, servers: Servers, stage: OpenStage) -> None:
        async def delete(page: int) -> None:
            if page == verification_begins:
                for id_ in ids[:4]:
                    await s.at_provider.delete(id_)

        verification_begins = 0
        pages = OffsetPages(after_page=delete)
        async with before(servers, stage, pages.answer, messages=30, page_size=10) as s:
            await s.sync(count=None)
            ids = await s.at_provider.visible()
            await s.pool.execute("DELETE FROM messages WHERE external_id = ANY($1::text[])", ids[10:14])
            verification_begins = pages.pages + 1
            verification = (await s.verify()).sync.verification
            assert verification is not None
            assert verification.missing_count == 4
            await s.hint()
            await s.mirrors()


class TestShortListings:
    async def test_delete_nothing(self, servers: Servers, stage: OpenStage) -> None:
        listings = AlteredListings()
        async with before(servers, stage, listings.answer, messages=30, intervals=SHORT_PAUSES) as s:
            await s.sync(count=None)
            gets_before = await gets(s)
            listings.lacks_everything = True
            shown = listings.listings
            await s.at_provider.lose_history()
            with structlog.testing.capture_logs() as logs:
                await s.hint()

                async def was_repeated() -> bool:
                    return listings.listings >= shown + 3

                await eventually(was_repeated)
            assert len(await s.stored()) == 30
            # Refusing is cheaper than a get of each message.
            assert await gets(s) == gets_before
            assert {"event": "a listing is too short", "listed": 0, "expected": 30}.items() <= next(
                entry for entry in logs if entry["event"] == "a listing is too short"
            ).items()
            listings.lacks_everything = False
            await s.mirrors(exactly_paid=False)

    @pytest.mark.parametrize("count", [10, None])
    async def test_fail_no_sync(self, servers: Servers, stage: OpenStage, count: int | None) -> None:
        listings = AlteredListings(lacks_everything=True)
        async with before(servers, stage, listings.answer, messages=30, intervals=SHORT_PAUSES) as s:
            report = await s.request(count=count)
            await s.until_listing("listing_pass >= 3")
            assert (await s.report(report)).sync.ended_at is None
            listings.lacks_everything = False
            ended = await s.ended(report)
            assert ended.sync.state is SyncState.COMPLETED
            wanted = (await s.at_provider.visible())[:count] if count else list(await s.at_provider.truth())
            assert list(await s.stored()) == wanted

    @pytest.mark.parametrize("count", [10, None])
    async def test_that_stay_so_fail_the_sync(self, servers: Servers, stage: OpenStage, count: int | None) -> None:
        listings = AlteredListings(lacks_everything=True)
        async with before(servers, stage, listings.answer, messages=30) as s:
            report = await s.sync(count=count)
            assert (report.sync.state, report.sync.error) == (SyncState.FAILED, "listing_incomplete")
            assert await s.fetchval("SELECT covered_count = 0 AND NOT covered_all FROM sync_states")
            assert await s.fetchval("SELECT live_from IS NOT NULL FROM change_feeds"), "webhooks tell of new mail"
            new = await s.at_provider.deliver()
            await s.hint()
            await s.until_stored(new)
            listings.lacks_everything = False
            again = await s.ended(await s.retry(report))
            assert again.sync.state is SyncState.COMPLETED
            wanted = (await s.at_provider.visible())[:count] if count else list(await s.at_provider.truth())
            assert set(wanted) <= set(await s.stored())

    @pytest.mark.parametrize("count", [25, None])
    async def test_that_show_nothing_new_for_minutes_are_believed_and_verified(
        self, servers: Servers, stage: OpenStage, count: int | None
    ) -> None:
        listings = AlteredListings()
        async with before(servers, stage, listings.answer, messages=30, verify_seconds=604_800.0) as s:
            shown = (await s.at_provider.visible())[:8]
            listings.lacks = set(await s.at_provider.truth()) - set(shown)
            report = await s.sync(count=count)
            assert (report.sync.state, set(await s.stored())) == (SyncState.COMPLETED, set(shown))
            assert listings.listings >= 6
            until_verified = "SELECT extract(epoch FROM verify_at - now())::float8 FROM sync_states"
            assert 0 < await s.fetchval(until_verified) <= 3_600
            assert (await s.verify()).sync.state is SyncState.COMPLETED
            assert await s.fetchval(until_verified) > 3_600
            listings.lacks = set()
            assert (await s.verify()).sync.state is SyncState.COMPLETED
            wanted = (await s.at_provider.visible())[:count] if count else await s.at_provider.truth()
            assert set(wanted) <= set(await s.stored())

    async def test_that_lack_most_of_the_copy_are_not_believed(self, servers: Servers, stage: OpenStage) -> None:
        listings = AlteredListings()
        async with before(servers, stage, listings.answer, messages=30) as s:
            await s.sync(count=None)
            gets_before = await gets(s)
            listings.lacks = set((await s.at_provider.visible())[8:])
            report = await s.verify()
            assert (report.sync.state, report.sync.error) == (SyncState.FAILED, "listing_incomplete")
            assert await gets(s) == gets_before

    async def test_that_stay_so_fail_a_verification_before_gets(self, servers: Servers, stage: OpenStage) -> None:
        listings = AlteredListings()
        async with before(servers, stage, listings.answer, messages=30) as s:
            await s.sync(count=None)
            gets_before = await gets(s)
            listings.lacks_everything = True
            report = await s.verify()
            assert (report.sync.state, report.sync.error) == (SyncState.FAILED, "listing_incomplete")
            assert await gets(s) == gets_before
            listings.lacks_everything = False
            await s.mirrors(exactly_paid=False)

    async def test_have_what_they_show_fetched_at_once(self, servers: Servers, stage: OpenStage) -> None:
        listings = AlteredListings()
        pauses = Intervals(listing_lag=0, short_listing=1000, labels_confirm=0)
        async with before(servers, stage, listings.answer, messages=30, intervals=pauses) as s:
            listings.lacks = set((await s.at_provider.visible())[10:])
            report = await s.request(count=None)
            await s.until_stored_some(10)

            async def is_waiting() -> bool:
                wait = (await s.report(report)).wait
                seen = wait and (wait.reason, wait.last_error, wait.until is not None)
                return seen == (WaitReason.PROVIDER, "listing_incomplete", True)

            await eventually(is_waiting)
            assert listings.listings == 1
            new = await s.at_provider.deliver()
            await s.hint()
            await s.until_stored(new)
            await eventually(is_waiting)

    async def test_hide_nothing_where_the_outage_ends_while_they_are_checked(
        self, servers: Servers, stage: OpenStage
    ) -> None:
        listings = AlteredListings(lacks_everything=True)

        async def first_is_empty(call: ProxiedCall) -> Response | None:
            answer = await listings.answer(call)
            listings.lacks_everything = listings.listings == 0
            return answer

        async with before(servers, stage, first_is_empty, messages=30) as s:
            await s.sync(count=10)
            assert list(await s.stored()) == (await s.at_provider.visible())[:10]

    async def test_of_a_mailbox_of_spam_are_believed(self, stage: OpenStage) -> None:
        async with stage() as s:
            for _ in range(5):
                await s.at_provider.deliver(labels=["SPAM"])
            report = await s.sync(count=10)
            assert (report.sync.state, report.sync.listed_count) == (SyncState.COMPLETED, 0)

    async def test_of_a_label_are_repeated_before_gets(self, servers: Servers, stage: OpenStage) -> None:
        listings = AlteredListings()
        async with before(servers, stage, listings.answer, messages=20) as s:
            await s.sync(count=None)
            carrying = {id_ for id_, labels in (await s.stored()).items() if "INBOX" in labels}
            listings.lacks_by_label["INBOX"] = set(carrying)
            gets_before = await gets(s)
            await s.at_provider.lose_history()
            await s.hint()
            await s.until_listing("listing_label = 'INBOX' AND listing_pass = 2")
            listings.lacks_by_label.clear()
            await s.mirrors()
            assert await gets(s) == gets_before


class TestLaggingListings:
    async def test_delete_no_stored_message(self, servers: Servers, stage: OpenStage) -> None:
        listings = AlteredListings()
        async with before(servers, stage, listings.answer, messages=10) as s:
            await s.sync(count=None)
            listings.lacks = {(await s.at_provider.visible())[0]}
            gets_before = await gets(s)
            await compare_everything(s)
            # The get decided.
            assert await gets(s) == gets_before + 1
            await s.mirrors()

    async def test_remove_no_label(self, servers: Servers, stage: OpenStage) -> None:
        listings = AlteredListings()
        async with before(servers, stage, listings.answer, messages=10) as s:
            new = await s.at_provider.deliver(labels=["INBOX"])
            await s.sync(count=None)
            listings.lacks_by_label["INBOX"] = {new}
            await compare_everything(s)
            await s.mirrors()

    async def test_add_no_label(self, servers: Servers, stage: OpenStage) -> None:
        listings = AlteredListings()
        async with before(servers, stage, listings.answer, messages=10) as s:
            new = await s.at_provider.deliver(labels=["INBOX"])
            await s.sync(count=None)
            listings.shows_by_label["STARRED"] = {new}
            await compare_everything(s)
            await s.mirrors()

    @pytest.mark.parametrize("count", [5, None])
    @pytest.mark.parametrize("labels", [["INBOX"], ["SPAM"]])
    async def test_hide_no_message_from_a_first_sync(
        self, servers: Servers, stage: OpenStage, count: int | None, labels: list[str]
    ) -> None:
        index = LateIndex(seconds=1.0)
        lag = Intervals(listing_lag=1.2)
        async with before(servers, stage, index.answer, messages=10, intervals=lag) as s:
            index.late = {await s.at_provider.deliver(labels=labels)}
            await s.sync(count=count)
            await until_listed_anew(s)
            truth = await s.at_provider.truth()
            wanted = truth if count is None else {id_: truth[id_] for id_ in (await s.at_provider.visible())[:count]}
            assert wanted.items() <= (await s.stored()).items()

    async def test_are_waited_for_before_the_comparison(self, servers: Servers, stage: OpenStage) -> None:
        index = LateIndex(seconds=1.0)
        lag = Intervals(listing_lag=1.2)
        async with before(servers, stage, index.answer, messages=5, page_size=2, intervals=lag) as s:
            await s.sync(count=None)
            await until_listed_anew(s)
            # They arrived while history was lost, so that only a listing shows them, and are more than a page.
            index.late = set(await s.at_provider.deliver_many(4))
            await s.at_provider.lose_history()
            await s.hint()
            await s.until_caught_up()
            await until_listed_anew(s)
            await s.mirrors()

    async def test_are_waited_for_during_new_mail(self, stage: OpenStage) -> None:
        async with stage(messages=5, intervals=Intervals(listing_lag=60)) as s:
            await s.sync(count=None)
            await s.at_provider.lose_history()
            await s.hint()
            await s.until_listing("listing = 'relist'")
            new = await s.at_provider.deliver()
            await s.hint()
            await s.until_stored(new)
            assert await s.fetchval("SELECT listing = 'relist' AND listed_count = 0 FROM sync_states")
            assert await s.at_provider.calls("gmail.messages.list") == 1


class TestListingsThatAreCutShort:
    async def test_are_repeated_before_each_message_is_asked_for(self, servers: Servers, stage: OpenStage) -> None:
        listings = AlteredListings()

        async def first_is_short(call: ProxiedCall) -> Response | None:
            answer = await listings.answer(call)
            if call.lists_messages:
                listings.lacks = set()
            return answer

        async with before(servers, stage, first_is_short, messages=30) as s:
            await s.sync(count=None)
            gets_before = await gets(s)
            listings.lacks = set((await s.at_provider.visible())[-12:])
            await compare_everything(s)
            await s.mirrors()
            assert await gets(s) == gets_before
