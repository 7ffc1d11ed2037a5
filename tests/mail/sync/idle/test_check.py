"""Idle mailboxes are checked in groups, and become due when something has changed."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import ClassVar, NoReturn, override

import pytest
import structlog
from prometheus_client import CollectorRegistry

from services.mail.model import HistoryDelta, Label, Lane, MailboxQuery, MailboxStatus
from services.mail.provider_access.outages import ProviderOutages, ProviderOutError
from services.mail.providers.base import HistoryPage, Profile
from services.mail.providers.errors import ProviderUnavailableError, TokenRefusedError
from services.mail.store.control import mailbox_overviews
from services.mail.sync.idle.budget import report_misfit
from services.mail.sync.idle.check import IdleCheck
from services.mail.sync.idle.metrics import IdleMetrics
from services.mail.sync.idle.rounds import IdleIntervals
from tests.mail.conftest import OpenStage
from tests.support.mail.running_worker import worker_limits
from tests.support.mail.sandbox_control import SandboxMailbox
from tests.support.mail.scripted_history import ScriptedHistory
from tests.support.mail.stage import Stage, connect_user
from tests.support.mail.turns import provider_access, worker_access
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


async def set_checked_at(s: Stage, time: str) -> None:
    """Set when the group of the mailboxes was checked, whether or not a worker has noticed it yet."""
    await s.pool.execute(
        f"INSERT INTO idle_groups (group_id, checked_at) VALUES (0, {time}) "  # noqa: S608 - the test's own
        "ON CONFLICT (group_id) DO UPDATE SET checked_at = excluded.checked_at"
    )


async def last_synced_at(s: Stage) -> datetime:
    """Return what the user's list of addresses says."""
    async with s.pool.acquire() as connection:
        [overview] = await mailbox_overviews.overviews(connection, MailboxQuery(user_id=s.user_id))
    assert overview.last_synced_at is not None
    return overview.last_synced_at


class TestAtRest:
    async def test_a_look_costs_one_call_no_turn_and_no_row_of_the_mailbox(self, stage: OpenStage) -> None:
        async with stage(messages=5, poll_seconds=POLL) as s:
            await s.sync()
            await until_at_rest(s)
            rows = (
                "SELECT s.xmin::text, s.ctid::text, c.xmin::text, c.ctid::text FROM mailbox_schedule s, sync_states c"
            )
            before, synced = await s.pool.fetchrow(rows), await last_synced_at(s)
            listings = await s.at_provider.calls("gmail.messages.list")
            await until_looked_at(s, times=3)
            assert await s.pool.fetchrow(rows) == before
            assert await s.at_provider.calls("gmail.messages.list") == listings

            async def is_known_to_be_current() -> bool:
                return await last_synced_at(s) > synced

            await eventually(is_known_to_be_current)

    async def test_a_new_name_of_a_label_is_found(self, stage: OpenStage) -> None:
        async with stage(messages=5, poll_seconds=POLL) as s:
            label_id = await s.at_provider.create_label("Study")
            await s.sync()
            await until_at_rest(s)
            await s.at_provider.control("PATCH", f"labels/{label_id}", {"name": "Leisure"})

            async def is_renamed() -> bool:
                return bool(await s.fetchval("SELECT name = 'Leisure' FROM labels WHERE label_id = $1", label_id))

            await eventually(is_renamed)

    async def test_a_new_address_is_learned_without_a_turn_before(self, stage: OpenStage) -> None:
        async with stage(messages=2, poll_seconds=POLL, address_seconds=4 * POLL) as s:
            await s.sync(count=None)
            await until_at_rest(s)
            epoch = await s.fetchval("SELECT lease_epoch FROM mailbox_schedule")
            await until_looked_at(s, times=5)
            # As long as it is the same, no turn is taken.
            assert await s.fetchval("SELECT lease_epoch FROM mailbox_schedule") == epoch
            new = f"new.{s.at_provider.email}"
            s.at_provider = await s.at_provider.renamed(new)

            async def is_learned() -> bool:
                return bool(await s.fetchval("SELECT email = $1 AND NOT address_check_due FROM mailboxes", new))

            await eventually(is_learned)
            assert s.auth.addresses == [new]
            await until_at_rest(s)
            await s.mirrors()

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
            # A check that finds no history has paid for the labels, too.
            await s.mirrors(exactly_paid=False)

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

    async def test_looks_that_waited_for_their_units_are_paid_for(self, stage: OpenStage) -> None:
        async with stage(messages=5, poll_seconds=POLL) as s:
            await s.sync(count=None)
            await until_at_rest(s)
            quota, identity = worker_access(s).quotas["google"], (await s.mailbox()).identity

            async def has_waited() -> bool:
                await quota.pause(identity, 0.2, whole_project=True)
                return s.workers[0].count("quota_waits_total", scope="project") > 0

            await eventually(has_waited)
            await until_looked_at(s)
            await s.workers[0].drain()
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


