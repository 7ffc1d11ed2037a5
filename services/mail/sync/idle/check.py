"""Looks at idle mailboxes in groups: few round trips to the database, one small provider call for each mailbox."""

import asyncio
import contextlib
import math
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any
from uuid import UUID

import structlog

from services.mail.provider_access.calls import ProviderAccess
from services.mail.provider_access.outages import ProviderOutages
from services.mail.provider_access.quota import QuotaScope, QuotaWaitError
from services.mail.providers.base import Provider
from services.mail.store.connection import DATABASE_LOST, Pool
from services.mail.store.control import idle_groups, idle_mailboxes
from services.mail.store.control.idle_groups import IdleGroup
from services.mail.store.control.idle_mailboxes import IdleMailbox
from services.mail.sync.idle.budget import report_misfit
from services.mail.sync.idle.look import AFTER_OUTAGE, LONGEST_LOOK, Look, Looker
from services.mail.sync.idle.metrics import IdleMetrics
from services.mail.sync.idle.rounds import IdleIntervals, due_checks

# Mailboxes looked at by themselves that are taken at once.
_SINGLES = 100
# Those that became due within the last seconds are looked for, and now and then all: index entries of earlier ones stay
# as long as a snapshot is held open, and each costs time.
_RECENT_SECONDS = 30.0
_LONGEST_REST = 1.0
# Seconds to wait for the answers of a group before the next one begins; most come within one tenth.
_PATIENCE = 0.5
# Seconds after which an answer is late.
_LATE_SECONDS = 2.0
# Seconds for which it is shown how late a group was: longer than between two scrapes. One in time hides no other.
_SHOWN_SECONDS = 120.0
# Groups under way at the same time, and as many portions of mailboxes that are looked at by themselves: what waits for
# units stays due in the database.
_GROUPS = 4
# A visit that takes longer renews its claim whenever it waits.
_LEASE_SECONDS = 60.0
# A mailbox that has to wait longer for its own units gets a turn, which knows how to.
_SHORT_WAIT = 0.25
# Looks that units are taken for at once, and seconds between two tries while the day or the project has none.
_PAID_AT_ONCE = 64
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.25, 5.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Visit:
    """A visit of a group under way since a monotonic time."""

    group: IdleGroup
    began: float


