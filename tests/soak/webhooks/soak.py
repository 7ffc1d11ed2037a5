"""Changes, faults of receivers, kill -9 of deliverers and Postgres; and a comparison of what was taken with feeds."""

import asyncio
import json
import random
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from services.mail import events
from services.mail.model import Mailbox
from services.mail.store.connection import DATABASE_LOST
from services.mail.store.control import public_id_key
from tests.soak.kills import kill_server, wait_until
from tests.soak.webhooks.plan import (
    FAULTS,
    MOST_WAIT,
    MOST_WAIT_OF_REFUSED,
    REFUSED,
    TIMEOUT_SECONDS,
    WebhookSoakPlan,
)
from tests.soak.webhooks.receivers import Receivers, open_receivers
from tests.soak.webhooks.verdict import Feed, Verdict, compare
from tests.support.e2e.running_stack import RunningStack
from tests.support.e2e.webhook_stack import filled_feeds, webhook_stack
from tests.support.mail.filled_feeds import FilledFeeds
from tests.support.mail.stored import store
from tests.support.mail.waiting import eventually

# New messages of a transaction, at most.
_BATCH = 40
_AGAIN_SECONDS = 0.2


@dataclass
class Report:
    """What a soak did and found."""

    seed: int
    seconds: float = 0.0
    kills: Counter[str] = field(default_factory=Counter)
    faults: dict[str, int] = field(default_factory=dict)
    taken: int = 0
    repeated: int = 0
    longest_wait: float = 0.0
    longest_wait_of_refused: float = 0.0
    longest_wait_of_healthy: float = 0.0
    most_at_dead: int = 0
    failures: list[str] = field(default_factory=list)

    def as_json(self) -> str:
        """Return the report as a line."""
        return json.dumps({"soak": "webhooks", **self.__dict__, "kills": dict(self.kills)})


def soak(plan: WebhookSoakPlan, *, logs: Path) -> Report:
    """Run a soak. Processes are killed in this thread, which starts them; the rest runs in another one."""
    report = Report(plan.seed)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mailroom-webhook-soak-") as folder:
        home = Path(folder)
        home.chmod(0o711)
        with webhook_stack(
            home, deliverers=plan.deliverers, WEBHOOK_TIMEOUT_SECONDS=str(TIMEOUT_SECONDS), LOG_LEVEL="WARNING"
        ) as (stack, names):
            traffic = _Traffic(plan, stack, report)
            thread = threading.Thread(target=traffic.run)
            thread.start()
            traffic.is_begun.wait()
            _kill_all(plan, stack, names, traffic, report)
            thread.join()
        if report.failures:
            logs.mkdir(parents=True, exist_ok=True)
            for log in home.rglob("*.log"):
                shutil.copy(log, logs / log.name)
    report.seconds = round(time.monotonic() - began, 1)
    return report


def _kill_all(
    plan: WebhookSoakPlan, stack: RunningStack, names: Sequence[str], traffic: "_Traffic", report: Report
) -> None:
    """Kill and restart, spread over the time of the changes."""
    chosen = random.Random(plan.seed)
    victims = ["postgres"] * plan.postgres_kills + ["deliverer"] * plan.kills
    chosen.shuffle(victims)
    began = time.monotonic()
    for number, kind in enumerate(victims, 1):
        wait_until(began + plan.seconds * number / (len(victims) + 1), unless=traffic.has_failed.is_set)
        if traffic.has_failed.is_set():
            return
        report.kills[kind] += 1
        if kind == "postgres":
            kill_server(stack.servers["postgres"])
            stack.servers["postgres"].start()
        else:
            name = chosen.choice(names)
            stack.kill(name)
            stack.start(name)
    traffic.are_kills_done.set()


