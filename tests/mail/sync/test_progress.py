"""Every way through a turn gets on with an empty quota window, as fast as its units come, and spends no unit twice."""

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest
import structlog
from starlette.responses import Response

from services.mail.model import SyncState
from services.mail.provider_access.quota import QuotaWaitError
from services.mail.providers.gmail.limits import LIVE_SHARE
from tests.mail.conftest import OpenStage
from tests.support.mail.proxied_gmail import ProxiedCall, proxied
from tests.support.mail.quota import limit_of, shared_quota
from tests.support.mail.running_worker import WorkerOptions, worker_limits
from tests.support.mail.servers import Servers
from tests.support.mail.stage import Stage

# Google's window: its 100 units a second come too slowly for a get to be worth waiting for within a turn.
WINDOW = 60.0
LIMITS = worker_limits(window=WINDOW)
LIVE_UNITS = int(limit_of(LIMITS) * LIVE_SHARE)
PER_SECOND = (limit_of(LIMITS) - LIVE_UNITS) / WINDOW
SECONDS_OF_GRACE = 2.0


async def without_cursor(call: ProxiedCall) -> Response | None:
    """A provider whose profiles have no cursor."""
    if not call.request.url.path.endswith("/profile"):
        return None
    profile = (await call.forward()).json()
    del profile["historyId"]
    return Response(json.dumps(profile), media_type="application/json")


async def nothing(s: Stage) -> None:
    """Nothing comes before."""
    del s


async def synced(s: Stage) -> None:
    """All of it was synced before, and some has changed since."""
    await s.sync(count=None)
    await s.until_released()
    [changed, *_] = await s.at_provider.visible()
    await s.at_provider.relabel(changed, add=("STARRED",))
    await s.at_provider.deliver()


async def synced_before_history_was_lost(s: Stage) -> None:
    """And the cursor is too old by now."""
    await synced(s)
    await s.at_provider.lose_history()


async def synced_with_gaps(s: Stage) -> None:
    """The copy differs from the mailbox, and history does not tell."""
    await synced(s)
    await s.hint()
    await s.until_idle()
    await s.until_released()
    await s.pool.execute("DELETE FROM messages WHERE message_id = (SELECT min(message_id) FROM messages)")
    await s.pool.execute(
        "UPDATE messages SET label_ids = '{}' WHERE message_id = (SELECT max(message_id) FROM messages)"
    )


async def sync_newest(s: Stage) -> None:
    """A sync of the newest messages."""
    assert (await s.sync(count=3)).sync.state is SyncState.COMPLETED


async def sync_all(s: Stage) -> None:
    """A sync of everything."""
    assert (await s.sync(count=None)).sync.state is SyncState.COMPLETED


async def catch_up(s: Stage) -> None:
    """What a hint leads to."""
    await s.hint()
    await s.until_caught_up()
    await s.until_idle()


async def verify(s: Stage) -> None:
    """A verification with its repairs."""
    assert (await s.verify()).sync.state is SyncState.COMPLETED


@dataclass(frozen=True, kw_only=True)
class Way:
    """A way through turns: what the mailbox has gone through before, and what is asked for."""

    before: Callable[[Stage], Awaitable[None]] = nothing
    act: Callable[[Stage], Awaitable[None]]
    profile_cursor: bool = True
    batch: bool = True
    threads: bool = False
    watch: bool = False


WAYS = {
    "first": Way(act=sync_newest),
    "first_without_cursor": Way(act=sync_newest, profile_cursor=False, batch=False),
    "first_without_cursor_with_watch": Way(act=sync_all, profile_cursor=False, watch=True),
    "first_of_threads_with_watch": Way(act=sync_all, threads=True, watch=True),
    "first_without_batch": Way(act=sync_all, batch=False),
    "incremental": Way(before=synced, act=catch_up),
    "incremental_without_cursor_or_batch": Way(before=synced, act=catch_up, profile_cursor=False, batch=False),
    "incremental_on_request": Way(before=synced, act=sync_newest, threads=True, watch=True),
    "relist_and_relabel": Way(before=synced_before_history_was_lost, act=catch_up),
    "relist_and_relabel_without_cursor": Way(
        before=synced_before_history_was_lost, act=catch_up, profile_cursor=False, batch=False
    ),
    "verify": Way(before=synced_with_gaps, act=verify),
    "verify_without_cursor_or_batch": Way(before=synced_with_gaps, act=verify, profile_cursor=False, batch=False),
}


