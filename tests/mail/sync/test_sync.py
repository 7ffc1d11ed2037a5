"""A sync from the request to its end, as users see it."""

from services.mail.model import MailboxQuery, SyncState
from services.mail.read_model import MessageFilter
from tests.mail.conftest import OpenStage
from tests.support.mail.running_worker import WorkerOptions
from tests.support.mail.waiting import eventually


class TestFirstSync:
    async def test_stores_the_newest_messages(self, stage: OpenStage) -> None:
        async with stage(messages=30) as s:
            report = await s.sync(count=10)
            assert report.sync.state is SyncState.COMPLETED
            assert list(await s.stored()) == (await s.at_provider.visible())[:10]
            assert (report.sync.listed_count, report.sync.stored_count, report.pending_count) == (10, 10, 0)

    async def test_stores_everything_with_spam_and_trash(self, stage: OpenStage) -> None:
        async with stage(messages=120) as s:
            await s.at_provider.deliver(labels=["SPAM", "UNREAD"])
            await s.at_provider.deliver(labels=["TRASH"])
            report = await s.sync(count=None)
            assert report.sync.state is SyncState.COMPLETED
            assert await s.stored() == await s.at_provider.truth()

    async def test_stores_subjects_and_bodies(self, stage: OpenStage) -> None:
        async with stage() as s:
            id_ = await s.at_provider.deliver(subject="Grüße aus 東京", text="Привет", html="<p>Привет <b>мир</b></p>")
            await s.sync()
            detail = await s.detail(id_)
            assert detail.summary.subject == "Grüße aus 東京"
            assert detail.summary.sender is not None
            assert detail.summary.sender.email == "bob@example.net"
            assert (detail.text or "").strip() == "Привет"
            assert "<b>мир</b>" in (detail.html or "")

    async def test_ends_for_an_empty_mailbox(self, stage: OpenStage) -> None:
        async with stage() as s:
            report = await s.sync(count=10)
            assert report.sync.state is SyncState.COMPLETED
            assert await s.stored() == {}

    async def test_reports_the_units_that_the_provider_counted(self, stage: OpenStage) -> None:
        async with stage(messages=40) as s:
            report = await s.sync(count=None)
            assert report.sync.units_spent == (await s.at_provider.quota())["units"]

    async def test_stores_large_messages_in_several_statements(self, stage: OpenStage) -> None:
        async with stage(messages=3) as s:
            texts = {await s.at_provider.deliver_large(f"{number} words\n" * 50_000): number for number in range(5)}
            assert (await s.sync(count=None)).sync.stored_count == 8
            for external_id, number in texts.items():
                text = (await s.detail(external_id)).text
                assert text is not None
                assert text.split("\n").count(f"{number} words") == 50_000
            await s.mirrors()

    async def test_shows_in_the_list_of_mailboxes(self, stage: OpenStage) -> None:
        async with stage(messages=12) as s:
            [before] = await s.mailboxes.overviews(MailboxQuery(user_id=s.user_id))
            await s.sync(count=None)
            [after] = await s.mailboxes.overviews(MailboxQuery(user_id=s.user_id))
            unread = [id_ for id_, labels in (await s.at_provider.truth()).items() if "UNREAD" in labels]
            assert (before.last_synced_at, before.message_count) == (None, 0)
            assert after.last_synced_at is not None
            assert (after.message_count, after.unread_count) == (12, len(unread))

    async def test_pages_through_listings_longer_than_a_page(self, stage: OpenStage) -> None:
        async with stage(messages=45, page_size=10) as s:
            report = await s.sync(count=None)
            assert report.sync.listed_count == 45
            assert (await s.stored()).keys() == (await s.at_provider.truth()).keys()

    async def test_continues_after_empty_pages(self, stage: OpenStage) -> None:
        async with stage(messages=30, page_size=10) as s:
            await s.at_provider.control("PUT", "mailbox", {"empty_page_every": 2})
            await s.sync(count=None)
            assert await s.stored() == await s.at_provider.truth()
            assert await s.at_provider.calls("gmail.messages.list") > 4