# The lease of a group says that a visit of it is under way.
UNDER_WAY = "SELECT count(*) FROM idle_groups WHERE lease_until > now()"


class Unanswered(ScriptedHistory):
    """A provider that answers no look until `answers` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = asyncio.Event()

    async def list_changes(self, access_token: str, *, cursor: int, page_token: str | None) -> HistoryPage:
        """No changes, later."""
        del access_token, page_token
        await self.answers.wait()
        return HistoryPage(changes=HistoryDelta(), last_record=None, latest=cursor, next_page_token=None)


@asynccontextmanager
async def due_check(
    stage: OpenStage,
    provider: ScriptedHistory,
    *,
    longest_look: float = 60.0,
    outages: ProviderOutages | None = None,
) -> AsyncIterator[tuple[Stage, IdleCheck]]:
    """Yield the check of an idle mailbox of this provider that is due: for history, labels and address."""
    async with stage(messages=2, workers=0) as s:
        await s.sync_with_worker()
        await until_at_rest(s)
        await set_checked_at(s, "'-infinity'")
        await s.pool.execute("UPDATE mailbox_schedule SET due_at = now()")
        check = IdleCheck(
            pool=s.pool,
            providers={"google": provider},
            access=provider_access(s),
            intervals=IdleIntervals(shortest=600, longest=600),
            metrics=IdleMetrics(CollectorRegistry()),
            outages=outages or ProviderOutages(),
            parallel=4,
            longest_look=longest_look,
        )
        yield s, check
        await check.close()


class RefusedToken(Unanswered):
    """A provider that refuses the token when it is asked for labels first."""

    def __init__(self) -> None:
        super().__init__()
        self.answers.set()
        self.calls: list[str] = []

    async def list_changes(self, access_token: str, *, cursor: int, page_token: str | None) -> HistoryPage:
        """No changes."""
        self.calls.append("history")
        return await super().list_changes(access_token, cursor=cursor, page_token=page_token)

    async def list_labels(self, access_token: str) -> list[Label] | None:
        """The labels, at the second time."""
        self.calls.append("labels")
        if self.calls.count("labels") == 1:
            raise TokenRefusedError
        return await super().list_labels(access_token)

    async def profile(self, access_token: str) -> Profile:
        """A profile without an address."""
        self.calls.append("profile")
        return await super().profile(access_token)


class TestRefusedTokens:
    async def test_repeat_no_call_that_was_answered_and_paid_for(self, stage: OpenStage) -> None:
        provider = RefusedToken()
        async with due_check(stage, provider) as (s, check):
            await check.look()

            async def has_ended() -> bool:
                return int(await s.fetchval(UNDER_WAY)) == 0

            await eventually(has_ended)
            assert provider.calls == ["history", "labels", "labels", "profile"]


class TestClose:
    async def test_looks_that_are_under_way_are_due_again(self, stage: OpenStage) -> None:
        async with due_check(stage, Unanswered()) as (s, check):
            await set_checked_at(s, "now()")
            await s.pool.execute("UPDATE mailbox_schedule SET look_at = now()")
            look = asyncio.create_task(check.look())

            async def is_claimed() -> bool:
                return bool(await s.fetchval("SELECT look_at IS NULL FROM mailbox_schedule"))

            await eventually(is_claimed)
            await check.close()
            await look
            assert await s.fetchval("SELECT look_at <= now() FROM mailbox_schedule")


class TestUnansweredCalls:
    @asynccontextmanager
    async def unanswered(self, stage: OpenStage) -> AsyncIterator[tuple[Stage, IdleCheck]]:
        """Yield a check whose calls are not answered."""
        provider = Unanswered()
        async with due_check(stage, provider) as found:
            yield found
            provider.answers.set()

    async def test_do_not_delay_the_next_look(self, stage: OpenStage) -> None:
        async with self.unanswered(stage) as (s, check):
            assert await check.look()
            assert await s.fetchval(UNDER_WAY) == 1

    async def test_do_not_delay_the_next_visit_of_the_group(self, stage: OpenStage) -> None:
        async with self.unanswered(stage) as (s, check):
            await check.look()

            async def has_ended() -> bool:
                return int(await s.fetchval(UNDER_WAY)) == 0

            await eventually(has_ended)
            assert await s.fetchval("SELECT checked_at > now() - interval '1 hour' FROM idle_groups")
            # The mailbox itself is looked at once more.
            assert await s.fetchval("SELECT look_at IS NOT NULL FROM mailbox_schedule")

    async def test_end_with_a_turn_for_the_mailbox(self, stage: OpenStage) -> None:
        async with due_check(stage, Unanswered(), longest_look=0.1) as (s, check):
            await check.look()

            async def has_a_turn() -> bool:
                return bool(await s.fetchval("SELECT lane = $1 FROM mailbox_schedule", Lane.LIVE))

            await eventually(has_a_turn)


class Changed(ScriptedHistory):
    """A provider with a change that nothing announced."""

    async def list_changes(self, access_token: str, *, cursor: int, page_token: str | None) -> HistoryPage:
        """Return the change."""
        del access_token, page_token
        return HistoryPage(changes=HistoryDelta(), last_record=cursor + 1, latest=cursor + 1, next_page_token=None)


class TestChecksThatFail:
    async def test_after_the_answer_are_made_again_soon(self, stage: OpenStage) -> None:
        async with due_check(stage, Changed()) as (s, check):
            await s.pool.execute(
                f"""
                CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                    IF NEW.lane = {Lane.LIVE} THEN RAISE EXCEPTION 'dying' USING ERRCODE = 'admin_shutdown'; END IF;
                    RETURN NEW; END $$;
                CREATE TRIGGER die BEFORE UPDATE ON mailbox_schedule FOR EACH ROW EXECUTE FUNCTION die()
                """
            )
            try:
                await check.look()

                async def has_ended() -> bool:
                    return int(await s.fetchval(UNDER_WAY)) == 0

                await eventually(has_ended)
            finally:
                await s.pool.execute("DROP FUNCTION die CASCADE")
            assert await s.fetchval(
                "SELECT look_at BETWEEN now() AND now() + interval '1 minute' FROM mailbox_schedule"
            )


def out() -> ProviderOutages:
    """Return outages of which Google's is under way."""
    outages = ProviderOutages()
    for mailbox_id in range(3):
        with contextlib.suppress(ProviderUnavailableError), outages.asking("google", mailbox_id):
            raise ProviderUnavailableError("silence")
    return outages