class _Traffic:
    """Changes and receivers, in a thread of their own."""

    def __init__(self, plan: WebhookSoakPlan, stack: RunningStack, report: Report) -> None:
        self._plan = plan
        self._stack = stack
        self._report = report
        self._random = random.Random(plan.seed)
        self.is_begun, self.are_kills_done, self.has_failed = threading.Event(), threading.Event(), threading.Event()

    def run(self) -> None:
        """Run to the end; what goes wrong stands in the report."""
        try:
            asyncio.run(self._run())
        except Exception as error:  # noqa: BLE001 - a thread has no caller
            self._report.failures.append(f"{type(error).__name__}: {error}")
            self.has_failed.set()
        finally:
            self.is_begun.set()

    async def _run(self) -> None:
        async with filled_feeds(self._stack) as feeds, open_receivers(self._plan.seed) as receivers:
            mailboxes = [await feeds.mailbox() for _ in range(self._plan.mailboxes)]
            await feeds.endpoint(receivers.faulty.receiver)
            await feeds.endpoint(receivers.dead)
            await feeds.endpoint(receivers.healthy.receiver, account_ids=[mailboxes[-1].account_id])
            self.is_begun.set()
            await self._commit_all(feeds, mailboxes)
            await asyncio.to_thread(self.are_kills_done.wait)
            await self._until_refusal_is_over(receivers)
            receivers.faulty.is_faulty = False
            await self._until_delivered(feeds)
            await self._compare(feeds, mailboxes, receivers)

    async def _commit_all(self, feeds: FilledFeeds, mailboxes: Sequence[Mailbox]) -> None:
        """Commit all changes at an even rate; the second one of the first mailbox is refused."""
        began, done = time.monotonic(), 0
        await self._commit(feeds, mailboxes[0], ["before"])
        await self._commit(feeds, mailboxes[0], [REFUSED])
        while done < self._plan.changes:
            number = min(self._random.randint(1, _BATCH), self._plan.changes - done)
            ids = [f"m{done + place}" for place in range(number)]
            await self._commit(feeds, self._random.choice(mailboxes), ids)
            done += number
            ahead = began + self._plan.seconds * done / self._plan.changes - time.monotonic()
            await asyncio.sleep(max(0.0, ahead))

    async def _commit(self, feeds: FilledFeeds, mailbox: Mailbox, ids: Sequence[str]) -> None:
        """Store messages and announce them, however often Postgres dies meanwhile."""
        while True:
            try:
                async with feeds.pool.acquire() as connection, connection.transaction():
                    await store(connection, mailbox.mailbox_id, *ids)
                    await events.announce(connection, mailbox.mailbox_id)
                return
            except DATABASE_LOST:
                await asyncio.sleep(_AGAIN_SECONDS)

    async def _until_refusal_is_over(self, receivers: Receivers) -> None:
        async def is_over() -> bool:
            arrivals = receivers.faulty.all
            refused = next((each for each in arrivals if each.status == 400), None)
            return refused is not None and any(
                each.is_taken and each.mailbox == refused.mailbox and each.at > refused.at for each in arrivals[::-1]
            )

        await eventually(is_over, within=2 * MOST_WAIT_OF_REFUSED)

    async def _until_delivered(self, feeds: FilledFeeds) -> None:
        """Wait until no cursor but those of the dead receiver is behind its feed."""

        async def are_delivered() -> bool:
            behind: int = await feeds.pool.fetchval(
                """
                SELECT count(*) FROM webhook_endpoints e JOIN feed_heads h USING (application_id)
                LEFT JOIN webhook_cursors c USING (endpoint_id, mailbox_id)
                WHERE (e.account_ids IS NULL OR h.account_id = ANY(e.account_ids)) AND c.seq IS DISTINCT FROM h.seq
                AND EXISTS (
                    SELECT FROM webhook_deliveries d
                    WHERE d.endpoint_id = e.endpoint_id AND d.state = 'delivered' AND d.event_type <> 'webhook.test')
                """
            )
            return behind == 0

        await eventually(are_delivered, within=self._plan.patience)

    async def _compare(self, feeds: FilledFeeds, mailboxes: Sequence[Mailbox], receivers: Receivers) -> None:
        report = self._report
        async with feeds.pool.acquire() as connection:
            ids = await public_id_key.load(connection)
        expected = {str(each.account_id): await _feed_of(feeds, each) for each in mailboxes}
        verdict = compare(receivers.faulty.all, expected, ids)
        last = str(mailboxes[-1].account_id)
        healthy = compare(receivers.healthy.all, {last: _unrefused(expected[last])}, ids)
        report.taken, report.repeated = verdict.taken, verdict.repeated
        report.faults = {str(status): count for status, count in receivers.faulty.faults.items()}
        report.most_at_dead = receivers.dead.most_waiting
        first = str(mailboxes[0].account_id)
        report.longest_wait_of_refused = verdict.waits.pop(first)
        report.longest_wait = max(verdict.waits.values())
        report.longest_wait_of_healthy = healthy.waits[last]
        report.failures += [*verdict.failures, *healthy.failures, *self._broken_bounds(verdict, receivers)]

    def _broken_bounds(self, verdict: Verdict, receivers: Receivers) -> list[str]:
        """Return the bounds and conditions of the soak that do not hold."""
        report = self._report
        held = {
            "no mailbox waits long": max(verdict.waits.values()) <= MOST_WAIT,
            "a refused event holds its mailbox for five minutes at most": report.longest_wait_of_refused
            <= MOST_WAIT_OF_REFUSED,
            "a dead receiver slows no other": report.longest_wait_of_healthy <= MOST_WAIT,
            "signatures verify": not any(
                each.refused_signatures for each in (receivers.faulty.receiver, receivers.healthy.receiver)
            ),
            "no redirect is followed": not receivers.trap.received,
            "each fault occurs": self._plan.changes < 10_000 or receivers.faulty.faults.keys() == FAULTS.keys(),
        }
        return [f"not so: {condition}" for condition, is_so in held.items() if not is_so]


async def _feed_of(feeds: FilledFeeds, mailbox: Mailbox) -> Feed:
    rows = await feeds.pool.fetch(
        """
        SELECT c.seq, m.external_id FROM message_changes c LEFT JOIN messages m USING (mailbox_id, message_id)
        WHERE mailbox_id = $1 ORDER BY seq
        """,
        mailbox.mailbox_id,
    )
    numbers = [row["seq"] for row in rows]
    refused = frozenset(row["seq"] for row in rows if row["external_id"] == REFUSED)
    return Feed(start=numbers[0], numbers=numbers[1:], refused=refused)


def _unrefused(feed: Feed) -> Feed:
    return Feed(start=feed.start, numbers=feed.numbers)
