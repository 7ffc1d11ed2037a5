"""Looks at idle mailboxes in groups: few round trips to the database, one small provider call for each mailbox."""

import asyncio
import contextlib
import math
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any
from uuid import UUID

import structlog

from services.kit.errors import AppError
from services.mail.model import Label, Mailbox
from services.mail.provider_access.calls import ProviderAccess
from services.mail.provider_access.quota import QuotaScope, QuotaWaitError
from services.mail.providers.base import HistoryPage, Profile, Provider
from services.mail.providers.errors import ProviderError
from services.mail.store import labels
from services.mail.store.connection import DATABASE_LOST, Pool
from services.mail.store.control import idle_groups, idle_mailboxes, mailbox_addresses
from services.mail.store.control.idle_groups import IdleGroup
from services.mail.store.control.idle_mailboxes import IdleMailbox
from services.mail.sync.idle.budget import report_misfit
from services.mail.sync.idle.metrics import IdleMetrics, Outcome
from services.mail.sync.idle.rounds import IdleIntervals, due_checks
from services.mail.sync.provider_outages import ProviderOutages

# Mailboxes looked at by themselves that are taken at once.
_SINGLES = 100
# Those that became due within the last seconds are looked for, and now and then all: index entries of earlier ones stay
# as long as a snapshot is held open, and each costs time.
_RECENT_SECONDS = 30.0
_LONGEST_REST = 1.0
# Seconds to wait for the answers of a group before the next one begins; most come within one tenth.
_PATIENCE = 0.5
# Seconds after which an answer is late, and seconds until a mailbox is looked at once more whose answer is late or
# whose provider is out.
_LATE_SECONDS = 2.0
_AGAIN_SECONDS = 60.0
# Seconds of a look, at most: a server that sends a byte now and then would keep it, and its slot, for ever.
_LONGEST_LOOK = 240.0
# Seconds for which it is shown how late a group was: longer than between two scrapes. One in time hides no other.
_SHOWN_SECONDS = 120.0
# Groups under way at the same time, and as many portions of mailboxes that are looked at by themselves: what waits for
# units stays due in the database.
_GROUPS = 4
# A visit that takes longer renews its claim whenever it waits.
_LEASE_SECONDS = 60.0
# Seconds until a mailbox is looked at again whose history has just been announced.
_LEAST_LAG = 1.0
# A mailbox that has to wait longer for its own units gets a turn, which knows how to.
_SHORT_WAIT = 0.25
# Looks that units are taken for at once, and seconds between two tries while the day or the project has none.
_PAID_AT_ONCE = 64
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.25, 5.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """A look to make: at the history, and at labels or address. `announced` changes are no surprise."""

    member: IdleMailbox
    announced: bool
    with_labels: bool = False
    with_address: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What a look shows; None for what was not asked for, or does not exist there."""

    page: HistoryPage
    labels: list[Label] | None
    profile: Profile | None


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
        longest_look: float = _LONGEST_LOOK,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pool = pool
        self._providers = providers
        self._pushed = [name for name, provider in providers.items() if provider.watch_times is not None]
        self._access = access
        self._intervals = intervals
        self._metrics = metrics
        self._outages = outages
        self._sleep = sleep
        self._monotonic = monotonic
        self._slots = asyncio.Semaphore(parallel)
        self._longest_look = longest_look
        self._tasks: set[asyncio.Task[None]] = set()
        self._visits: dict[asyncio.Task[None], _Visit] = {}
        self._single_visits: set[asyncio.Task[None]] = set()
        self._next_full_scan = 0.0
        self._shown_lateness = self._shown_until = 0.0
        # Seconds between two times at which it is looked for what is due.
        self.pause = min(_LONGEST_REST, intervals.shortest / 4)

    async def look(self, *, owner: UUID | None = None) -> bool:
        """Look at what is due; true if more may be due at once. Raises what the database raises.

        `owner` is the worker's id for claims.

        It waits a moment for the answers. A provider that takes longer delays only the mailbox that was asked about.
        """
        singles = await self._claim_singles() if len(self._single_visits) < _GROUPS else []
        if singles:
            visit = self._start(self._visit_singles(singles))
            self._single_visits.add(visit)
            await asyncio.wait([visit], timeout=_PATIENCE)
        group = await self._claim_group(owner) if len(self._visits) < _GROUPS else None
        if group is not None:
            visit = self._start(self._visit(group))
            self._visits[visit] = _Visit(group=group, began=self._monotonic())
            self._show_lateness()
            await asyncio.wait([visit], timeout=_PATIENCE)
        self._show_lateness()
        return group is not None or len(singles) == _SINGLES

    async def report_misfit(self) -> None:
        """Log an error if there are more mailboxes of a provider than its day has units to look at."""
        async with self._pool.acquire() as connection:
            for provider, quota in self._access.quotas.items():
                await report_misfit(connection, provider, limits=quota.limits, intervals=self._intervals)

    async def close(self) -> None:
        """Give up the calls under way; what was claimed for them is due again."""
        claimed = [visit.group for visit in self._visits.values()]
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if claimed:
            with contextlib.suppress(*DATABASE_LOST):
                async with self._pool.acquire() as connection:
                    await idle_groups.release(connection, claimed)

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._visits.pop(task, None)
        self._single_visits.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("idle check failed", exc_info=error)

    async def _claim_singles(self) -> list[int]:
        full = self._monotonic() >= self._next_full_scan
        async with self._pool.acquire() as connection:
            found = await idle_mailboxes.claim(
                connection, limit=_SINGLES, within_seconds=None if full else _RECENT_SECONDS
            )
        if full and len(found) < _SINGLES:
            self._next_full_scan = self._monotonic() + _RECENT_SECONDS / 2
        return found

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

    async def _visit_singles(self, mailbox_ids: Sequence[int]) -> None:
        async with self._pool.acquire() as connection:
            members = await idle_mailboxes.load(connection, mailbox_ids)
        await self._look_at([_Look(member=member, announced=True) for member in members])

    async def _visit(self, group: IdleGroup) -> None:
        async with self._pool.acquire() as connection:
            activities = await idle_mailboxes.activities(
                connection, group.mailbox_ids, idle_for=self._intervals.shortest, pushed=self._pushed
            )
            due = due_checks(group, activities, self._intervals)
            members = await idle_mailboxes.load(connection, due.mailbox_ids)
        await self._wake([activity.mailbox_id for activity in activities if activity.needs_watch])
        looks = [
            _Look(
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

    async def _look_at(self, looks: Collection[_Look], *, group: IdleGroup | None = None) -> None:
        """Look at each as soon as it has its units, and wait for the answers."""
        await self._wake([look.member.mailbox.mailbox_id for look in looks if look.member.needs_turn])
        left = {look.member.mailbox.mailbox_id: look for look in looks if not look.member.needs_turn}
        out = [id_ for id_, look in left.items() if self._is_out(look)]
        await self._postpone(out)
        for mailbox_id in out:
            del left[mailbox_id]
        asked: dict[int, asyncio.Task[None]] = {}
        while left:
            outcomes = await self._pay(dict(islice(left.items(), _PAID_AT_ONCE)))
            asked |= {id_: await self._ask(left.pop(id_)) for id_, wait in outcomes.items() if wait is None}
            waits = {id_: wait for id_, wait in outcomes.items() if wait is not None}
            await self._wake([id_ for id_, wait in waits.items() if _is_busy(wait) and left.pop(id_)])
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
                await idle_mailboxes.look_again(connection, mailbox_ids, seconds=_AGAIN_SECONDS)

    def _is_out(self, look: _Look) -> bool:
        """Return whether turns of mailboxes that have failed ask the provider, and looks wait for its answer."""
        return self._outages.is_under_way(look.member.mailbox.provider)

    async def _pause(self, seconds: float, group: IdleGroup | None) -> None:
        await self._sleep(min(_LONGEST_PAUSE, max(_SHORTEST_PAUSE, seconds)))
        if group is not None:
            async with self._pool.acquire() as connection:
                await idle_groups.renew(connection, group, lease_seconds=_LEASE_SECONDS)

    async def _pay(self, looks: Mapping[int, _Look]) -> dict[int, QuotaWaitError | None]:
        """Take the units of looks, one of each identity; return the waits, None for those that have them."""
        by_provider: dict[str, dict[str, _Look]] = defaultdict(dict)
        for look in looks.values():
            by_provider[look.member.mailbox.provider].setdefault(look.member.mailbox.identity, look)
        waits: dict[int, QuotaWaitError | None] = {}
        for provider, by_identity in by_provider.items():
            units = {identity: self._units(look) for identity, look in by_identity.items()}
            outcomes = await self._access.quotas[provider].take_each(units)
            waits |= {by_identity[identity].member.mailbox.mailbox_id: wait for identity, wait in outcomes.items()}
        return waits

    def _units(self, look: _Look) -> int:
        costs = self._providers[look.member.mailbox.provider].costs
        return costs.list_changes + look.with_labels * costs.list_labels + look.with_address * costs.profile

    async def _ask(self, look: _Look) -> asyncio.Task[None]:
        """Start to ask about a mailbox as soon as there is a slot."""
        await self._slots.acquire()
        call = self._start(self._check(look))
        call.add_done_callback(lambda _: self._slots.release())
        return call

    async def _check(self, look: _Look) -> None:
        mailbox_id = look.member.mailbox.mailbox_id
        try:
            async with asyncio.timeout(self._longest_look):
                with self._outages.asking(look.member.mailbox.provider, mailbox_id):
                    answer = await self._ask_provider(look)
        except (ProviderError, AppError, TimeoutError) as error:
            # A turn of its own meets the error again and deals with it.
            log.info("idle check failed", mailbox_id=mailbox_id, error=type(error).__name__)
            self._metrics.looked(Outcome.FAILED)
            await self._wake([mailbox_id])
            return
        self._outages.answered(look.member.mailbox.provider)
        page = answer.page
        changed = page.last_record is not None or page.next_page_token is not None or page.latest > look.member.cursor
        relabelled = answer.labels is not None and await self._are_other_labels(mailbox_id, answer.labels)
        renamed = answer.profile is not None and await self._is_other_address(look.member.mailbox, answer.profile)
        is_new = changed or relabelled or renamed
        self._metrics.looked(Outcome.CHANGED if is_new else Outcome.UNCHANGED)
        if is_new:
            await self._wake([mailbox_id], changed=True, missed=changed and not look.announced)
        elif page.needs_turn:
            await self._wake([mailbox_id])
        else:
            await self._look_again_if_it_lags(look.member)

    async def _look_again_if_it_lags(self, member: IdleMailbox) -> None:
        """Look again at history that ends before what was announced, after as long as that is ago.

        Announcements can overtake it, and a look every quarter of an hour would delay the mail by that.
        """
        if member.lags_for is not None:
            watch = self._providers[member.mailbox.provider].watch_times
            seconds = max(_LEAST_LAG if watch is None else watch.echo, member.lags_for)
            async with self._pool.acquire() as connection:
                await idle_mailboxes.look_again(connection, [member.mailbox.mailbox_id], seconds=seconds)

    async def _ask_provider(self, look: _Look) -> _Found:
        """Return the history since the cursor and, as far as they are due, labels and profile."""
        mailbox = look.member.mailbox
        async with self._access.open(self._providers[mailbox.provider], mailbox, writing=None) as session:

            async def ask() -> _Found:
                return _Found(
                    page=await session.list_changes(cursor=look.member.cursor, page_token=None),
                    labels=await session.list_labels() if look.with_labels else None,
                    profile=await session.profile() if look.with_address else None,
                )

            return await self._access.calls(mailbox).call_prepaid(ask)

    async def _are_other_labels(self, mailbox_id: int, listed: Sequence[Label]) -> bool:
        """Return whether the labels differ from those stored; then they are due to be copied."""
        async with self._pool.acquire() as connection:
            if set(await labels.of_mailbox(connection, mailbox_id)) == set(listed):
                return False
            await labels.postpone(connection, mailbox_id, seconds=0)
            return True

    async def _is_other_address(self, mailbox: Mailbox, profile: Profile) -> bool:
        """Return whether the mailbox has another address at the provider; then a turn is to learn it."""
        if not profile.address or profile.address.casefold() == mailbox.email.casefold():
            return False
        async with self._pool.acquire() as connection:
            await mailbox_addresses.expect_rename(connection, mailbox.mailbox_id)
            return True

    async def _wake(self, mailbox_ids: Collection[int], *, changed: bool = False, missed: bool = False) -> None:
        if mailbox_ids:
            async with self._pool.acquire() as connection:
                await idle_mailboxes.wake(connection, mailbox_ids, changed=changed, missed=missed)


def _is_busy(wait: QuotaWaitError) -> bool:
    """Return whether the mailbox's own units are used up."""
    return wait.scope is QuotaScope.MAILBOX and wait.seconds > _SHORT_WAIT