class TakenPlace(ProviderOutages):
    """Outages in which another mailbox begins to ask before a look does."""

    @override
    def asking(self, provider: str, mailbox_id: int, *, has_failed: bool = False) -> NoReturn:
        raise ProviderOutError("another mailbox asks")


class TestProviderThatAnswersNoMailbox:
    async def test_is_asked_later_by_the_second_of_two_looks_and_costs_no_units(self, stage: OpenStage) -> None:
        async with due_check(stage, Changed(), outages=TakenPlace()) as (s, check):
            await check.look()
            await check.close()
            assert await s.fetchval(
                "SELECT lane = $1 AND look_at BETWEEN now() AND now() + interval '1 minute' FROM mailbox_schedule",
                Lane.IDLE,
            )
            assert check._access.quotas["google"].claim((await s.mailbox()).identity) is None

    async def test_is_asked_by_one_look_that_ends_the_outage(self, stage: OpenStage) -> None:
        """Where silent mailboxes go on failing, no turn of another one may come."""
        outages = out()
        async with due_check(stage, Changed(), outages=outages) as (s, check):
            with outages.asking("google", 1, has_failed=True):
                await check.look()
            assert not outages.is_under_way("google")
            assert await s.fetchval("SELECT lane FROM mailbox_schedule") == Lane.LIVE

    async def test_is_asked_later_while_another_look_asks(self, stage: OpenStage) -> None:
        outages = out()
        async with due_check(stage, Changed(), outages=outages) as (s, check):
            with outages.asking("google", 1):
                await check.look()
            await check.close()
            assert await s.fetchval(
                "SELECT lane = $1 AND look_at BETWEEN now() AND now() + interval '1 minute' FROM mailbox_schedule",
                Lane.IDLE,
            )


class TestUnitsThatCannotBeHad:
    async def test_are_waited_for_by_few_looks(self, stage: OpenStage) -> None:
        async with due_check(stage, Unanswered()) as (s, check):
            await set_checked_at(s, "now()")
            own = (await s.mailbox()).identity
            await provider_access(s).quotas["google"].pause(own, 600, whole_project=True)
            claimed = 0
            for _ in range(8):
                await s.pool.execute("UPDATE mailbox_schedule SET look_at = now() - interval '1 second'")
                await check.look()
                claimed += await s.fetchval("SELECT count(*) FROM mailbox_schedule WHERE look_at IS NULL")
            assert 0 < claimed < 8
            # The others are not forgotten.
            assert await s.fetchval("SELECT look_at < now() FROM mailbox_schedule")


