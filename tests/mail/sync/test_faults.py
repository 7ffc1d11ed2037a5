"""Faults of the provider, the database and Redis: nothing is lost or stored twice, and the faults are reported."""

import asyncio

import pytest
import structlog

from services.mail.model import FeedEvent, MailboxQuery, MailboxStatus, SyncState, WaitReason
from services.mail.sync.store_fetched import Retries
from tests.mail.conftest import OpenStage
from tests.support.mail.servers import connect
from tests.support.mail.stage import Stage
from tests.support.mail.waiting import eventually

TRANSIENT: list[dict[str, object]] = [
    {"kind": "error", "status": 500},
    {"kind": "error", "status": 503},
    {"kind": "html_503"},
    {"kind": "html_503", "status": 502},
    {"kind": "reset"},
    {"kind": "truncate"},
    {"kind": "garbage"},
    {"kind": "lost_response"},
    {"kind": "slow", "seconds": 0.1},
    {"kind": "slow_body", "seconds": 0.2},
    {"kind": "timeout", "seconds": 0.1},
]
LIMITS: list[dict[str, object]] = [
    {"status": 429, "reason": "userRateLimitExceeded", "message": "User Rate Limit Exceeded", "retry_after": 0.6},
    {"status": 403, "reason": "rateLimitExceeded", "message": "Rate Limit Exceeded", "retry_after": 0.6},
    {"status": 429, "reason": "rateLimitExceeded", "message": "Too many concurrent requests for user"},
]


def _name(fault: dict[str, object]) -> str:
    return " ".join(str(value) for value in fault.values())


async def _is_complete(s: Stage) -> None:
    assert await s.stored() == await s.at_provider.truth()
    assert await s.fetchval("SELECT count(*) FROM dead_letters") == 0


class TestTransientFaults:
    @pytest.mark.parametrize("fault", TRANSIENT, ids=_name)
    async def test_of_any_method_cost_only_time(self, stage: OpenStage, fault: dict[str, object]) -> None:
        async with stage(messages=25, page_size=10) as s:
            methods = ("gmail.profile.get", "gmail.labels.list", "gmail.messages.list", "batch", "gmail.messages.get")
            await s.at_provider.fail(*({"method": method, "count": 1, **fault} for method in methods))
            report = await s.sync(count=None)
            assert report.sync.state is SyncState.COMPLETED
            assert await s.at_provider.fired() == [1] * len(methods)
            await _is_complete(s)

    @pytest.mark.parametrize("fault", TRANSIENT[:6], ids=_name)
    async def test_without_a_batch_endpoint_cost_only_time(self, stage: OpenStage, fault: dict[str, object]) -> None:
        async with stage(messages=25, batch=False) as s:
            await s.at_provider.fail({"method": "gmail.messages.get", "count": 8, "probability": 0.5, **fault})
            await s.sync(count=None)
            await _is_complete(s)

    async def test_in_history_lose_no_change(self, stage: OpenStage) -> None:
        async with stage(messages=5, page_size=10) as s:
            await s.sync(count=None)
            await s.at_provider.deliver_many(25)
            await s.at_provider.fail(
                *({"method": "gmail.history.list", "count": 1, "after": after, **fault}
                  for after, fault in enumerate(TRANSIENT[:8]))
            )  # fmt: skip
            await s.hint()
            await s.mirrors(exactly_paid=False)

    @pytest.mark.parametrize("batch", [True, False])
    async def test_of_the_whole_provider_count_against_no_message(self, stage: OpenStage, *, batch: bool) -> None:
        retries = Retries(base_seconds=0.02, unavailable=2)
        async with stage(messages=10, batch=batch, retries=retries) as s:
            outage = {"kind": "html_503"}
            await s.at_provider.fail(
                {"method": "gmail.messages.get", **outage}, {"method": "gmail.labels.list", "after": 1, **outage}
            )
            report = await s.request(count=None)
            for attempts in range(1, 5):
                await s.until_turn_failed(attempts)
            await s.at_provider.sandbox.control("DELETE", "faults")
            ended = await s.ended(report)
            assert ended.sync.state is SyncState.COMPLETED
            await _is_complete(s)

    async def test_that_persist_are_reported_and_end_no_sync(self, stage: OpenStage) -> None:
        async with stage(messages=10) as s:
            await s.at_provider.fail({"method": "*", "kind": "html_503"})
            report = await s.request(count=None)
            await s.until_turn_failed(times=9)
            now = await s.report(report)
            assert (now.sync.state, now.sync.error) == (SyncState.RUNNING, "")
            assert now.wait is not None
            assert now.wait.last_error == "provider_unavailable"
            assert now.wait.reason in (WaitReason.PROVIDER, None)
            await s.at_provider.sandbox.control("DELETE", "faults")
            ended = await s.ended(report, within=30)
            assert (ended.sync.state, ended.sync.error, ended.wait) == (SyncState.COMPLETED, "", None)
            await _is_complete(s)


