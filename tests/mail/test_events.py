"""Events of mailboxes and syncs in the feed: one for each thing that happens, none in the lists of changes."""

import asyncio
import json
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from services.mail.ids import FeedPosition
from services.mail.mailboxes import Mailboxes
from services.mail.model import Account, MailboxStatus
from services.mail.reading.change_feed import ChangeFeed
from services.mail.store import changes
from services.mail.store.control.feed_heads import CHANNEL
from services.mail.sync.accounts.access import Patience
from tests.mail.conftest import OpenStage
from tests.support.mail.servers import connect
from tests.support.mail.stage import Stage
from tests.support.mail.waiting import eventually

QUICK = Patience(denials=1, seconds=0.0, pause=0.05, lasting_pause=0.3)


async def events_of(s: Stage) -> list[tuple[str, dict[str, Any]]]:
    """Return the events of the stage's mailbox, in order, without ids of syncs."""
    rows = await s.pool.fetch("SELECT event, details FROM message_changes WHERE event IS NOT NULL ORDER BY seq")
    found = [(row["event"], json.loads(row["details"])) for row in rows]
    return [(event, {name: value for name, value in details.items() if name != "sync_id"}) for event, details in found]


async def head_of(s: Stage) -> tuple[int, int]:
    """Return the numbers of the latest change of the stage's feed, as the feed and as its head have it."""
    row = await s.pool.fetchrow("SELECT f.last_seq, h.seq FROM change_feeds f JOIN feed_heads h USING (mailbox_id)")
    assert row is not None
    return row["last_seq"], row["seq"]


async def copy_account(s: Stage, account: Account) -> None:
    """Let mail take over an account as auth has it."""
    await Mailboxes(s.servers.mail_pool, OneAccount(account)).refresh(account.user_id)


@dataclass
class OneAccount:
    """Auth with one account."""

    account: Account

    async def list_accounts(self, _user_id: UUID) -> list[Account]:
        """Return the account."""
        return [self.account]

    async def list_application_accounts(self, application_id: UUID, *, account_id: UUID | None) -> list[Account]:
        """Return the account if it is asked for."""
        is_asked_for = application_id == self.account.application_id and account_id in (None, self.account.account_id)
        return [self.account] if is_asked_for else []


class TestMailbox:
    async def test_is_connected_once(self, stage: OpenStage) -> None:
        async with stage(workers=0) as s:
            await s.mailbox()
            await s.mailboxes.refresh(s.user_id)
            assert await events_of(s) == [("mailbox.connected", {"again": False})]
            assert await head_of(s) == (1, 1)

    async def test_has_to_be_connected_again_and_is(self, stage: OpenStage) -> None:
        async with stage(workers=0) as s:
            await s.mailbox()
            for status in (MailboxStatus.REAUTH_REQUIRED, MailboxStatus.ACTIVE):
                await copy_account(s, replace(s.account, status=status))
            assert [event for event, _ in await events_of(s)] == [
                "mailbox.connected",
                "mailbox.reauth_required",
                "mailbox.connected",
            ]
            assert await head_of(s) == (3, 3)

    async def test_loses_access_in_a_turn_and_fails_its_sync(self, stage: OpenStage) -> None:
        async with stage(messages=2, patience=QUICK) as s:
            await s.at_provider.fail({"method": "gmail.*", "kind": "error", "status": 403, "reason": "domainPolicy"})
            await s.ended(await s.request(count=None))
            await s.until_released()
            assert (await events_of(s))[1:] == [
                ("mailbox.access_denied", {"reason": "admin_policy"}),
                ("sync.failed", {"error": "access_denied"}),
            ]
            await s.at_provider.sandbox.control("DELETE", "faults")
            await s.sync(count=None)

            async def are_told() -> bool:
                # In any order: access is back when the turn ends, and the sync in that turn or in a later one.
                return sorted(event for event, _ in (await events_of(s))[3:]) == ["mailbox.connected", "sync.completed"]

            await eventually(are_told)

    async def test_ends_with_a_head_beyond_its_feed(self, stage: OpenStage) -> None:
        async with stage(messages=3) as s:
            await s.sync(count=None)
            await s.until_idle()
            last, _ = await head_of(s)
            await s.disconnect()
            head = await s.pool.fetchrow("SELECT seq, disconnected_at IS NOT NULL AS ended FROM feed_heads")
            assert head is not None
            assert (head["seq"], head["ended"]) == (last + 1, True)
            await s.until_erased()
            assert await s.fetchval("SELECT count(*) FROM feed_heads") == 1


class TestSync:
    async def test_completes_after_its_messages(self, stage: OpenStage) -> None:
        async with stage(messages=3) as s:
            await s.sync(count=None)
            await s.until_idle()
            rows = await s.pool.fetch("SELECT coalesce(event, kind) AS what FROM message_changes ORDER BY seq")
            told = [row["what"] for row in rows if row["what"] != "updated"]
            assert told == ["mailbox.connected", "created", "created", "created", "sync.completed"]
            live_from = await s.fetchval("SELECT live_from FROM change_feeds")
            assert live_from == await s.fetchval("SELECT seq FROM message_changes WHERE event = 'sync.completed'")
            last, head = await head_of(s)
            assert last == head

    async def test_that_comes_later_moves_no_beginning(self, stage: OpenStage) -> None:
        async with stage(messages=3) as s:
            await s.sync(count=1)
            first = await s.fetchval("SELECT live_from FROM change_feeds")
            await s.sync(count=None)
            assert await s.fetchval("SELECT live_from FROM change_feeds") == first
            assert [event for event, _ in await events_of(s)].count("sync.completed") == 2

    async def test_that_is_cancelled_is_no_event_and_lets_webhooks_begin(self, stage: OpenStage) -> None:
        async with stage(messages=3, workers=0) as s:
            await s.cancel(await s.request(count=None))
            assert [event for event, _ in await events_of(s)] == ["mailbox.connected"]
            assert await s.fetchval("SELECT live_from FROM change_feeds") == 1


class TestListOfChanges:
    async def test_leaves_events_out_and_counts_them(self, stage: OpenStage) -> None:
        async with stage(messages=3) as s:
            mailbox = await s.mailbox()
            await s.sync(count=None)
            feed = ChangeFeed(s.pool, stop=asyncio.Event())
            page = await feed.page(mailbox, since=FeedPosition(mailbox.mailbox_id, 0, 0), page_size=100, wait_seconds=0)
            kinds = {change.kind for change in page.changes}
            assert changes.ChangeKind.EVENT not in kinds
            assert len([change for change in page.changes if change.message is not None]) == 3
            assert page.position.seq == await s.fetchval("SELECT last_seq FROM change_feeds")
            assert not page.has_more


class TestNews:
    async def test_wake_deliverers_at_the_end_of_a_turn(self, stage: OpenStage) -> None:
        heard: list[object] = []
        async with stage(messages=1) as s:
            connection = await connect(s.servers.database)
            await connection.add_listener(CHANNEL, lambda *arguments: heard.append(arguments[-1]))
            await s.sync(count=None)
            mailbox_id = str((await s.mailbox()).mailbox_id)

            async def is_heard() -> bool:
                return heard.count(mailbox_id) >= 2

            await eventually(is_heard)
            await connection.close()
