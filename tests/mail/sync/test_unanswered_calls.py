"""Calls that are taken and never answered, by the provider or by auth: their cost for the sync, and for others."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
import structlog

from services.mail import auth_client
from services.mail.auth_client import AuthClient
from services.mail.model import SyncState
from services.mail.provider_access.quota import Quota
from services.mail.provider_access.settlement import Taken
from services.mail.providers.base import FetchResult, Get
from services.mail.providers.errors import NoAnswerError, ProviderUnavailableError
from services.mail.providers.gmail.http.deadlines import DEADLINES, Deadlines
from services.mail.store.control import schedule
from services.mail.sync.fetch import fetch_batch
from services.mail.sync.store_fetched import Retries
from tests.mail.conftest import OpenStage
from tests.support.mail.auth_server import served_auth
from tests.support.mail.running_worker import WorkerOptions, working
from tests.support.mail.sandbox_control import SandboxMailbox
from tests.support.mail.scripted_history import ScriptedHistory
from tests.support.mail.stage import Stage, connect_user
from tests.support.mail.turns import begin_turn
from tests.support.mail.waiting import eventually


class Parts(ScriptedHistory):
    """A provider that answers one get of each fetch, with an error, and labels."""

    async def fetch(self, access_token: str, gets: Sequence[Get], *, singly: bool = False) -> Mapping[str, FetchResult]:
        """Answer the last get."""
        del access_token, singly
        lost = {get.external_ids[0]: NoAnswerError() for get in gets[:-1]}
        return {**lost, gets[-1].external_ids[0]: ProviderUnavailableError()}


class Ends(Quota):
    """A quota that counts the units of calls that are known to have ended."""

    ended = 0

    def end(self, taken: Taken) -> None:
        """See Quota."""
        self.ended += taken.units
        super().end(taken)


class TestGets:
    async def test_without_an_answer_have_not_ended(self, stage: OpenStage) -> None:
        provider = Parts()
        async with stage(messages=2, workers=0) as s:
            await s.sync_with_worker()
            await s.pool.execute(
                "INSERT INTO fetch_queue (mailbox_id, external_id, lane, ordinal) "
                "SELECT mailbox_id, 'm' || n, 0, n FROM mailboxes, generate_series(1, 3) n"
            )
            await s.hint()
            turn = await begin_turn(s, provider, quota_type=Ends)
            await fetch_batch(turn, Retries())
            assert isinstance(turn.quota, Ends)
            # Two of three gets are lost, and one of these two again. Labels are asked for to tell an outage.
            assert turn.calls.units_taken == (3 + 2) * provider.costs.fetch + provider.costs.list_labels
            assert turn.quota.ended == (1 + 1) * provider.costs.fetch + provider.costs.list_labels


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
    """Measures what one unanswered call of the provider costs a mailbox, and another one meanwhile."""
    async with stage(messages=6, deadlines=deadlines, batch=kind.batch) as s:
        cost = await cost_beside(s, kind, silence=lambda: silence_provider(s, kind), is_silent=s.until_fault_fired)
        await s.at_provider.fail()
        truth = await s.at_provider.truth()
        assert await s.stored() == truth
        return cost


async def silence_provider(s: Stage, kind: Kind) -> None:
    """Lets the provider leave the next call of this kind unanswered."""
    await s.at_provider.fail({"method": kind.method, "kind": "timeout", "seconds": 120.0, "count": 1})


async def cost_beside(
    s: Stage,
    kind: Kind,
    *,
    silence: Callable[[], Awaitable[None]],
    is_silent: Callable[[], Awaitable[None]],
) -> Cost:
    """Measures the cost of a call that is silenced, and waits for its begin before the bystander gets mail."""
    account, other = await connect_user(s.servers.sandbox, s.auth, messages=3, user_id=s.user_id)
    bystander = await s.mailboxes.find(s.user_id, account_id=account.account_id)
    await s.ended(await s.syncs.start(bystander, newest_count=None))
    if kind.synced:
        await s.sync(count=None)
    await silence()
    with structlog.testing.capture_logs() as logs:
        acting = asyncio.create_task(seconds_of(kind.act(s)))
        await is_silent()
        beside = await seconds_of(new_mail_of(s, other, bystander.mailbox_id))
        assert not acting.done()
        return Cost(sync=await acting, bystander=beside, logs=[entry["event"] for entry in logs])


async def cost_of_lookup(stage: OpenStage, *, lookup_timeout: float | None = None) -> Cost:
    """Measures what one lookup of a provider token costs that auth never answers."""
    async with stage(messages=6, workers=0) as s, asking_auth(s, lookup_timeout=lookup_timeout):

        async def silence() -> None:
            s.auth.unanswered = 1

        async def is_silent() -> None:
            await eventually(is_asked)

        async def is_asked() -> bool:
            return s.auth.unanswered == 0

        cost = await cost_beside(s, Kind(method="token", act=first_sync), silence=silence, is_silent=is_silent)
        # The unit of the call that was not made is not given back.
        await s.mirrors(exactly_paid=False)
        return cost


@asynccontextmanager
async def asking_auth(s: Stage, *, lookup_timeout: float | None) -> AsyncIterator[None]:
    """Run a worker that asks auth over gRPC."""
    async with (
        served_auth(s.auth) as address,
        auth_client.connect(address, identity=None, tracer=None) as channel,
    ):
        client = AuthClient(channel) if lookup_timeout is None else AuthClient(channel, lookup_timeout=lookup_timeout)
        async with working(s.servers, client, WorkerOptions()):
            yield


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


async def test_a_lookup_that_auth_never_answers_is_made_again(stage: OpenStage) -> None:
    cost = await cost_of_lookup(stage, lookup_timeout=1.0)
    assert cost.logs.count("turn failed") == 1
    assert cost.sync > 1.0


@pytest.mark.long
async def test_a_lookup_that_auth_never_answers_costs_the_sync_seconds_and_others_nothing(
    stage: OpenStage, record_property: Callable[[str, object], None]
) -> None:
    cost = await cost_of_lookup(stage)
    record_property("sync_seconds", cost.sync)
    record_property("bystander_seconds", cost.bystander)
    print(f"token: sync {cost.sync:.2f} s, bystander {cost.bystander:.2f} s")
    assert cost.sync < SYNC_SECONDS
    assert cost.bystander < BYSTANDER_SECONDS