@dataclass(frozen=True)
class Run:
    """The seconds and units that a way took, and the turns that failed on it."""

    seconds: float
    units: int
    failed: list[str]


async def empty_window(s: Stage) -> None:
    """Takes all units of the mailbox that are to be had at once, those for live mail included."""
    quota = shared_quota(s.servers.redis, s.pool, limits=LIMITS)
    identity = (await s.mailbox()).identity
    # A pause leaves no level; a window that is not known yet would count as used up.
    quota.end(await quota.take(identity, 1))
    await quota.pause(identity, 0.0, whole_project=False)
    with contextlib.suppress(QuotaWaitError):
        while True:
            quota.end(await quota.take(identity, 1))
    await quota.flush()


async def run(servers: Servers, stage: OpenStage, way: Way, *, empty: bool) -> Run:
    """Goes a way, with all units at once or with those only that come meanwhile."""
    async with AsyncExitStack() as stack:
        url = None if way.profile_cursor else await stack.enter_async_context(proxied(servers.sandbox, without_cursor))
        topic = "projects/p/topics/t" if way.watch else None
        s = await stack.enter_async_context(stage(window=WINDOW, batch=way.batch, api_url=url, push_topic=topic))
        first = await s.at_provider.deliver()
        for _ in range(3):
            await s.at_provider.deliver(**({"thread_id": first} if way.threads else {}))
        await way.before(s)
        if empty:
            await empty_window(s)
        spent = (await s.at_provider.quota())["units"]
        began = time.monotonic()
        with structlog.testing.capture_logs() as logs:
            await way.act(s)
        seconds = time.monotonic() - began
        units = (await s.at_provider.quota())["units"] - spent
        if way.act is not sync_newest:
            # The units that were taken to empty the window paid for no call.
            await s.mirrors(exactly_paid=not empty)
        failed = [entry["reason"] for entry in logs if entry["event"] == "turn failed"]
        return Run(seconds=seconds, units=units, failed=failed)


# Each way is gone twice, and waits for units; the others differ in one step from one of these.
QUICK_WAYS = ("first_without_cursor", "first_of_threads_with_watch", "incremental", "relist_and_relabel", "verify")


@pytest.mark.parametrize(
    "way",
    [pytest.param(way, id=name, marks=() if name in QUICK_WAYS else pytest.mark.long) for name, way in WAYS.items()],
)
async def test_gets_on_as_units_come(servers: Servers, stage: OpenStage, way: Way) -> None:
    free = await run(servers, stage, way, empty=False)
    paced = await run(servers, stage, way, empty=True)
    assert (free.failed, paced.failed) == ([], [])
    assert paced.units == free.units
    # Other than live mail comes only after the units for live mail have come back.
    assert paced.seconds <= free.seconds + (LIVE_UNITS + paced.units) / PER_SECOND + SECONDS_OF_GRACE


@pytest.mark.parametrize("batch_size", [1, 5, 50])
async def test_a_mailbox_that_waits_for_quota_is_claimed_twice_a_second_at_most(
    stage: OpenStage, batch_size: int
) -> None:
    # So few units that every batch has to be waited for, be it of one message.
    window, seconds = 120.0, 4.0
    async with stage(messages=100, workers=0) as s:
        await s.mailbox()
        await empty_window(s)
        async with s.another_worker(WorkerOptions(batch=False, window=window, batch_size=batch_size)):
            await s.request(count=None)
            await s.until_listed()
            claims = "SELECT lease_epoch FROM mailbox_schedule"
            began, before = time.monotonic(), await s.fetchval(claims)
            stored = await s.fetchval("SELECT count(*) FROM messages")
            await asyncio.sleep(seconds)
            # The units of a large batch take longer.
            await s.until_stored_some(stored + (batch_size < 50))
            assert await s.fetchval(claims) - before <= 2 * (time.monotonic() - began) + 1
