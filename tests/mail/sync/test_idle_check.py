"""Idle mailboxes are checked in groups, and become due when something has changed."""

import pytest

from services.mail.model import Lane, MailboxStatus
from services.mail.sync.idle_check import IdleCheck
from tests.mail.conftest import OpenStage
from tests.support.mail.stage import Stage, connect_user
from tests.support.mail.turns import sandbox_provider, worker_access
from tests.support.mail.waiting import eventually

POLL = 0.3


async def until_at_rest(s: Stage) -> None:
    """Waits until nothing is left to do for any mailbox."""

    async def is_at_rest() -> bool:
        return bool(await s.fetchval("SELECT bool_and(lane = $1) FROM mailbox_schedule", Lane.IDLE))

    await eventually(is_at_rest)


async def until_looked_at(s: Stage, times: int = 2) -> None:
    """Waits until history has been read so often from now on."""
    before = await s.at_provider.calls("gmail.history.list")

    async def was_looked_at() -> bool:
        return await s.at_provider.calls("gmail.history.list") >= before + times

    await eventually(was_looked_at)


class TestAtRest:
    async def test_a_look_costs_one_call_and_no_turn(self, stage: OpenStage) -> None:
        async with stage(messages=5, poll_seconds=POLL) as s:
            await s.sync()
            await until_at_rest(s)
            epoch = await s.fetchval("SELECT lease_epoch FROM mailbox_schedule")
            synced = await s.fetchval("SELECT last_synced_at FROM sync_states")
            others = [await s.at_provider.calls(f"gmail.{name}") for name in ("labels.list", "messages.list")]
            await until_looked_at(s, times=3)
            assert await s.fetchval("SELECT lease_epoch FROM mailbox_schedule") == epoch
            assert await s.fetchval("SELECT last_synced_at FROM sync_states") > synced
            assert [await s.at_provider.calls(f"gmail.{name}") for name in ("labels.list", "messages.list")] == others

    async def test_what_happens_at_the_provider_is_found_without_any_hint(self, stage: OpenStage) -> None:
        async with stage(messages=5, poll_seconds=POLL) as s:
            await s.sync(count=None)
            await until_at_rest(s)
            new = await s.at_provider.deliver()
            await s.until_stored(new)
            await until_at_rest(s)
            await s.at_provider.delete(new)

            async def is_gone() -> bool:
                return not await s.fetchval("SELECT EXISTS (SELECT FROM messages WHERE external_id = $1)", new)

            await eventually(is_gone)
            await s.mirrors()

    async def test_a_lost_history_is_healed(self, stage: OpenStage) -> None:
        async with stage(messages=5, poll_seconds=POLL) as s:
            await s.sync(count=None)
            await until_at_rest(s)
            new = await s.at_provider.deliver()
            await s.at_provider.lose_history()
            await s.until_stored(new)
            await s.mirrors()

    async def test_a_revoked_grant_is_noticed(self, stage: OpenStage) -> None:
        async with stage(messages=5, poll_seconds=POLL) as s:
            await s.sync()
            await until_at_rest(s)
            await s.at_provider.control("POST", "revoke")

            async def is_noticed() -> bool:
                return bool(await s.fetchval("SELECT status = $1 FROM mailboxes", MailboxStatus.REAUTH_REQUIRED.value))

            await eventually(is_noticed)

    @pytest.mark.parametrize("kind", ["html_503", "reset"])
    async def test_an_outage_loses_nothing(self, stage: OpenStage, kind: str) -> None:
        async with stage(messages=5, poll_seconds=POLL) as s:
            await s.sync(count=None)
            await until_at_rest(s)
            await s.at_provider.fail({"method": "gmail.history.list", "kind": kind, "count": 3})
            new = await s.at_provider.deliver()
            await s.until_stored(new)
            assert await s.at_provider.fired() == [3]

    async def test_forgotten_quota_delays_a_look_only_for_a_moment(self, stage: OpenStage) -> None:
        async with stage(messages=5, poll_seconds=POLL) as s:
            await s.sync(count=None)
            await until_at_rest(s)
            await s.servers.forget_quota()
            await until_looked_at(s)

    async def test_a_look_that_waits_for_its_units_is_paid_for(self, stage: OpenStage) -> None:
        async with stage(messages=3, workers=0) as s, sandbox_provider(s) as provider:
            await s.sync_with_worker(count=None)
            await s.until_released()
            await s.pool.execute("UPDATE mailbox_schedule SET due_at = now()")
            access = worker_access(s)
            check = IdleCheck(pool=s.pool, providers={"google": provider}, access=access, poll_seconds=600.0)
            before = await s.at_provider.calls("gmail.history.list")
            await access.quota.pause((await s.mailbox()).mailbox_id, 0.15, whole_project=False)
            assert await check.look() == 1
            assert await s.at_provider.calls("gmail.history.list") == before + 1
            await check.close()
            await access.quota.flush()
            await s.is_paid()

    async def test_each_of_many_is_looked_at_and_only_the_changed_one_gets_a_turn(self, stage: OpenStage) -> None:
        async with stage(messages=2, poll_seconds=POLL, slots=8) as s:
            others = [await connect_user(s.servers.sandbox, s.auth, messages=2, user_id=s.user_id) for _ in range(12)]
            await s.sync(count=None)
            for account, _ in others:
                mailbox = await s.mailboxes.find(s.user_id, account_id=account.account_id)
                await s.ended(await s.syncs.start(mailbox, newest_count=None))
            await until_at_rest(s)
            epochs = "SELECT sum(lease_epoch) FROM mailbox_schedule WHERE mailbox_id <> $1"
            changed = (await s.mailbox()).mailbox_id
            before = await s.fetchval(epochs, changed)
            new = await s.at_provider.deliver()
            await s.until_stored(new)

            async def all_were_looked_at() -> bool:
                return all([await at_provider.calls("gmail.history.list") > 0 for _, at_provider in others])

            await eventually(all_were_looked_at)
            assert await s.fetchval(epochs, changed) == before
