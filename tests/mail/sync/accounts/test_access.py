"""Denials of access: a single one costs nothing, a lasting one is reported with its reason, and access returns."""

from dataclasses import replace

import pytest
import structlog

from services.mail.model import MailboxQuery, MailboxStatus, SyncReport, SyncState, WaitReason
from services.mail.store.control import mailbox_access, schedule
from services.mail.store.control.leases import LeaseLostError
from services.mail.sync.accounts.access import MailboxAccess, Patience
from tests.mail.conftest import OpenStage
from tests.support.mail.stage import Stage
from tests.support.mail.turns import claim
from tests.support.mail.waiting import eventually

# Denials last at once, so that tests need not wait.
QUICK = Patience(denials=3, seconds=0.0, pause=0.05, lasting_pause=0.3)
# No denial lasts.
LENIENT = Patience(denials=10**6, seconds=0.0, pause=0.05)
POLICY = {"kind": "error", "status": 403, "reason": "domainPolicy"}


async def deny(s: Stage, **more: object) -> None:
    """Let the provider deny calls."""
    await s.at_provider.fail({"method": "gmail.*", **POLICY, **more})


async def allow(s: Stage) -> None:
    """End all faults."""
    await s.at_provider.sandbox.control("DELETE", "faults")


async def denied_reason(s: Stage) -> str:
    """Return the reason that the list of addresses shows."""
    [overview] = await s.mailboxes.overviews(MailboxQuery(user_id=s.user_id))
    assert overview.mailbox.status is MailboxStatus.ACTIVE
    return overview.mailbox.access_denied_reason


async def until_denied(s: Stage) -> None:
    """Wait until the denial lasts."""

    async def lasts() -> bool:
        return await denied_reason(s) != ""

    await eventually(lasts)


async def until_granted(s: Stage) -> None:
    """Wait until access is back."""

    async def is_back() -> bool:
        return await denied_reason(s) == ""

    await eventually(is_back)


async def denied_sync(s: Stage) -> SyncReport:
    """Return a sync that a lasting denial has ended."""
    await deny(s)
    return await s.ended(await s.request(count=None))


class TestSlip:
    async def test_is_tried_again_and_ends_no_sync(self, stage: OpenStage) -> None:
        async with stage(messages=5, patience=LENIENT) as s:
            await s.sync(count=1)
            await deny(s, method="gmail.history.list", count=1)
            report = await s.sync(count=None)
            assert (report.sync.state, report.sync.error) == (SyncState.COMPLETED, "")
            assert await s.at_provider.fired() == [1]
            assert s.auth.denials == []
            await s.mirrors(exactly_paid=False)

    @pytest.mark.parametrize("poll_seconds", [0.2, 600.0])
    async def test_waits_for_a_minute_whatever_the_poll_interval(self, stage: OpenStage, poll_seconds: float) -> None:
        """A mail server counts refused sign-ins: few of them may come before the denial lasts."""
        async with stage(messages=5, poll_seconds=poll_seconds) as s:
            await s.sync(count=1)
            await deny(s)
            report = await s.request(count=None)
            await s.until_turn_failed()
            due = await s.fetchval("SELECT extract(epoch FROM due_at - now())::float8 FROM mailbox_schedule")
            assert 50 < due <= 60
            now = await s.report(report)
            assert now.sync.state is SyncState.RUNNING
            assert now.wait is not None
            assert (now.wait.reason, now.wait.last_error) == (WaitReason.ACCESS, "access_denied")

    async def test_ends_with_the_next_success(self, stage: OpenStage) -> None:
        async with stage(messages=5, patience=Patience(denials=2, seconds=0.0, pause=0.05)) as s:
            await s.sync(count=None)
            for _ in range(3):
                await deny(s, method="gmail.history.list", count=1)
                await s.hint()
                await s.until_idle()
                await s.until_released()
                assert await s.at_provider.fired() == [1]
            assert s.auth.denials == []

    async def test_does_not_end_with_a_turn_without_calls(self, stage: OpenStage) -> None:
        async with stage(messages=5, patience=QUICK, workers=0) as s:
            async with s.another_worker():
                await s.sync(count=None)
            await s.pool.execute("UPDATE mailboxes SET denials = 2")
            await s.pool.execute("UPDATE sync_states SET caught_up_at = now()")
            async with s.another_worker() as worker:
                await s.pool.execute("UPDATE mailbox_schedule SET lane = 0, due_at = now()")
                await s.pool.execute(f"NOTIFY {schedule.CHANNEL}")

                async def has_run() -> bool:
                    return worker.count("sync_turns_total", outcome="done") >= 1

                await eventually(has_run)
            assert await s.fetchval("SELECT denials FROM mailboxes") == 2


