"""Gauges over all mailboxes, and the counters of workers."""

from dataclasses import replace

from prometheus_client import CollectorRegistry

from services.kit.settings import RedisSettings
from services.kit.stores.postgres import create_pool
from services.kit.stores.redis_client import create_redis
from services.mail.metrics import MailboxMetrics
from services.mail.provider_access.quota import Quota
from services.mail.providers.gmail.limits import GMAIL_DAILY_LIMITS
from services.mail.store.control.idle_groups import GROUP_SIZE
from services.mail.sync.watches import WARNING_SECONDS
from tests.mail.conftest import OpenStage
from tests.support.mail.quota import shared_quota
from tests.support.mail.running_worker import WorkerOptions, worker_limits
from tests.support.mail.servers import Servers
from tests.support.mail.stage import Stage
from tests.support.mail.waiting import eventually

DAY = 86_400.0


class Scraper:
    """Reads the metrics and renders them as /metrics does."""

    def __init__(self, servers: Servers, *, quota: Quota | None = None) -> None:
        self._registry = CollectorRegistry()
        self.quota = quota or shared_quota(servers.redis, servers.mail_pool, limits=worker_limits())
        self._gauges = MailboxMetrics(self._registry, pool=servers.mail_pool, quotas=[self.quota])

    async def scrape(self) -> None:
        """Read the metrics, once per instance: values are cached for some seconds."""
        await self._gauges.refresh()

    def __call__(self, name: str, **labels: str) -> float | None:
        return self._registry.get_sample_value(f"mailroom_{name}", labels)


async def scrape(s: Stage) -> Scraper:
    scraper = Scraper(s.servers)
    await scraper.scrape()
    return scraper


