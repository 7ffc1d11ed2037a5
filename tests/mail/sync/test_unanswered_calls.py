"""Calls that the provider takes and never answers: the cost for the sync that makes them, and for other mailboxes."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest
import structlog

from services.mail.model import SyncState
from services.mail.providers.gmail.http.deadlines import DEADLINES, Deadlines
from services.mail.store.control import schedule
from tests.mail.conftest import OpenStage
from tests.support.mail.sandbox_control import SandboxMailbox
from tests.support.mail.stage import Stage, connect_user
from tests.support.mail.waiting import eventually

SYNC_SECONDS, BYSTANDER_SECONDS = 15.0, 1.0
QUICK = Deadlines(small=0.5, get=1.0, batch=1.2, between=1.0)


async def first_sync(s: Stage) -> None:
    """Syncs a mailbox for the first time."""
    assert (await s.sync(count=None, within=60.0)).sync.state is SyncState.COMPLETED


async def new_mail(s: Stage) -> None:
    """Waits for mail that a hint told of."""
    new = await s.at_provider.deliver()
    await s.hint()
    await eventually(lambda: is_stored(s, new), within=60.0)


async def is_stored(s: Stage, external_id: str) -> bool:
    """Whether a message is in the copy."""
    return bool(await s.fetchval("SELECT EXISTS (SELECT FROM messages WHERE external_id = $1)", external_id))


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of call, and what a mailbox does that makes one."""

    method: str
    act: Callable[[Stage], Awaitable[None]]
    synced: bool = False
    batch: bool = True


KINDS = {
    "profile": Kind(method="gmail.profile.get", act=first_sync),
    "labels": Kind(method="gmail.labels.list", act=first_sync),
    "list": Kind(method="gmail.messages.list", act=first_sync),
    "history": Kind(method="gmail.history.list", act=new_mail, synced=True),
    "get": Kind(method="gmail.messages.get", act=new_mail, synced=True, batch=False),
    "batch": Kind(method="batch", act=first_sync),
}


@dataclass(frozen=True)
class Cost:
    """Seconds that an unanswered call costs the sync that makes it, and those for new mail of another mailbox."""

    sync: float
    bystander: float
    logs: list[str]


async def cost_of(stage: OpenStage, kind: Kind, deadlines: Deadlines) -> Cost:
    """Measures what one unanswered call costs a mailbox, and another one meanwhile."""
    async with stage(messages=6, deadlines=deadlines, batch=kind.batch) as s:
        account, other = await connect_user(s.servers.sandbox, s.auth, messages=3, user_id=s.user_id)
        bystander = await s.mailboxes.find(s.user_id, account_id=account.account_id)
        await s.ended(await s.syncs.start(bystander, newest_count=None))
        if kind.synced:
            await s.sync(count=None)
        await s.at_provider.fail({"method": kind.method, "kind": "timeout", "seconds": 120.0, "count": 1})
        with structlog.testing.capture_logs() as logs:
            acting = asyncio.create_task(seconds_of(kind.act(s)))
            await s.until_fault_fired()
            beside = await seconds_of(new_mail_of(s, other, bystander.mailbox_id))
            assert not acting.done()
            cost = Cost(sync=await acting, bystander=beside, logs=[entry["event"] for entry in logs])
        await s.at_provider.fail()
        truth = await s.at_provider.truth()
        assert await s.stored() == truth
        return cost


async def new_mail_of(s: Stage, at: SandboxMailbox, mailbox_id: int) -> None:
    """Waits for new mail of another mailbox, of which a notification tells."""
    new = await at.deliver()
    async with s.pool.acquire() as connection:
        await schedule.trigger(connection, mailbox_id)
    await eventually(lambda: is_stored(s, new), within=60.0)


async def seconds_of(work: Awaitable[None]) -> float:
    """Measures how long it takes."""
    began = time.monotonic()
    await work
    return time.monotonic() - began


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
async def test_one_is_repeated_at_once(stage: OpenStage, kind: Kind) -> None:
    cost = await cost_of(stage, kind, QUICK)
    assert "turn failed" not in cost.logs
    assert cost.logs.count("a call without an answer is repeated") == 1


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
async def test_one_costs_the_sync_seconds_and_others_nothing(
    stage: OpenStage, kind: Kind, record_property: Callable[[str, object], None]
) -> None:
    cost = await cost_of(stage, kind, DEADLINES)
    record_property("sync_seconds", cost.sync)
    record_property("bystander_seconds", cost.bystander)
    print(f"{kind.method}: sync {cost.sync:.2f} s, bystander {cost.bystander:.2f} s")
    assert cost.sync < SYNC_SECONDS
    assert cost.bystander < BYSTANDER_SECONDS
