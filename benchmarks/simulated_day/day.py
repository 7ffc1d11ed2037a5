"""A simulated day: mail comes and is announced, idle checks find the rest, turns fetch it.

Moving the clock is a statement, and looking for due turns another one. So announcements arrive in portions of a quarter
of a second, and mail that comes moves no clock.
"""

import asyncio
import heapq
import math
import random
import statistics
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID, uuid4

from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from benchmarks.simulated_day.clock import Clock
from benchmarks.simulated_day.gmail import Box, SimulatedGmail, Units
from services.mail.model import Lane, Mailbox, MailboxStatus
from services.mail.provider_access.calls import ProviderAccess
from services.mail.provider_access.concurrency import ConcurrencyLimit
from services.mail.provider_access.outages import ProviderOutages
from services.mail.provider_access.provider_tokens import ProviderTokenCache
from services.mail.provider_access.quota import Quota, QuotaWaitError
from services.mail.provider_access.watermarks import PostgresWatermarks
from services.mail.providers.gmail.limits import WATCH_TIMES, gmail_limits
from services.mail.store.connection import Connection, Pool
from services.mail.store.control import leases, schedule, watches
from services.mail.store.control.idle_groups import GROUP_SIZE
from services.mail.store.control.leases import Lease
from services.mail.sync.idle.check import IdleCheck
from services.mail.sync.idle.metrics import IdleMetrics
from services.mail.sync.idle.rounds import IdleIntervals

FULL: Final = 50_000
DAILY_LIMIT: Final = 80_000_000
DAY: Final = 86_400.0
# Messages a day, and which part of the mailboxes gets so many: 14 on average.
MAIL: Final = ((0.5, 0.3), (8, 0.5), (50, 0.2))
# Announcements arrive after so many seconds, and this part of them never.
ANNOUNCED_AFTER: Final = (0.5, 3.0)
LOST: Final = 0.01
# Seconds between two times at which a worker looks for what is due.
TICK: Final = 5.0
# Announcements arrive at multiples of so many seconds: an eighth of a second later than they would, on average.
PORTION: Final = 0.25
# Turns that run at the same time.
TURNS: Final = 50
_MARKED_AT_ONCE: Final = 1_000


def identity_of(account: UUID) -> str:
    """Return the identity at the provider of an account's mailbox."""
    return Mailbox(
        mailbox_id=0,
        account_id=account,
        user_id=account,
        provider="google",
        email=f"{account}@example.com",
        status=MailboxStatus.ACTIVE,
    ).identity