class IdleCheck:
    """Finds the idle mailboxes that have changed and makes them due. It changes nothing else about them.

    `parallel` calls to providers are under way at most.
    """

    def __init__(
        self,
        *,
        pool: Pool,
        providers: Mapping[str, Provider],
        access: ProviderAccess,
        intervals: IdleIntervals,
        metrics: IdleMetrics,
        outages: ProviderOutages,
        parallel: int,
        longest_look: float = LONGEST_LOOK,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pool = pool
        self._pushed = [name for name, provider in providers.items() if provider.watch_times is not None]
        self._access = access
        self._intervals = intervals
        self._metrics = metrics
        self._outages = outages
        self._sleep = sleep
        self._monotonic = monotonic
        self._slots = asyncio.Semaphore(parallel)
        self._looker = Looker(
            pool=pool,
            providers=providers,
            access=access,
            metrics=metrics,
            outages=outages,
            longest_look=longest_look,
        )
        self._tasks: set[asyncio.Task[None]] = set()
        self._visits: dict[asyncio.Task[None], _Visit] = {}
        self._single_visits: dict[asyncio.Task[None], list[int]] = {}
        self._next_full_scan = 0.0
        self._shown_lateness = self._shown_until = 0.0
        # Seconds between two times at which it is looked for what is due.
        self.pause = min(_LONGEST_REST, intervals.shortest / 4)

    async def look(self, *, owner: UUID | None = None) -> bool:
        """Look at what is due; true if more may be due at once. Raises what the database raises.

        `owner` is the worker's id for claims.

        It waits a moment for the answers. A provider that takes longer delays only the mailbox that was asked about.
        """
        claimed, singles = await self._claim_singles() if len(self._single_visits) < _GROUPS else (0, [])
        if singles:
            visit = self._start(self._look_at([Look(member=member, announced=True) for member in singles]))
            self._single_visits[visit] = [member.mailbox.mailbox_id for member in singles]
            await asyncio.wait([visit], timeout=_PATIENCE)
        group = await self._claim_group(owner) if len(self._visits) < _GROUPS else None
        if group is not None:
            visit = self._start(self._visit(group))
            self._visits[visit] = _Visit(group=group, began=self._monotonic())
            self._show_lateness()
            await asyncio.wait([visit], timeout=_PATIENCE)
        self._show_lateness()
        return group is not None or claimed == _SINGLES

    async def report_misfit(self) -> None:
        """Log an error if there are more mailboxes of a provider than its day has units to look at."""
        async with self._pool.acquire() as connection:
            for provider, quota in self._access.quotas.items():
                await report_misfit(connection, provider, limits=quota.limits, intervals=self._intervals)

    async def close(self) -> None:
        """Give up the calls under way; what was claimed for them is due again."""
        groups = [visit.group for visit in self._visits.values()]
        singles = list(chain.from_iterable(self._single_visits.values()))
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if groups or singles:
            with contextlib.suppress(*DATABASE_LOST):
                async with self._pool.acquire() as connection:
                    await idle_groups.release(connection, groups)
                    await idle_mailboxes.look_again(connection, singles, seconds=0)

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._visits.pop(task, None)
        self._single_visits.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("idle check failed", exc_info=error)

    async def _claim_singles(self) -> tuple[int, list[IdleMailbox]]:
        """Claim mailboxes that are to be looked at by themselves; return how many, and those that are connected."""
        full = self._monotonic() >= self._next_full_scan
        # One transaction: what cannot be loaded stays due.
        async with self._pool.acquire() as connection, connection.transaction():
            found = await idle_mailboxes.claim(
                connection, limit=_SINGLES, within_seconds=None if full else _RECENT_SECONDS
            )
            members = await idle_mailboxes.load(connection, found) if found else []
        if full and len(found) < _SINGLES:
            self._next_full_scan = self._monotonic() + _RECENT_SECONDS / 2
        return len(found), members

    async def _claim_group(self, owner: UUID | None) -> IdleGroup | None:
        async with self._pool.acquire() as connection:
            await idle_groups.add_missing(connection)
            return await idle_groups.claim(
                connection, owner=owner, round_seconds=self._intervals.shortest, lease_seconds=_LEASE_SECONDS
            )

    def _show_lateness(self) -> None:
        """Show how late the latest group under way is, those that wait for their units included."""
        now = self._monotonic()
        lateness = max([0.0, *(self._lateness(visit, now) for visit in self._visits.values())])
        if lateness >= self._shown_lateness or now >= self._shown_until:
            self._shown_lateness, self._shown_until = lateness, now + _SHOWN_SECONDS
            self._metrics.late(lateness)

    def _lateness(self, visit: _Visit, now: float) -> float:
        """Seconds for which the group was left alone beyond the longest interval; 0 for one that was never checked."""
        passed = visit.group.claimed_at - visit.group.checked_at + now - visit.began
        allowed = self._intervals.longest_in_effect + self._intervals.shortest
        return passed - allowed if math.isfinite(passed) else 0.0

    async def _visit(self, group: IdleGroup) -> None:
        async with self._pool.acquire() as connection:
            activities = await idle_mailboxes.activities(
                connection, group.mailbox_ids, idle_for=self._intervals.shortest, pushed=self._pushed
            )
            due = due_checks(group, activities, self._intervals)
            members = await idle_mailboxes.load(connection, due.mailbox_ids)
        await self._looker.wake([activity.mailbox_id for activity in activities if activity.needs_watch])
        looks = [
            Look(
                member=member,
                announced=False,
                with_labels=member.mailbox.mailbox_id in due.with_labels,
                with_address=member.mailbox.mailbox_id in due.with_address,
            )
            for member in members
        ]
        await self._look_at(looks, group=group)
        async with self._pool.acquire() as connection:
            await idle_groups.finish(connection, group, longest_interval=self._intervals.longest_in_effect)

    async def _look_at(self, looks: Collection[Look], *, group: IdleGroup | None = None) -> None:
        """Look at each as soon as it has its units, and wait for the answers."""
        await self._looker.wake([look.member.mailbox.mailbox_id for look in looks if look.member.needs_turn])
        left = {look.member.mailbox.mailbox_id: look for look in looks if not look.member.needs_turn}
        out = self._that_wait_for_others(left)
        await self._postpone(out)
        for mailbox_id in out:
            del left[mailbox_id]
        asked: dict[int, asyncio.Task[None]] = {}
        while left:
            outcomes = await self._pay(dict(islice(left.items(), _PAID_AT_ONCE)))
            asked |= {id_: await self._ask(left.pop(id_)) for id_, wait in outcomes.items() if wait is None}
            waits = {id_: wait for id_, wait in outcomes.items() if wait is not None}
            await self._looker.wake([id_ for id_, wait in waits.items() if _is_busy(wait) and left.pop(id_)])
            if pauses := [wait.seconds for id_, wait in waits.items() if id_ in left]:
                await self._pause(max(pauses), group)
        await self._wait_for_answers(asked)

    async def _wait_for_answers(self, asked: Mapping[int, asyncio.Task[None]]) -> None:
        """Wait a while. Later answers delay no others, and a look that failed may have shown something new.

        Both are looked at again: this process can end before the answers, and what failed woke no mailbox.
        """
        if asked:
            await asyncio.wait(asked.values(), timeout=_LATE_SECONDS)
        await self._postpone([id_ for id_, call in asked.items() if not call.done() or call.exception() is not None])

    async def _postpone(self, mailbox_ids: Sequence[int]) -> None:
        if mailbox_ids:
            async with self._pool.acquire() as connection:
                await idle_mailboxes.look_again(connection, mailbox_ids, seconds=AFTER_OUTAGE)

    def _that_wait_for_others(self, looks: Mapping[int, Look]) -> list[int]:
        """Return the mailboxes whose provider is out, but for one that asks whether it still is."""
        waiting, asking = [], set[str]()
        for mailbox_id, look in looks.items():
            provider = look.member.mailbox.provider
            if not self._outages.is_under_way(provider):
                continue
            if provider not in asking and self._outages.may_ask(provider):
                asking.add(provider)
            else:
                waiting.append(mailbox_id)
        return waiting

    async def _pause(self, seconds: float, group: IdleGroup | None) -> None:
        await self._sleep(min(_LONGEST_PAUSE, max(_SHORTEST_PAUSE, seconds)))
        if group is not None:
            async with self._pool.acquire() as connection:
                await idle_groups.renew(connection, group, lease_seconds=_LEASE_SECONDS)

    async def _pay(self, looks: Mapping[int, Look]) -> dict[int, QuotaWaitError | None]:
        """Take the units of looks, one of each identity; return the waits, None for those that have them."""
        by_provider: dict[str, dict[str, Look]] = defaultdict(dict)
        for look in looks.values():
            by_provider[look.member.mailbox.provider].setdefault(look.member.mailbox.identity, look)
        waits: dict[int, QuotaWaitError | None] = {}
        for provider, by_identity in by_provider.items():
            units = {identity: self._looker.units(look) for identity, look in by_identity.items()}
            outcomes = await self._access.quotas[provider].take_each(units)
            waits |= {by_identity[identity].member.mailbox.mailbox_id: wait for identity, wait in outcomes.items()}
        return waits

    async def _ask(self, look: Look) -> asyncio.Task[None]:
        """Start to ask about a mailbox as soon as there is a slot."""
        await self._slots.acquire()
        call = self._start(self._looker.look(look))
        call.add_done_callback(lambda _: self._slots.release())
        return call


def _is_busy(wait: QuotaWaitError) -> bool:
    """Return whether the mailbox's own units are used up."""
    return wait.scope is QuotaScope.MAILBOX and wait.seconds > _SHORT_WAIT