class TestIntervals:
    """Rounds of 0.2 s: a quiet mailbox, or one whose changes are announced, is looked at every 16 rounds."""

    OPTIONS: ClassVar = {"poll_seconds": 0.2, "longest_poll_seconds": 3.2}

    async def announced(self, s: Stage) -> None:
        """Make the mailbox one whose changes are announced."""
        own = (await s.mailbox()).mailbox_id
        await s.pool.execute(
            "INSERT INTO watches VALUES ($1, now() + interval '7 days', now() + interval '1 day')", own
        )
        await s.pool.execute("UPDATE mailbox_schedule SET announced_at = now() WHERE mailbox_id = $1", own)

    async def looks_within(self, s: Stage, others: SandboxMailbox, *, times: int) -> int:
        """Return how many looks at the mailbox come while another one, of which nothing is announced, gets so many."""
        before = [await mailbox.calls("gmail.history.list") for mailbox in (s.at_provider, others)]

        async def are_made() -> bool:
            return await others.calls("gmail.history.list") >= before[1] + times

        await eventually(are_made)
        return await s.at_provider.calls("gmail.history.list") - before[0]

    async def test_are_long_while_changes_are_announced(self, stage: OpenStage) -> None:
        async with stage(messages=2, **self.OPTIONS) as s:
            other = await self.with_another(s)
            await self.announced(s)
            await s.pool.execute("UPDATE mailbox_schedule SET active_at = now() + interval '1 hour'")
            assert await self.looks_within(s, other, times=32) <= 4

    async def test_become_short_once_a_change_was_not_announced(self, stage: OpenStage) -> None:
        async with stage(messages=2, **self.OPTIONS) as s:
            other = await self.with_another(s)
            await self.announced(s)
            new = await s.at_provider.deliver()
            await s.until_stored(new)
            assert await s.fetchval("SELECT missed_at > announced_at FROM mailbox_schedule WHERE missed_at IS NOT NULL")
            await s.pool.execute("UPDATE mailbox_schedule SET active_at = now() + interval '1 hour'")
            assert await self.looks_within(s, other, times=32) >= 16

    async def with_another(self, s: Stage) -> SandboxMailbox:
        """Sync the mailbox and another one of the user's."""
        account, other = await connect_user(s.servers.sandbox, s.auth, messages=2, user_id=s.user_id)
        await s.sync(count=None)
        mailbox = await s.mailboxes.find(s.user_id, account_id=account.account_id)
        await s.ended(await s.syncs.start(mailbox, newest_count=None))
        await until_at_rest(s)
        await s.pool.execute("UPDATE mailbox_schedule SET active_at = now() + interval '1 hour'")
        return other


class TestDay:
    async def spend_part_of_idle_checks(self, s: Stage) -> None:
        async for key in s.servers.redis.scan_iter("mail:quota:day:*:idle"):
            await s.servers.redis.set(key, 10**9)

    async def test_whose_part_for_looks_is_spent_leaves_live_mail_alone(self, stage: OpenStage) -> None:
        async with stage(messages=2, poll_seconds=POLL) as s:
            await s.sync(count=None)
            await until_at_rest(s)
            await until_looked_at(s)
            await self.spend_part_of_idle_checks(s)

            async def is_refused() -> bool:
                return s.workers[0].count("quota_waits_total", scope="day") > 1

            await eventually(is_refused)
            looks = s.workers[0].count("idle_checks_total", outcome="unchanged")
            epoch = await s.fetchval("SELECT lease_epoch FROM mailbox_schedule")
            unhinted = await s.at_provider.deliver()
            await s.hint()
            await s.until_stored(unhinted)
            assert s.workers[0].count("idle_checks_total", outcome="unchanged") == looks
            assert await s.fetchval("SELECT lease_epoch FROM mailbox_schedule") > epoch

    async def test_that_has_units_again_brings_the_looks_that_were_due(self, stage: OpenStage) -> None:
        async with stage(messages=2, poll_seconds=POLL) as s:
            await s.sync(count=None)
            await until_at_rest(s)
            await until_looked_at(s)
            await self.spend_part_of_idle_checks(s)
            new = await s.at_provider.deliver()

            async def is_refused() -> bool:
                return s.workers[0].count("quota_waits_total", scope="day") > 1

            await eventually(is_refused)
            async for key in s.servers.redis.scan_iter("mail:quota:day:*:idle"):
                await s.servers.redis.delete(key)
            await s.until_stored(new)