class TestMailboxMetrics:
    async def test_of_a_mailbox_that_waits_for_a_worker(self, stage: OpenStage) -> None:
        async with stage(messages=5, workers=0) as s:
            await s.request()
            shown = await scrape(s)
            assert shown("mailboxes", status="active") == 1
            assert shown("mailboxes_due", lane="live") == 1
            assert 0 < (shown("oldest_due_seconds", lane="live") or 0) < 60
            assert shown("active_syncs", state="queued") == 1

    async def test_of_a_mailbox_that_is_current(self, stage: OpenStage) -> None:
        async with stage(messages=5) as s:
            await s.sync()
            await s.until_released()
            shown = await scrape(s)
            assert shown("mailboxes_due", lane="live") == 0
            assert shown("queued_messages", lane="backfill") == 0
            assert shown("oldest_due_seconds", lane="live") == 0
            assert shown("active_syncs", state="running") == 0
            assert 0 < (shown("oldest_check_seconds") or 0) < 60

    async def test_of_queued_messages_and_dead_letters(self, stage: OpenStage) -> None:
        async with stage(messages=5, workers=0) as s:
            await s.request()
            await s.pool.execute("INSERT INTO fetch_queue SELECT mailbox_id, 'a', NULL, 1, 1 FROM mailboxes")
            await s.pool.execute(
                "INSERT INTO dead_letters SELECT mailbox_id, 'b', 1, 'unreadable_message', 3 FROM mailboxes"
            )
            shown = await scrape(s)
            assert shown("queued_messages", lane="backfill") == 1
            assert shown("dead_letters", reason="unreadable_message") == 1

    async def test_leave_out_mailboxes_that_require_reauth(self, stage: OpenStage) -> None:
        async with stage(messages=5, workers=0) as s:
            await s.sync_with_worker()
            await s.pool.execute("UPDATE sync_states SET caught_up_at = now() - interval '1 day'")
            await s.pool.execute(
                "INSERT INTO idle_groups (group_id, all_seen_at) SELECT mailbox_id / $1, now() - interval '1 h' "
                "FROM mailboxes ON CONFLICT (group_id) DO UPDATE SET all_seen_at = excluded.all_seen_at",
                GROUP_SIZE,
            )
            assert 3600 <= ((await scrape(s))("oldest_check_seconds") or 0) < DAY
            await s.pool.execute("UPDATE idle_groups SET all_seen_at = '-infinity'")
            assert ((await scrape(s))("oldest_check_seconds") or 0) >= DAY
            await s.pool.execute("UPDATE mailbox_schedule SET waiting_for = 'access'")
            assert (await scrape(s))("oldest_check_seconds") == 0
            await s.pool.execute("UPDATE mailbox_schedule SET waiting_for = ''")
            await s.pool.execute("UPDATE mailboxes SET status = 'reauth_required'")
            shown = await scrape(s)
            assert (shown("oldest_check_seconds"), shown("mailboxes", status="reauth_required")) == (0, 1)

    async def test_leave_out_mailboxes_without_access(self, stage: OpenStage) -> None:
        async with stage(messages=5, workers=0) as s:
            await s.sync_with_worker()
            await s.pool.execute("INSERT INTO watches SELECT mailbox_id, now(), now() FROM mailboxes")
            await s.pool.execute("UPDATE sync_states SET caught_up_at = now() - interval '1 day'")
            await s.pool.execute("UPDATE mailbox_schedule SET due_at = now() - interval '1 hour', lane = 0")
            late = await scrape(s)
            assert late("mailboxes_due", lane="live") == 1
            await s.pool.execute("UPDATE mailboxes SET access_denied_reason = 'admin_policy'")
            await s.pool.execute("UPDATE mailbox_schedule SET waiting_for = 'access'")
            shown = await scrape(s)
            assert (shown("mailboxes_due", lane="live"), shown("oldest_due_seconds", lane="live")) == (0, 0)
            assert (shown("oldest_check_seconds"), shown("watches_expiring")) == (0, 0)
            assert (shown("mailboxes", status="access_denied"), shown("mailboxes", status="active")) == (1, None)

    async def test_of_watches(self, stage: OpenStage) -> None:
        async with stage(messages=1, workers=0) as s:
            await s.request()
            shown = await scrape(s)
            assert (shown("watches_expiring"), shown("next_watch_expiry_seconds")) == (0, None)
            await s.pool.execute(
                "INSERT INTO watches SELECT mailbox_id, now() + interval '1 day', now() FROM mailboxes"
            )
            shown = await scrape(s)
            assert shown("watches_expiring") == 1
            assert DAY - 60 < (shown("next_watch_expiry_seconds") or 0) < DAY < WARNING_SECONDS

    async def test_of_the_quota(self, stage: OpenStage) -> None:
        async with stage(workers=0) as s:
            scraper = Scraper(s.servers)
            identity = (await s.mailbox()).identity

            async def is_taken() -> bool:
                return not (await scraper.quota.take_each({identity: 7}))[identity]

            await eventually(is_taken)
            await scraper.quota.pause(identity, 100, whole_project=True)
            await scraper.scrape()
            assert scraper("quota_day_units_limit") == GMAIL_DAILY_LIMITS["2026-05"]
            assert (scraper("quota_day_units_used") or 0) >= 7
            assert 90 < (scraper("quota_paused_seconds") or 0) <= 100

    async def test_are_cached_between_scrapes(self, stage: OpenStage) -> None:
        async with stage(workers=0) as s:
            await s.mailbox()
            shown = await scrape(s)
            await s.pool.execute("TRUNCATE mailboxes CASCADE")
            await shown.scrape()
            assert shown("mailboxes", status="active") == 1

    async def test_of_hints_that_were_not_read(self, stage: OpenStage) -> None:
        async with stage(messages=5, workers=0) as s:
            await s.sync_with_worker()
            assert (await scrape(s))("oldest_hint_seconds", lane="live") == 0
            await s.hint()
            await s.pool.execute("UPDATE mailbox_schedule SET hinted_at = now() - interval '1 hour', due_at = now()")
            # As after failed turns: due later.
            await s.pool.execute("UPDATE mailbox_schedule SET due_at = now() + interval '1 minute'")
            shown = await scrape(s)
            assert 3600 <= (shown("oldest_hint_seconds", lane="live") or 0) < DAY
            assert shown("oldest_due_seconds", lane="live") == 0
            await s.pool.execute("UPDATE mailboxes SET status = 'reauth_required'")
            assert (await scrape(s))("oldest_hint_seconds", lane="live") == 0

    async def test_of_the_database_are_read_while_redis_is_away(self, stage: OpenStage, free_port: int) -> None:
        redis = create_redis(RedisSettings(redis_host="127.0.0.1", redis_port=free_port, redis_db=0))
        async with stage(workers=0) as s:
            await s.mailbox()
            scraper = Scraper(s.servers, quota=Quota(redis, limits=worker_limits()))
            await scraper.scrape()
            await redis.aclose()
            assert scraper("mailboxes", status="active") == 1
            assert scraper("figures_read_timestamp_seconds") is not None
            assert scraper("quota_day_units_used") is None
            assert scraper("quota_figures_read_timestamp_seconds") is None

    async def test_of_the_quota_are_read_while_the_database_is_away(self, servers: Servers, free_port: int) -> None:
        address = servers.database.model_copy(update={"port": free_port})
        pool = await create_pool(address, application_name="test", size=1)
        scraper = Scraper(replace(servers, mail_pool=pool))
        await scraper.scrape()
        await pool.close()
        assert scraper("figures_read_timestamp_seconds") is None
        assert scraper("quota_day_units_limit") == GMAIL_DAILY_LIMITS["2026-05"]


class TestWorker:
    async def test_counts_messages_and_turns(self, stage: OpenStage) -> None:
        async with stage(messages=5) as s:
            await s.sync(count=None)
            [worker] = s.workers

            async def are_counted() -> bool:
                turns = worker.count("sync_turns_total", outcome="done")
                return worker.count("messages_stored_total") == 5 and 0 < turns == worker.count(
                    "sync_turn_seconds_count"
                )

            await eventually(are_counted)

    async def test_counts_failed_turns_by_reason(self, stage: OpenStage) -> None:
        async with stage(messages=5) as s:
            await s.at_provider.fail({"method": "gmail.messages.list", "kind": "error", "status": 503, "count": 1})
            await s.sync()
            [worker] = s.workers
            assert worker.count("sync_turns_total", outcome="provider_unavailable") == 1

    async def test_counts_the_dead_workers_whose_mailboxes_it_frees(self, stage: OpenStage) -> None:
        async with stage(messages=60, workers=0) as s:
            async with s.another_worker(WorkerOptions(lease_seconds=600)) as dead:
                await s.request(count=None)
                await s.until_stored_some()
                await dead.crash()
            async with s.another_worker() as heir:

                async def has_noticed() -> bool:
                    return heir.count("workers_lost_total") == 1

                await eventually(has_noticed)