class TestLasting:
    async def test_needs_several_turns_and_some_time(self, stage: OpenStage) -> None:
        patience = Patience(denials=2, seconds=1.0, pause=0.05)
        async with stage(messages=5, patience=patience) as s:
            await s.sync(count=1)
            await deny(s)
            await s.request(count=None)
            await s.until_turn_failed(times=4)
            first = await s.fetchval("SELECT denied_since FROM mailboxes")
            await until_denied(s)
            now = await s.fetchval("SELECT now()")
            assert (now - first).total_seconds() >= 1.0

    async def test_is_reported_with_its_reason(self, stage: OpenStage) -> None:
        async with stage(messages=5, patience=QUICK) as s:
            with structlog.testing.capture_logs() as logs:
                report = await denied_sync(s)
            assert (report.sync.state, report.sync.error) == (SyncState.FAILED, "access_denied")
            assert report.mailbox.access_denied_reason == "admin_policy"
            assert await denied_reason(s) == "admin_policy"
            told = [entry for entry in logs if entry["event"] == "provider denies access"]
            assert [entry["lasts"] for entry in told][:3] == [False, False, True]
            assert {entry["denial"] for entry in told} == {"admin_policy"}
            assert all("403 domainPolicy" in entry["detail"] for entry in told)
            assert s.auth.denials[0] == "admin_policy"
            assert s.workers[0].count("sync_turns_total", outcome="access_denied") >= 3

    @pytest.mark.parametrize(
        ("answer", "reason"),
        [
            ({"status": 403, "reason": "insufficientPermissions"}, "missing_scope"),
            ({"status": 403, "reason": "forbidden", "message": "Metadata scope doesn't allow that"}, "missing_scope"),
            ({"status": 403, "reason": "forbidden", "message": "Delegation denied"}, "denied"),
            (
                {"status": 400, "reason": "failedPrecondition", "message": "Mail service not enabled"},
                "mailbox_disabled",
            ),
        ],
    )
    async def test_has_the_reason_of_the_answer(self, stage: OpenStage, answer: dict[str, object], reason: str) -> None:
        async with stage(messages=1, patience=QUICK) as s:
            await deny(s, **answer)
            await s.request()
            await until_denied(s)
            assert await denied_reason(s) == reason

    async def test_by_auth_at_a_refresh_is_reported_alike(self, stage: OpenStage) -> None:
        async with stage(messages=5, patience=QUICK) as s:
            await s.sync(count=1)
            s.auth.refresh_denial = "app_restricted"
            await s.at_provider.control("POST", "tokens/expire")
            report = await s.ended(await s.request(count=None))
            assert (report.sync.state, report.sync.error) == (SyncState.FAILED, "access_denied")
            assert await denied_reason(s) == "app_restricted"
            s.auth.refresh_denial = ""
            await until_granted(s)
            await s.sync(count=None)
            await s.mirrors(exactly_paid=False)

    async def test_is_shown_while_auth_is_unavailable(self, stage: OpenStage) -> None:
        async with stage(messages=5, patience=QUICK) as s:
            await s.sync(count=1)
            s.auth.refuses_reports = True
            report = await denied_sync(s)
            assert report.sync.error == "access_denied"
            assert report.mailbox.access_denied_reason == "admin_policy"
            assert s.auth.denials == []
            s.auth.refuses_reports = False
            await eventually(lambda: has_reported(s))

    async def test_fails_the_next_sync_at_its_first_turn(self, stage: OpenStage) -> None:
        patience = Patience(denials=3, seconds=0.0, pause=0.05)
        async with stage(messages=5, patience=patience) as s:
            await denied_sync(s)
            again = await s.sync(count=None)
            assert (again.sync.state, again.sync.error) == (SyncState.FAILED, "access_denied")
            due = await s.fetchval("SELECT extract(epoch FROM due_at - now())::float8 FROM mailbox_schedule")
            assert 800 < due <= 900


async def has_reported(s: Stage) -> bool:
    """Return whether auth knows of the denial."""
    return s.auth.denials[-1:] == ["admin_policy"]