class TestLimits:
    @pytest.mark.parametrize("limit", LIMITS, ids=_name)
    async def test_are_waited_out(self, stage: OpenStage, limit: dict[str, object]) -> None:
        async with stage(messages=20) as s:
            await s.at_provider.fail({"method": "gmail.messages.get", "kind": "error", "count": 3, "after": 4, **limit})
            report = await s.sync(count=None, within=30)
            assert report.sync.state is SyncState.COMPLETED
            assert await s.at_provider.fired() == [3]
            await _is_complete(s)

    async def test_at_the_listing_are_waited_out(self, stage: OpenStage) -> None:
        async with stage(messages=20) as s:
            limit = {"method": "gmail.messages.list", "kind": "error", "status": 403, "retry_after": 0.6}
            await s.at_provider.fail({**limit, "reason": "userRateLimitExceeded", "count": 1})
            await s.sync(count=None)
            await _is_complete(s)

    async def test_are_never_met_by_our_own_calls(self, stage: OpenStage) -> None:
        async with stage(messages=400, workers=2) as s:
            await s.sync(count=None)
            quota = await s.at_provider.quota()
            assert quota["rejected"] == 0
            assert quota["peak_sliding_window"] <= 6000
            assert quota["units"] > 6000, "the test means nothing unless there is more to fetch than one window allows"


class TestTokens:
    async def test_refused_once_are_replaced(self, stage: OpenStage) -> None:
        async with stage(messages=20) as s:
            await s.sync(count=5)
            await s.at_provider.control("POST", "tokens/expire")
            report = await s.sync(count=None)
            assert report.sync.state is SyncState.COMPLETED
            assert len(s.auth.refused) == 1
            await _is_complete(s)

    async def test_refused_within_a_batch_are_replaced(self, stage: OpenStage) -> None:
        for batch in (True, False):
            async with stage(messages=20, batch=batch) as s:
                await s.at_provider.fail({"method": "gmail.messages.get", "kind": "error", "status": 401, "count": 4})
                await s.sync(count=None)
                assert s.auth.refused
                await _is_complete(s)

    async def test_revoked_end_the_sync_until_the_user_reconnects(self, stage: OpenStage) -> None:
        async with stage(messages=20) as s:
            await s.sync(count=5)
            await s.at_provider.control("POST", "revoke")
            with structlog.testing.capture_logs() as logs:
                report = await s.sync(count=None)
            assert (report.sync.state, report.sync.error) == (SyncState.FAILED, "reauth_required")
            assert "reauth_required" in [
                entry["reason"] for entry in logs if entry["event"].startswith("access has ended")
            ]
            [overview] = await s.mailboxes.overviews(MailboxQuery(user_id=s.user_id))
            assert overview.mailbox.status is MailboxStatus.REAUTH_REQUIRED
            with pytest.raises(Exception, match="reauth_required"):
                await s.request(count=5)
            await s.auth.connect(s.account.email)
            again = await s.sync(count=None)
            assert again.sync.state is SyncState.COMPLETED
            await _is_complete(s)

    async def test_renewed_make_the_mailbox_due_by_themselves(self, stage: OpenStage) -> None:
        async with stage(messages=5) as s:
            await s.sync(count=None)
            await s.at_provider.control("POST", "revoke")
            await s.sync(count=None)
            new = await s.at_provider.deliver()
            await s.auth.connect(s.account.email)
            await s.mailboxes.overviews(MailboxQuery(user_id=s.user_id))
            await s.until_stored(new)

    @pytest.mark.parametrize("is_noticed", [False, True])
    async def test_renewed_during_a_turn_outlast_what_it_was_told(self, stage: OpenStage, *, is_noticed: bool) -> None:
        async with stage(messages=5, retries=Retries(base_seconds=0.05)) as s:
            await s.sync(count=None)
            # A turn of its own learns the addresses, and takes a refusal for no end.
            await s.hint()
            await s.until_idle()
            await s.at_provider.control("POST", "revoke")
            if is_noticed:
                await s.sync(count=None)
            s.auth.told_of_ends.clear()
            refusals = len(s.auth.refused)
            await s.hint()

            async def is_asked() -> bool:
                return len(s.auth.refused) > refusals

            await eventually(is_asked)
            new = await s.at_provider.deliver()
            await s.auth.connect(s.account.email)
            await s.mailboxes.refresh(s.user_id, signed_in=True)
            s.auth.told_of_ends.set()
            await s.until_stored(new)
            ends = await s.fetchval(
                "SELECT count(*) FROM message_changes WHERE event = $1", FeedEvent.REAUTH_REQUIRED.value
            )
            assert ends == is_noticed

    async def test_that_auth_cannot_issue_now_are_waited_for(self, stage: OpenStage) -> None:
        async with stage(messages=5, retries=Retries(base_seconds=0.05)) as s:
            await s.mailbox()
            s.auth.is_down = True
            report = await s.request(count=None)
            await s.until_turn_failed()
            s.auth.is_down = False
            ended = await s.ended(report)
            assert ended.sync.state is SyncState.COMPLETED
            await _is_complete(s)


