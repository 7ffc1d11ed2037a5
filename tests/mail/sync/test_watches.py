"""Watches in turns: what they cost, and what a lost call costs."""

from datetime import UTC, datetime

from services.mail.providers.base import NoAnswerError
from services.mail.sync import watches
from tests.mail.conftest import OpenStage
from tests.support.mail.scripted_history import ScriptedHistory
from tests.support.mail.turns import begin_turn


class Watched(ScriptedHistory):
    """A mailbox whose first `lost` calls to make a watch get no answer."""

    def __init__(self, *, lost: int) -> None:
        super().__init__()
        self.can_push = True
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