class TestWorkers:
    async def test_that_end_leave_their_groups_to_others_at_once(self, stage: OpenStage) -> None:
        async with stage(messages=2, poll_seconds=POLL) as s:
            await s.sync(count=None)
            await until_at_rest(s)
            await s.at_provider.fail({"method": "gmail.history.list", "kind": "slow", "seconds": 60})

            async def is_asked() -> bool:
                return bool((await s.at_provider.fired())[0])

            await eventually(is_asked)
            owner = s.workers[0].worker._listener.owner
            assert await s.fetchval(UNDER_WAY) == 1
            # Of a worker that ends without a word its owner id tells which groups were its.
            assert await s.fetchval("SELECT lease_owner = $1 FROM idle_groups", owner)
            await s.workers[0].drain()
            assert await s.fetchval(UNDER_WAY) == 0

    async def test_count_looks_by_outcome(self, stage: OpenStage) -> None:
        async with stage(messages=2, poll_seconds=POLL) as s:
            [worker] = s.workers
            await s.sync(count=None)
            await until_at_rest(s)
            await s.until_stored(await s.at_provider.deliver())
            await until_at_rest(s)
            await s.at_provider.fail({"method": "gmail.history.list", "kind": "html_503", "count": 1})

            async def are_counted() -> bool:
                counts = [worker.count("idle_checks_total", outcome=o) for o in ("unchanged", "changed", "failed")]
                return all(counts)

            await eventually(are_counted)

    async def test_show_by_how_much_looks_are_late(self, stage: OpenStage) -> None:
        async with stage(messages=2, poll_seconds=600) as s:
            [worker] = s.workers
            await s.sync()
            await until_at_rest(s)
            assert worker.count("idle_checks_late_seconds") == 0
            await set_checked_at(s, "now() - interval '1 day'")

            async def is_shown() -> bool:
                return 86_400 - 2 * 600 <= worker.count("idle_checks_late_seconds") < 86_400 - 2 * 600 + 60

            await eventually(is_shown)

    async def test_show_a_late_group_beside_others_in_time_and_while_it_waits(self, stage: OpenStage) -> None:
        provider = Unanswered()
        async with stage(messages=2, workers=0) as s:
            await s.sync_with_worker()
            await until_at_rest(s)
            own, registry, clock = (await s.mailbox()).identity, CollectorRegistry(), [0.0]
            access = provider_access(s)
            await access.quotas["google"].pause(own, 3600, whole_project=True)
            await set_checked_at(s, "now() - interval '1200 seconds'")
            await s.pool.execute("UPDATE mailbox_schedule SET due_at = now()")
            check = IdleCheck(
                pool=s.pool,
                providers={"google": provider},
                access=access,
                intervals=IdleIntervals(shortest=600, longest=600),
                metrics=IdleMetrics(registry),
                outages=ProviderOutages(),
                parallel=4,
                monotonic=lambda: clock[0],
            )

            def late() -> float:
                return registry.get_sample_value("mailroom_idle_checks_late_seconds") or 0.0

            await check.look()
            assert late() < 60
            # It waits for units, and nothing else is due meanwhile.
            clock[0] = 300.0
            await check.look()
            assert 300 <= late() < 360
            await check.close()
            await set_checked_at(s, "now() - interval '601 seconds'")
            clock[0] = 301.0
            await check.look()
            assert 300 <= late() < 360
            clock[0] = 300.0 + 121
            await check.close()
            await check.look()
            assert late() == 0

    async def test_tell_at_their_start_what_would_fit_the_day(self, stage: OpenStage) -> None:
        async with stage(messages=1, workers=0) as s:
            await s.sync_with_worker()
            limits = worker_limits(daily_limit=100)
            with structlog.testing.capture_logs() as logs:
                async with s.pool.acquire() as connection:
                    intervals = IdleIntervals(shortest=60, longest=960)
                    assert await report_misfit(connection, "google", limits=limits, intervals=intervals)
            # 203.9 units are needed, 25 allowed.
            [line] = logs
            assert (line["log_level"], line["units_needed"], line["units_allowed"]) == ("error", 204, 25)
            assert (line["longest_seconds_that_fit"], line["share_that_fits"]) == (16 * 960, 2.04)
            fitting = IdleIntervals(shortest=60, longest=16 * 960)
            async with s.pool.acquire() as connection:
                assert not await report_misfit(connection, "google", limits=limits, intervals=fitting)