class TestSingleMessages:
    async def test_that_are_deleted_are_left_out(self, stage: OpenStage) -> None:
        async with stage(messages=20) as s:
            gone = (await s.at_provider.visible())[4]
            await s.at_provider.fail({"method": "gmail.messages.get", "kind": "error", "path": gone, "status": 404,
                                      "reason": "notFound"})  # fmt: skip
            report = await s.sync(count=None)
            assert report.sync.state is SyncState.COMPLETED
            assert report.dead_letter_count == 0
            truth = await s.at_provider.truth()
            del truth[gone]
            assert await s.stored() == truth

    @pytest.mark.parametrize(
        ("fault", "reason"),
        [
            ({"kind": "error", "status": 400, "reason": "failedPrecondition"}, "rejected_by_provider"),
            ({"kind": "error", "status": 500}, "provider_unavailable"),
            ({"kind": "error", "status": 403, "reason": "forbidden"}, "access_denied"),
        ],
    )
    async def test_that_always_fail_become_dead_letters(
        self, stage: OpenStage, fault: dict[str, object], reason: str
    ) -> None:
        async with stage(messages=20) as s:
            poison = (await s.at_provider.visible())[4]
            await s.at_provider.fail({"method": "gmail.messages.get", "path": poison, **fault})
            report = await s.sync(count=None)
            assert report.sync.state is SyncState.COMPLETED
            assert [(letter.external_id, letter.reason) for letter in report.dead_letters] == [(poison, reason)]
            assert report.dead_letter_count == 1
            truth = await s.at_provider.truth()
            del truth[poison]
            assert await s.stored() == truth

    async def test_that_are_unreadable_become_dead_letters(self, stage: OpenStage) -> None:
        async with stage(messages=5) as s:
            poison = await s.at_provider.deliver(extra={"id": "0123456789abcdef"})
            report = await s.sync(count=None)
            assert [(letter.external_id, letter.reason) for letter in report.dead_letters] == [
                (poison, "unreadable_message")
            ]
            assert len(await s.stored()) == 5

    async def test_with_dead_letters_are_retried_on_request(self, stage: OpenStage) -> None:
        async with stage(messages=6) as s:
            poison = (await s.at_provider.visible())[2]
            await s.at_provider.fail({"method": "gmail.messages.get", "path": poison, "kind": "error", "status": 500})
            await s.sync(count=6)
            await s.at_provider.sandbox.control("DELETE", "faults")
            report = await s.sync(count=6)
            assert report.dead_letters == []
            assert poison in await s.stored()

    async def test_with_dead_letters_that_are_deleted_lose_these(self, stage: OpenStage) -> None:
        async with stage(messages=6) as s:
            poison = (await s.at_provider.visible())[2]
            await s.at_provider.fail({"method": "gmail.messages.get", "path": poison, "kind": "error", "status": 500})
            await s.sync(count=None)
            await s.at_provider.delete(poison)
            report = await s.sync(count=None)
            assert report.dead_letters == []
            await _is_complete(s)

    async def test_older_than_wanted_are_fetched_again(self, stage: OpenStage) -> None:
        async with stage(messages=4) as s:
            await s.sync(count=None)
            id_ = await s.at_provider.deliver(extra={"historyId": "3"})
            await s.hint()
            await s.until_stored(id_)
            await s.until_idle()
            # The older version is accepted after four more gets.
            assert await s.at_provider.calls("gmail.messages.get") == 4 + 5


class TestServersOfOurOwn:
    async def test_lost_database_connections_are_reopened(self, stage: OpenStage) -> None:
        async with stage(messages=150) as s:
            report = await s.request(count=None)
            await s.until_stored_some(20)
            killer = await connect(s.servers.database, name="killer")
            for _ in range(3):
                await killer.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'mail-worker-%'"
                )
                await asyncio.sleep(0)
            await killer.close()
            ended = await s.ended(report)
            assert ended.sync.state is SyncState.COMPLETED
            await _is_complete(s)
            # Only the listener makes this fast, so it is back as well.
            await s.at_provider.deliver()
            await s.hint()
            await s.mirrors()

    async def test_a_redis_that_lost_its_data_does_no_harm(self, stage: OpenStage) -> None:
        async with stage(messages=320) as s:
            report = await s.request(count=None)
            for least in (50, 150, 250):
                await s.until_stored_some(least)
                await s.servers.forget_quota()
            await s.ended(report)
            await _is_complete(s)
            assert (await s.at_provider.quota())["rejected"] == 0
