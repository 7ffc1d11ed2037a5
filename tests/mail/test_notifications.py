"""Notifications, the mailboxes that they make due, and the watches that request them."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any

import pytest

from services.kit.errors import AppError, Kind
from services.mail.model import Lane
from services.mail.notifications import Notifications
from services.mail.providers.gmail.limits import GMAIL_COSTS
from services.mail.providers.notifications import HookAnswer, HookRequest, Notification
from services.mail.store.control import watches
from tests.mail.conftest import OpenStage
from tests.support.mail.push_sender import PushSender, envelope, pushed
from tests.support.mail.servers import Servers
from tests.support.mail.stage import Stage
from tests.support.mail.waiting import eventually

TOPIC = "projects/p/topics/mail"
UNKNOWN = envelope("nobody@example.com")


@pytest.fixture(scope="module")
def sender() -> PushSender:
    return PushSender()


@pytest.fixture
async def notifications(servers: Servers, sender: PushSender) -> AsyncIterator[Notifications]:
    async with sender.receiver() as source:
        yield Notifications(servers.mail_pool, sources={"google": source})


async def schedule_of(s: Stage) -> tuple[int, bool, int]:
    """The number of hints, whether the mailbox is due, and its lane."""
    row = await s.pool.fetchrow("SELECT hint_seq, due_at <= now() AS due, lane FROM mailbox_schedule")
    assert row is not None
    return row["hint_seq"], row["due"], row["lane"]


class TestAccept:
    async def test_refuses_an_invalid_token(self, notifications: Notifications, sender: PushSender) -> None:
        await self.refused(notifications, sender.token(aud="https://other.example"))

    async def test_refuses_every_token_without_a_configured_sender(self, servers: Servers, sender: PushSender) -> None:
        await self.refused(Notifications(servers.mail_pool, sources={}), sender.token())

    async def test_asks_for_another_delivery_while_the_keys_are_unavailable(self, servers: Servers) -> None:
        sender = PushSender()
        sender.is_down = True
        async with sender.receiver() as source:
            with pytest.raises(AppError) as caught:
                await Notifications(servers.mail_pool, sources={"google": source}).accept(
                    "google", pushed(sender.token(), UNKNOWN)
                )
        assert (caught.value.kind, caught.value.reason) == (Kind.UNAVAILABLE, "provider_unavailable")

    async def test_drops_other_bodies(self, stage: OpenStage, notifications: Notifications, sender: PushSender) -> None:
        async with stage(messages=1, workers=0) as s:
            await s.sync_with_worker()
            before = await schedule_of(s)
            for body in (b"", b"{}", b"\xff" * 65_536, s.account.email.encode()):
                await notifications.accept("google", pushed(sender.token(), body))
            assert await schedule_of(s) == before

    async def refused(self, notifications: Notifications, token: str) -> None:
        with pytest.raises(AppError) as caught:
            await notifications.accept("google", pushed(token, UNKNOWN))
        assert (caught.value.kind, caught.value.reason) == (Kind.UNAUTHENTICATED, "invalid_token")


class Handshake:
    """A source that answers a handshake, and reports two mailboxes."""

    def __init__(self, *emails: str) -> None:
        self._emails = emails

    async def receive(self, request: HookRequest) -> HookAnswer:
        """Echo the query."""
        found = [Notification(email=email, cursor=None) for email in self._emails]
        return HookAnswer(
            notifications=found, status=HTTPStatus.OK, content_type="text/plain", body=request.query.encode()
        )


class TestSources:
    async def test_answer_in_their_own_way(self, servers: Servers) -> None:
        notifications = Notifications(servers.mail_pool, sources={"new": Handshake()})
        answer = await notifications.accept("new", HookRequest(query="a=b"))
        assert (answer.status, answer.content_type, answer.body) == (200, "text/plain", b"a=b")

    async def test_report_mailboxes_of_their_provider_only(self, stage: OpenStage, servers: Servers) -> None:
        async with stage(messages=1, workers=0) as s:
            await s.sync_with_worker()
            hints, *_ = await schedule_of(s)
            sources = {"google": Handshake("nobody@example.com", s.account.email), "new": Handshake(s.account.email)}
            notifications = Notifications(servers.mail_pool, sources=sources, unnamed="google")
            await notifications.accept("new", HookRequest())
            assert (await schedule_of(s))[0] == hints
            await notifications.accept("google", HookRequest())
            assert (await schedule_of(s))[0] == hints + 1
            # A gateway of an earlier release names no provider.
            await notifications.accept("", HookRequest())
            assert (await schedule_of(s))[0] == hints + 2


class TestHint:
    async def test_makes_the_mailbox_due_for_any_case_of_its_address(
        self, stage: OpenStage, notifications: Notifications, sender: PushSender
    ) -> None:
        async with stage(messages=3, workers=0) as s:
            await s.sync_with_worker()
            hints, due, lane = await schedule_of(s)
            assert (due, lane) == (False, Lane.IDLE)
            await notifications.accept("google", pushed(sender.token(), envelope(s.account.email.upper(), str(2**60))))
            assert await schedule_of(s) == (hints + 1, True, Lane.LIVE)

    async def test_about_known_changes_causes_a_check_a_second_later(
        self, stage: OpenStage, notifications: Notifications, sender: PushSender
    ) -> None:
        async with stage(messages=3, workers=0) as s:
            await s.sync_with_worker()
            before = await schedule_of(s)
            cursor = await s.fetchval("SELECT cursor FROM sync_states")
            for history_id in (int(cursor), int(cursor) - 1, "1"):
                await notifications.accept("google", pushed(sender.token(), envelope(s.account.email, history_id)))
            assert await schedule_of(s) == before
            soon = "SELECT look_at - now() BETWEEN interval '0' AND interval '1.2 s' FROM mailbox_schedule"
            assert await s.fetchval(soon)

    async def test_about_an_unknown_or_unsynced_mailbox_does_nothing(
        self, stage: OpenStage, notifications: Notifications, sender: PushSender
    ) -> None:
        async with stage(messages=1) as s:
            await s.mailbox()
            for email in ("nobody@example.com", s.account.email, "%", "'; --", "\0", "x" * 60_000):
                await notifications.accept("google", pushed(sender.token(), envelope(email, 5)))
            assert await s.fetchval("SELECT count(*) FROM mailbox_schedule") == 0

    async def test_about_a_mailbox_that_needs_its_user_does_nothing(
        self, stage: OpenStage, notifications: Notifications, sender: PushSender
    ) -> None:
        async with stage(messages=3, workers=0) as s:
            await s.sync_with_worker()
            await s.pool.execute("UPDATE mailboxes SET status = 'reauth_required'")
            before = await schedule_of(s)
            await notifications.accept("google", pushed(sender.token(), envelope(s.account.email, str(2**60))))
            assert await schedule_of(s) == before

    async def test_brings_new_mail_in_any_number_and_order(
        self, stage: OpenStage, notifications: Notifications, sender: PushSender
    ) -> None:
        async with stage(messages=3) as s:
            await s.sync(count=None)
            new = await s.at_provider.deliver_many(3)
            known = int(await s.fetchval("SELECT cursor FROM sync_states"))
            for history_id in (known + 3, 1, known + 3, known + 2):
                await notifications.accept("google", pushed(sender.token(), envelope(s.account.email, history_id)))
            for external_id in new:
                await s.until_stored(external_id)
            await s.mirrors()


class TestWatch:
    async def watched(self, s: Stage) -> bool:
        report = await s.servers.sandbox.control("GET", "push")
        return s.account.email in report["watches"]

    async def kept(self, s: Stage) -> dict[str, Any] | None:
        row = await s.pool.fetchrow("SELECT expires_at, renew_at, renew_at - now() AS renewal FROM watches")
        return None if row is None else dict(row)

    async def until_kept(self, s: Stage) -> None:
        async def is_kept() -> bool:
            return await self.kept(s) is not None

        await eventually(is_kept)

    async def test_is_made_after_the_first_sync_and_renewed_daily(self, stage: OpenStage) -> None:
        async with stage(messages=3, push_topic=TOPIC) as s:
            assert not await self.watched(s)
            await s.sync()
            await self.until_kept(s)
            first = await self.kept(s)
            assert first is not None
            assert await self.watched(s)
            assert timedelta(hours=23) < first["renewal"] <= timedelta(days=1)
            assert timedelta(days=6) < first["expires_at"] - datetime.now(UTC) <= timedelta(days=7)
            # The end of the turn that made it would set the time again.
            await s.until_released()
            await s.pool.execute("UPDATE watches SET renew_at = now()")
            await s.pool.execute("UPDATE mailbox_schedule SET due_at = now() - interval '1 hour'")
            await s.pool.execute("UPDATE idle_groups SET checked_at = '-infinity'")

            async def is_renewed() -> bool:
                kept = await self.kept(s)
                return kept is not None and kept["expires_at"] > first["expires_at"]

            await eventually(is_renewed)
            await s.is_paid()

    async def test_costs_units_of_no_later_sync(self, stage: OpenStage) -> None:
        async with stage(messages=3, push_topic=TOPIC) as s:
            await s.at_provider.fail({"method": "gmail.watch", "kind": "slow", "seconds": 0.3, "count": 1})
            await s.sync()
            assert (await s.sync()).sync.units_spent < GMAIL_COSTS["2026-05"].watch
            assert await self.watched(s)

    async def test_that_is_new_is_followed_by_a_check_a_second_later(self, stage: OpenStage) -> None:
        # With this little quota the sync takes several turns, of which only the first was requested.
        async with stage(messages=12, push_topic=TOPIC, window=4.0) as s:
            await s.sync(count=None)
            # Before that check, also on a busy machine; no other one comes soon.
            await s.until_stored(await s.at_provider.deliver())
            await self.until_kept(s)

    async def test_is_not_requested_without_a_topic(self, stage: OpenStage) -> None:
        async with stage(messages=3) as s:
            await s.sync()
            await s.until_idle()
            assert await s.at_provider.calls("gmail.watch") == 0

    async def test_that_fails_harms_no_sync_and_is_retried(self, stage: OpenStage) -> None:
        async with stage(messages=3, push_topic=TOPIC) as s:
            await s.at_provider.fail({"method": "gmail.watch", "kind": "error", "status": 400, "count": 1})
            assert (await s.sync()).sync.error == ""
            await self.until_kept(s)
            kept = await self.kept(s)
            assert kept is not None
            assert kept["expires_at"] is None
            assert kept["renewal"] < timedelta(minutes=11)

    async def test_close_to_its_end_is_counted(self, stage: OpenStage) -> None:
        async with stage(messages=3, push_topic=TOPIC) as s:
            await s.sync()
            await self.until_kept(s)
            async with s.pool.acquire() as connection:
                assert await watches.expiring(connection, within_seconds=2 * 86_400) == 0
                await connection.execute("UPDATE watches SET expires_at = now() + interval '1 day'")
                assert await watches.expiring(connection, within_seconds=2 * 86_400) == 1
                await connection.execute("UPDATE mailboxes SET status = 'reauth_required'")
                assert await watches.expiring(connection, within_seconds=2 * 86_400) == 0