class TestHealing:
    async def test_by_a_sign_in_outlasts_a_denial_of_a_turn_that_began_before(self, stage: OpenStage) -> None:
        patience = Patience(denials=1, seconds=0.0, pause=0.05, lasting_pause=900.0)
        async with stage(messages=5, patience=patience) as s:
            await s.sync(count=None)
            # A turn of its own learns the addresses, and takes a refusal for no end.
            await s.hint()
            await s.until_idle()
            s.auth.refresh_denial = "app_restricted"
            s.auth.told_of_ends.clear()
            await s.at_provider.control("POST", "tokens/expire")
            await s.hint()

            async def is_asked() -> bool:
                return len(s.auth.refused) > 0

            await eventually(is_asked)
            new = await s.at_provider.deliver()
            s.auth.refresh_denial = ""
            await s.auth.connect(s.account.email)
            await s.mailboxes.refresh(s.user_id, signed_in=True)
            s.auth.told_of_ends.set()
            await s.until_stored(new)
            assert s.auth.denials == []
            assert await denied_reason(s) == ""

    async def test_happens_without_a_request(self, stage: OpenStage) -> None:
        async with stage(messages=5, patience=QUICK) as s:
            await s.sync(count=None)
            await denied_sync(s)
            new = await s.at_provider.deliver()
            await allow(s)
            with structlog.testing.capture_logs() as logs:
                await s.until_stored(new)
                await until_granted(s)
            assert s.auth.denials[-1] == ""
            assert "provider grants access again" in [entry["event"] for entry in logs]
            assert await s.fetchval("SELECT denials = 0 AND denied_since IS NULL FROM mailboxes")

    async def test_waits_until_auth_has_the_report(self, stage: OpenStage) -> None:
        async with stage(messages=5, patience=QUICK) as s:
            await s.sync(count=None)
            await denied_sync(s)
            s.auth.refuses_reports = True
            new = await s.at_provider.deliver()
            await allow(s)
            await s.until_stored(new)
            await s.until_turn_failed(times=6)
            assert await s.fetchval("SELECT access_denied_reason FROM mailboxes") == "admin_policy"
            s.auth.refuses_reports = False
            await until_granted(s)
            assert s.auth.denials[-1] == ""

    async def test_happens_at_once_with_a_requested_sync(self, stage: OpenStage) -> None:
        patience = Patience(denials=1, seconds=0.0)
        async with stage(messages=5, patience=patience) as s:
            await denied_sync(s)
            await allow(s)
            report = await s.sync(count=None)
            assert report.sync.state is SyncState.COMPLETED
            await until_granted(s)

    async def test_happens_at_once_with_a_new_sign_in(self, stage: OpenStage) -> None:
        patience = Patience(denials=1, seconds=0.0)
        async with stage(messages=5, patience=patience) as s:
            await s.sync(count=None)
            await denied_sync(s)
            new = await s.at_provider.deliver()
            await allow(s)
            await s.auth.connect(s.account.email)
            await s.mailboxes.refresh(s.user_id)
            await s.until_stored(new)
            assert await denied_reason(s) == ""


class TestLostLease:
    async def test_records_no_access(self, stage: OpenStage) -> None:
        async with stage(workers=0) as s:
            await s.request(count=None)
            mailbox, lease = await s.mailbox(), await claim(s.pool)
            # Another worker has the mailbox now, and meets a denial.
            await s.pool.execute("UPDATE mailbox_schedule SET lease_epoch = lease_epoch + 1")
            async with s.pool.acquire() as connection:
                await mailbox_access.count_denial(connection, mailbox.mailbox_id)
            access = MailboxAccess(pool=s.pool, auth=s.auth)
            with pytest.raises(LeaseLostError):
                await access.granted(lease, replace(mailbox, denials=1))
            assert await s.fetchval("SELECT denials FROM mailboxes") == 1


class TestNotification:
    async def test_of_a_denied_mailbox_does_not_make_it_due(self, stage: OpenStage) -> None:
        patience = Patience(denials=1, seconds=0.0)
        async with stage(messages=5, patience=patience) as s:
            await denied_sync(s)
            async with s.pool.acquire() as connection:
                hinted = await schedule.hint(
                    connection, provider="google", email=s.account.email, cursor=2**60, echo_seconds=1.1
                )
            assert hinted == 0