class TestCoverage:
    async def test_grows_with_the_count(self, stage: OpenStage) -> None:
        async with stage(messages=30) as s:
            await s.sync(count=5)
            await s.sync(count=20)
            assert list(await s.stored()) == (await s.at_provider.visible())[:20]

    async def test_never_shrinks(self, stage: OpenStage) -> None:
        async with stage(messages=30) as s:
            await s.sync(count=20)
            await s.sync(count=5)
            assert list(await s.stored()) == (await s.at_provider.visible())[:20]

    async def test_of_all_messages_stays(self, stage: OpenStage) -> None:
        async with stage(messages=30) as s:
            await s.sync(count=None)
            await s.sync(count=5)
            assert await s.stored() == await s.at_provider.truth()

    async def test_fetches_no_stored_message_again(self, stage: OpenStage) -> None:
        async with stage(messages=30) as s:
            await s.sync(count=20)
            again = await s.sync(count=20)
            assert again.sync.stored_count == 0

    async def test_of_the_newest_moves_down_after_a_deletion(self, stage: OpenStage) -> None:
        async with stage(messages=30) as s:
            await s.sync(count=10)
            await s.at_provider.delete(next(iter(await s.stored())))
            await s.sync(count=10)
            assert list(await s.stored()) == (await s.at_provider.visible())[:10]

    async def test_excludes_changes_of_older_messages(self, stage: OpenStage) -> None:
        async with stage(messages=30) as s:
            await s.sync(count=10)
            await s.at_provider.relabel((await s.at_provider.visible())[20], add=("STARRED",))
            await s.sync(count=10)
            assert len(await s.stored()) == 10


class TestRequests:
    async def test_while_one_runs_return_the_same_sync(self, stage: OpenStage) -> None:
        async with stage(messages=30, workers=0) as s:
            first = await s.request(count=10)
            second = await s.request(count=10)
            assert second.sync.sync_id == first.sync.sync_id

    async def test_after_the_end_make_a_new_sync(self, stage: OpenStage) -> None:
        async with stage(messages=3) as s:
            first = await s.sync(count=3)
            second = await s.sync(count=3)
            assert second.sync.sync_id != first.sync.sync_id

    async def test_widen_the_queued_one(self, stage: OpenStage) -> None:
        async with stage(messages=30, workers=0) as s:
            first = await s.request(count=10)
            await s.request(count=None)
            third = await s.request(count=20)
            assert third.sync.sync_id == first.sync.sync_id
            assert third.sync.newest_count is None

    async def test_widen_one_whose_listing_is_done(self, stage: OpenStage) -> None:
        async with stage(messages=30) as s:
            # One message is slow, so that the sync has listed all messages but not ended.
            newest = (await s.at_provider.visible())[0]
            await s.at_provider.fail({"method": "gmail.messages.get", "kind": "error", "path": newest, "count": 5})
            await s.request(count=5)
            await s.until_listed()
            widened = await s.ended(await s.request(count=None))
            assert widened.sync.state is SyncState.COMPLETED
            assert await s.stored() == await s.at_provider.truth()

    async def test_of_many_at_once_end_together(self, stage: OpenStage) -> None:
        async with stage(messages=30, workers=2) as s:
            reports = [await s.request(count=count) for count in (3, 12, 7, 12)]
            [*ended] = [await s.ended(report) for report in reports]
            assert {report.sync.state for report in ended} == {SyncState.COMPLETED}
            assert list(await s.stored()) == (await s.at_provider.visible())[:12]


