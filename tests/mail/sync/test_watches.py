"""Watches in turns: what they cost, and what a lost call costs."""

import asyncio
from datetime import UTC, datetime

import pytest

from services.mail.providers.base import IdPage
from services.mail.providers.errors import NoAnswerError, ProviderUnavailableError
from services.mail.providers.gmail.limits import WATCH_TIMES
from services.mail.sync import watches
from services.mail.sync.store_fetched import Retries
from services.mail.sync.turn_context import TurnContext
from services.mail.sync.turn_steps import Release, run_turn
from tests.mail.conftest import OpenStage
from tests.support.mail.scripted_history import ScriptedHistory
from tests.support.mail.turns import begin_turn


class Watched(ScriptedHistory):
    """A mailbox whose first `lost` calls to make a watch get no answer."""

    def __init__(self, *, lost: int) -> None:
        super().__init__()
        self.watch_times = WATCH_TIMES
        self.calls = 0
        self._lost = lost

    async def watch(self, access_token: str) -> datetime:
        """Make a watch."""
        del access_token
        self.calls += 1
        if self.calls <= self._lost:
            raise NoAnswerError
        return datetime(2100, 1, 1, tzinfo=UTC)


class TestKeep:
    async def test_pays_for_the_repeat_of_a_call_without_an_answer(self, stage: OpenStage) -> None:
        provider = Watched(lost=1)
        async with stage(workers=0) as s:
            await s.request(count=None)
            turn = await begin_turn(s, provider)
            await watches.keep(turn)
            assert provider.calls == 2
            assert turn.uncounted_calls.units_taken == 2 * provider.costs.watch
            assert turn.calls.units_taken == 0
            assert await s.fetchval("SELECT expires_at > now() FROM watches")

    async def test_tries_later_after_two_calls_without_an_answer(self, stage: OpenStage) -> None:
        provider = Watched(lost=2)
        async with stage(workers=0) as s:
            await s.request(count=None)
            turn = await begin_turn(s, provider)
            await watches.keep(turn)
            assert provider.calls == 2
            assert await s.fetchval("SELECT expires_at IS NULL AND renew_at > now() FROM watches")

    async def test_reports_the_end_of_its_call(self, stage: OpenStage) -> None:
        async with stage(workers=0) as s:
            await s.request(count=None)
            turn = await begin_turn(s, Watched(lost=0))
            await watches.keep(turn)
            # Units whose end is not reported come back only after the longest call.
            assert not turn.uncounted_calls._prepaid


class SlowWatch(Watched):
    """An empty mailbox whose watch is answered only after its first listing, or never if that fails."""

    def __init__(self, *, listing_fails: bool = False) -> None:
        super().__init__(lost=0)
        self.listed = asyncio.Event()
        self.cancelled = False
        self._listing_fails = listing_fails

    async def watch(self, access_token: str) -> datetime:
        """Make a watch after the listing."""
        try:
            await self.listed.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        return await super().watch(access_token)

    async def list_ids(self, *_: object, **__: object) -> IdPage:
        """No message."""
        if self._listing_fails:
            raise ProviderUnavailableError
        self.listed.set()
        return IdPage(listed=[], next_page_token=None)


async def run(turn: TurnContext) -> Release:
    """Run a turn, for some seconds at most."""
    async with asyncio.timeout(30):
        return await run_turn(turn, poll_seconds=600, verify_seconds=0, retries=Retries())


class TestFirstTurn:
    async def test_does_not_wait_for_the_watch_before_it_lists(self, stage: OpenStage) -> None:
        provider = SlowWatch()
        async with stage(workers=0) as s:
            await s.request(count=10)
            turn = await begin_turn(s, provider)
            await run(turn)
            assert provider.calls == 1
            assert await s.fetchval("SELECT expires_at > now() FROM watches")
            assert await s.fetchval("SELECT state FROM syncs") == "completed"
            # The units of the sync are those of its own calls.
            assert await s.fetchval("SELECT units_spent FROM syncs") == turn.calls.units_taken

    async def test_that_fails_makes_no_watch(self, stage: OpenStage) -> None:
        provider = SlowWatch(listing_fails=True)
        async with stage(workers=0) as s:
            await s.request(count=10)
            with pytest.raises(ProviderUnavailableError):
                await run(await begin_turn(s, provider))
            assert provider.cancelled
            assert await s.fetchval("SELECT count(*) FROM watches") == 0