class Day:
    """A simulated day: events in order, idle checks at every tick, turns at once."""

    def __init__(self, *, pool: Pool, redis: Redis, clock: Clock, mailboxes: int, push: bool, seed: int) -> None:
        self.units = Units()
        self.delays: list[float] = []
        self._random = random.Random(seed)
        self._pool = pool
        self._clock = clock
        self._push = push
        self._boxes: dict[UUID, Box] = {}
        self._by_id: dict[int, tuple[UUID, Box]] = {}
        # Mail to come, by its time, and announcements of history ids by the number of their portion.
        self._mail: list[tuple[float, UUID]] = []
        self._announcements: dict[int, dict[UUID, int]] = {}
        self._portions: list[int] = []
        limits = gmail_limits("2026-05", daily_limit=round(DAILY_LIMIT * mailboxes / FULL))
        self._provider = SimulatedGmail(self._boxes, self.units, can_push=push)
        self._watermarks = PostgresWatermarks(pool, "google", limits, monotonic=clock)
        self.quota = Quota(
            redis,
            limits=limits,
            watermarks=self._watermarks,
            now=clock,
            redis_time=clock,
            monotonic=clock,
        )
        access = ProviderAccess(
            quotas={"google": self.quota},
            concurrency_limit=ConcurrencyLimit(redis),
            tokens=ProviderTokenCache(self._provider),
        )
        self.check = IdleCheck(
            pool=pool,
            providers={"google": self._provider},
            access=access,
            intervals=IdleIntervals(shortest=60, longest=960),
            metrics=IdleMetrics(CollectorRegistry()),
            outages=ProviderOutages(),
            parallel=32,
            sleep=clock.sleep,
            monotonic=clock,
        )

    def forget(self) -> None:
        """Count from now on."""
        self.units.checks = self.units.idle = self.units.mail = self.units.watches = 0
        self.delays.clear()

    def figures(self, *, days: float) -> dict[str, float]:
        """Return units of a mailbox's day, after so many of them, and delays of mail in seconds."""
        units = self.units
        delays = sorted(self.delays) or [0.0]
        return {
            "part_of_day": (units.idle + units.mail + units.watches) / days * FULL / DAILY_LIMIT,
            "checks": units.checks / days,
            "check_units": units.idle / days,
            "mail_units": units.mail / days,
            "watch_units": units.watches / days,
            "mails": len(self.delays) / days,
            "delay_p50": statistics.median(delays),
            "delay_p99": delays[len(delays) * 99 // 100],
            "delay_max": delays[-1],
        }

    async def fill(self, connection: Connection, mailboxes: int, *, mail: bool) -> None:
        """Insert idle mailboxes that were synced some time ago, their watches, and their mail to come."""
        ids = [uuid4() for _ in range(mailboxes)]
        rates = self._random.choices([rate for rate, _ in MAIL], [part for _, part in MAIL], k=mailboxes)
        rows = await connection.fetch(
            "INSERT INTO mailboxes (account_id, user_id, provider, email, status) "
            "SELECT id, id, 'google', id || '@example.com', 'active' FROM unnest($1::uuid[]) AS n(id) "
            "RETURNING mailbox_id, account_id",
            ids,
        )
        for row, rate in zip(rows, rates, strict=True):
            box = Box(per_day=rate)
            self._boxes[row["account_id"]] = box
            self._by_id[row["mailbox_id"]] = (row["account_id"], box)
            if mail:
                self._plan_mail(row["account_id"], after=self._clock.now)
        await connection.execute(
            "INSERT INTO sync_states (mailbox_id, cursor, caught_up_at, covered_all) "
            "SELECT mailbox_id, 1, now(), true FROM mailboxes"
        )
        await connection.execute("INSERT INTO labels SELECT mailbox_id, 'INBOX', 'INBOX', 'system' FROM mailboxes")
        await connection.execute(
            "INSERT INTO mailbox_schedule (mailbox_id, lane, due_at, active_at, announced_at) "
            "SELECT mailbox_id, $1, now(), now() - random() * interval '1 day', now() - interval '1 h' FROM mailboxes",
            Lane.IDLE,
        )
        if self._push:
            await connection.execute(
                "INSERT INTO watches (mailbox_id, expires_at, renew_at) "
                "SELECT mailbox_id, now() + interval '6 days', now() + random() * interval '1 day' FROM mailboxes"
            )
        await connection.execute(
            "INSERT INTO idle_groups (group_id, checked_at) SELECT DISTINCT mailbox_id / $1, now() FROM mailboxes",
            GROUP_SIZE,
        )
        # Their marks of quota: else each mailbox's first check would write one.
        for start in range(0, len(rows), _MARKED_AT_ONCE):
            marked = [identity_of(row["account_id"]) for row in rows[start : start + _MARKED_AT_ONCE]]
            await self._watermarks.cover(dict.fromkeys(marked, self._provider.costs.list_changes))
        await connection.execute("VACUUM ANALYZE")

    async def run(self, connection: Connection, *, until: float) -> None:
        """Let the time pass."""
        next_tick = self._clock.now
        while self._clock.now < until:
            # Each message may be announced earlier than what is known so far.
            while self._mail and self._mail[0][0] <= min(next_tick, self._next_portion()):
                self._deliver(*heapq.heappop(self._mail))
            await self._clock.move(connection, min(next_tick, self._next_portion()))
            if self._clock.now >= self._next_portion():
                announced = self._announcements.pop(heapq.heappop(self._portions))
                await asyncio.gather(*(self._announce(account, history) for account, history in announced.items()))
            if self._clock.now >= next_tick:
                next_tick += TICK
                while await self.check.look():
                    pass
            await self._work()

    def _next_portion(self) -> float:
        return self._portions[0] * PORTION if self._portions else math.inf

    def _plan_mail(self, account: UUID, *, after: float) -> None:
        rate = self._boxes[account].per_day / DAY
        heapq.heappush(self._mail, (after + self._random.expovariate(rate), account))

    def _deliver(self, at: float, account: UUID) -> None:
        """Let a message come, and plan the next one of its mailbox."""
        box = self._boxes[account]
        box.history += 1
        box.unread.append(at)
        self._plan_mail(account, after=at)
        if self._push and self._random.random() >= LOST:
            self._plan_announcement(account, box.history, at=at + self._random.uniform(*ANNOUNCED_AFTER))

    def _plan_announcement(self, account: UUID, history: int, *, at: float) -> None:
        portion = math.ceil(at / PORTION)
        if portion not in self._announcements:
            self._announcements[portion] = {}
            heapq.heappush(self._portions, portion)
        known = self._announcements[portion].get(account, 0)
        self._announcements[portion][account] = max(known, history)

    async def _announce(self, account: UUID, history: int) -> None:
        async with self._pool.acquire() as connection, connection.transaction():
            await schedule.hint(
                connection,
                provider="google",
                email=f"{account}@example.com",
                cursor=history,
                echo_seconds=WATCH_TIMES.echo,
            )

    async def _work(self) -> None:
        """Run the turns that are due."""
        while True:
            async with self._pool.acquire() as connection:
                claimed = await leases.claim(
                    connection,
                    owner=uuid4(),
                    lane=Lane.LIVE,
                    limit=TURNS,
                    failing_limit=TURNS,
                    lease_seconds=15,
                    backoff_limit=60,
                )
            await asyncio.gather(*map(self._turn, claimed))
            if len(claimed) < TURNS:
                return

    async def _turn(self, lease: Lease) -> None:
        """Read history and labels, get the new messages, renew the watch if that is due."""
        costs = self._provider.costs
        account, box = self._by_id[lease.mailbox_id]
        came, box.unread = box.unread, []
        await self._spend(account, costs.list_changes + costs.list_labels + costs.fetch * len(came))
        self.units.mail += costs.list_changes + costs.list_labels + costs.fetch * len(came)
        self.delays += [self._clock.now - at for at in came]
        async with self._pool.acquire() as connection, connection.transaction():
            await leases.fence(connection, lease)
            await connection.execute(
                "UPDATE sync_states SET cursor = $2, caught_up_at = now() WHERE mailbox_id = $1",
                lease.mailbox_id,
                box.history,
            )
            renews = self._push and await watches.is_due(connection, lease.mailbox_id)
            if renews:
                await self._renew(connection, lease.mailbox_id, account, box)
            after = WATCH_TIMES.echo if self._push else math.inf
            await leases.release(connection, lease, lane=Lane.IDLE, after=after)

    async def _renew(self, connection: Connection, mailbox_id: int, account: UUID, box: Box) -> None:
        await self._spend(account, self._provider.costs.watch)
        self.units.watches += self._provider.costs.watch
        expires = datetime.fromtimestamp(self._clock.now, UTC) + timedelta(days=7)
        await watches.keep(connection, mailbox_id, expires_at=expires, renew_seconds=WATCH_TIMES.renew)
        # A new watch is announced at once.
        self._plan_announcement(account, box.history, at=self._clock.now + 1)

    async def _spend(self, account: UUID, units: int) -> None:
        with suppress(QuotaWaitError):
            self.quota.end(await self.quota.take(identity_of(account), units))