class TestIncrementally:
    async def test_adds_new_mail(self, stage: OpenStage) -> None:
        async with stage(messages=10) as s:
            await s.sync(count=None)
            await s.at_provider.deliver_many(7)
            await s.hint()
            await s.mirrors()

    async def test_applies_labels(self, stage: OpenStage) -> None:
        async with stage(messages=10) as s:
            await s.sync(count=None)
            first, second, *_ = await s.at_provider.visible()
            await s.at_provider.relabel(first, add=("STARRED",), remove=("INBOX",))
            await s.at_provider.relabel(first, add=("INBOX",), remove=("UNREAD",))
            await s.at_provider.relabel(second, add=("TRASH",), remove=("INBOX",))
            await s.hint()
            await s.mirrors()
            assert await s.at_provider.calls("gmail.messages.get") <= 10

    async def test_applies_new_labels(self, stage: OpenStage) -> None:
        async with stage(messages=4) as s:
            await s.sync(count=None)
            label = await s.at_provider.create_label("Invoices/2026")
            [newest, *_] = await s.at_provider.visible()
            await s.at_provider.relabel(newest, add=(label,))
            await s.hint()
            await s.mirrors()
            assert [message.external_id for message in await s.listed(MessageFilter(label="invoices/2026"))] == [newest]

    async def test_takes_a_deleted_label_off_its_messages(self, stage: OpenStage) -> None:
        async with stage(messages=4) as s:
            label = await s.at_provider.create_label("Invoices")
            await s.at_provider.relabel((await s.at_provider.visible())[0], add=(label,))
            await s.sync(count=None)
            await s.at_provider.control("DELETE", f"labels/{label}")
            await s.sync(count=None)

            async def is_gone() -> bool:
                # After a second answer that lacks it.
                known = {known.label.label_id for known in await s.messages.labels(await s.mailbox())}
                return label not in known and await s.stored() == await s.at_provider.truth()

            await eventually(is_gone)

    async def test_deletes_messages(self, stage: OpenStage) -> None:
        async with stage(messages=10) as s:
            await s.sync(count=None)
            for id_ in (await s.at_provider.visible())[:3]:
                await s.at_provider.delete(id_)
            await s.hint()
            await s.mirrors()

    async def test_follows_a_draft_through_its_saves(self, stage: OpenStage) -> None:
        async with stage(messages=3) as s:
            await s.sync(count=None)
            draft = await s.at_provider.control("POST", "drafts", {"to": "bob@example.net", "subject": "1"})
            for number in range(2, 6):
                body = {"to": "bob@example.net", "subject": str(number)}
                await s.at_provider.control("PUT", f"drafts/{draft['id']}", body)
            await s.hint()
            await s.mirrors()
            [stored] = await s.listed(MessageFilter(label="DRAFT"))
            assert stored.subject == "5"

    async def test_ignores_mail_that_was_added_and_deleted(self, stage: OpenStage) -> None:
        async with stage(messages=3) as s:
            await s.sync(count=None)
            id_ = await s.at_provider.deliver()
            await s.at_provider.relabel(id_, add=("STARRED",))
            await s.at_provider.delete(id_)
            await s.at_provider.deliver(subject="stays")
            await s.hint()
            await s.mirrors()

    async def test_reads_history_longer_than_a_page(self, stage: OpenStage) -> None:
        async with stage(messages=3, page_size=10) as s:
            await s.sync(count=None)
            await s.at_provider.deliver_many(35)
            await s.hint()
            await s.mirrors()

    async def test_polls_without_a_request(self, stage: OpenStage) -> None:
        async with stage(messages=3, poll_seconds=0.2) as s:
            await s.sync(count=None)
            await s.until_stored(await s.at_provider.deliver())

    async def test_adds_new_mail_during_the_backfill(self, stage: OpenStage) -> None:
        async with stage(messages=150) as s:
            report = await s.request(count=None)
            await s.until_listed()
            new = await s.at_provider.deliver(subject="new")
            await s.hint()
            await s.until_stored(new)
            assert (await s.report(report)).sync.ended_at is None
            await s.ended(report)
            assert await s.stored() == await s.at_provider.truth()


class TestThreads:
    async def test_are_fetched_as_a_whole_if_that_is_cheaper(self, stage: OpenStage) -> None:
        async with stage() as s:
            first = await s.at_provider.deliver()
            for _ in range(9):
                await s.at_provider.deliver(thread_id=first)
            await s.sync(count=None)
            assert await s.stored() == await s.at_provider.truth()
            assert await s.at_provider.calls("gmail.threads.get") == 1
            assert await s.at_provider.calls("gmail.messages.get") == 0

    async def test_add_only_covered_messages(self, stage: OpenStage) -> None:
        async with stage() as s:
            first = await s.at_provider.deliver()
            for _ in range(9):
                await s.at_provider.deliver(thread_id=first)
            await s.sync(count=4)
            assert list(await s.stored()) == (await s.at_provider.visible())[:4]

    async def test_that_fail_are_fetched_message_by_message(self, stage: OpenStage) -> None:
        async with stage() as s:
            first = await s.at_provider.deliver()
            for _ in range(5):
                await s.at_provider.deliver(thread_id=first)
            await s.at_provider.fail(
                {"method": "gmail.threads.get", "kind": "error", "status": 404, "reason": "notFound"}
            )
            await s.sync(count=None)
            assert await s.stored() == await s.at_provider.truth()


class TestWithoutBatchEndpoint:
    async def test_fetches_all_messages_one_by_one(self, stage: OpenStage) -> None:
        async with stage(messages=30, batch=False) as s:
            await s.sync(count=None)
            assert await s.stored() == await s.at_provider.truth()
            assert await s.at_provider.calls("batch") == 0

    async def test_notices_that_there_is_none(self, stage: OpenStage) -> None:
        for status in (404, 405, 501):
            async with stage(messages=20) as s:
                await s.at_provider.fail({"method": "batch", "kind": "error", "status": status})
                await s.sync(count=None)
                assert await s.stored() == await s.at_provider.truth()
                assert await s.at_provider.fired() == [1]


class TestTwoWorkers:
    async def test_share_a_mailbox_without_repeating_work(self, stage: OpenStage) -> None:
        async with stage(messages=100, workers=2) as s:
            report = await s.sync(count=None)
            assert await s.stored() == await s.at_provider.truth()
            assert report.sync.stored_count == 100

    async def test_continue_the_work_of_a_stopped_one(self, stage: OpenStage) -> None:
        async with stage(messages=150) as s:
            report = await s.request(count=None)
            await s.until_stored_some()
            async with s.another_worker(WorkerOptions()):
                await s.workers[0].drain()
                await s.ended(report)
            assert await s.stored() == await s.at_provider.truth()
