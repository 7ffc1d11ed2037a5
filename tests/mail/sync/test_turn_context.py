"""A turn's units, the limits that it meets, and the report of both in its sync."""

from collections.abc import Awaitable, Callable

import httpx
import pytest

from services.mail.provider_access.quota import QuotaWaitError
from services.mail.providers.errors import RateLimitedError, TooConcurrentError
from services.mail.providers.gmail.adapter import GmailProvider
from services.mail.providers.gmail.limits import GMAIL_COSTS
from services.mail.sync.turn_context import TurnContext
from tests.mail.conftest import OpenStage
from tests.support.mail.stage import Stage
from tests.support.mail.turns import begin_turn

PATIENCE = 10.0


async def begin(s: Stage, http: httpx.AsyncClient) -> TurnContext:
    """Return a turn with a sync that was just requested."""
    await s.request()
    costs = GMAIL_COSTS["2026-05"]
    return await begin_turn(s, GmailProvider(http, api_url=s.servers.sandbox.url, batch_url=None, costs=costs))


async def spent(s: Stage) -> int:
    """Return the units that the sync reports."""
    return int(await s.fetchval("SELECT units_spent FROM syncs"))


class TestUnits:
    async def test_are_reported_once_by_the_next_transaction(self, stage: OpenStage) -> None:
        async with stage(workers=0) as s, httpx.AsyncClient() as http:
            turn = await begin(s, http)
            await turn.calls.take(20, patience=PATIENCE)
            for _ in range(2):
                async with turn.writing():
                    pass
                assert await spent(s) == 20

    async def test_of_a_rolled_back_report_are_reported_by_the_next_one(self, stage: OpenStage) -> None:
        async with stage(workers=0) as s, httpx.AsyncClient() as http:
            turn = await begin(s, http)
            await turn.calls.take(20, patience=PATIENCE)
            with pytest.raises(ZeroDivisionError):
                async with turn.writing():
                    raise ZeroDivisionError
            assert await spent(s) == 0
            async with turn.writing():
                pass
            assert await spent(s) == 20

    async def test_of_uncounted_calls_are_not_the_syncs(self, stage: OpenStage) -> None:
        async with stage(workers=0) as s, httpx.AsyncClient() as http:
            turn = await begin(s, http)
            await turn.uncounted_calls.take(100, patience=PATIENCE)
            async with turn.writing():
                pass
            assert await spent(s) == 0


type Call = Callable[[TurnContext, Callable[[], Awaitable[None]]], Awaitable[None]]


class TestLimits:
    @pytest.mark.parametrize(
        "call",
        [
            lambda turn, ask: turn.call_prepaid(ask),
            lambda turn, ask: turn.call_uncounted(1, ask),
        ],
        ids=["a call", "an uncounted call"],
    )
    @pytest.mark.parametrize(
        ("error", "seconds"),
        [(RateLimitedError("", retry_after=7), 7), (TooConcurrentError(), 2)],
        ids=["rate", "concurrency"],
    )
    async def test_make_the_mailbox_wait_and_count_as_no_failure(
        self, stage: OpenStage, call: Call, error: Exception, seconds: float
    ) -> None:
        async def ask() -> None:
            raise error

        async with stage(workers=0) as s, httpx.AsyncClient() as http:
            turn = await begin(s, http)
            with pytest.raises(QuotaWaitError) as wait:
                await call(turn, ask)
            assert wait.value.seconds == seconds
