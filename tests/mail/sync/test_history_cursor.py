"""The cursor while history is read, and providers without history."""

from dataclasses import replace

import pytest

from services.mail.model import HistoryDelta, Listing, SyncProgress
from services.mail.providers.base import HistoryPage
from services.mail.providers.errors import PageTokenExpiredError, ProviderUnavailableError, RouteMissingError
from services.mail.store.sync import sync_state
from services.mail.sync import history
from services.mail.sync.turn_context import TurnContext
from tests.mail.conftest import OpenStage
from tests.support.mail.scripted_history import ScriptedHistory
from tests.support.mail.stage import Stage
from tests.support.mail.turns import begin_turn


def shown(*, last_record: int | None, latest: int, token: str | None = None) -> HistoryPage:
    """Return a page without changes."""
    return HistoryPage(changes=HistoryDelta(), last_record=last_record, latest=latest, next_page_token=token)


async def state_of(turn: TurnContext) -> SyncProgress:
    """Return the state of the copy."""
    async with turn.reading() as connection:
        return await sync_state.load(connection, turn.mailbox_id)


async def begun_turn(s: Stage, provider: ScriptedHistory, *, attempts: int = 1) -> TurnContext:
    """Return a turn with a mailbox that has a cursor; it is the last of `attempts` attempts."""
    await s.request()
    turn = await begin_turn(s, provider)
    turn.lease = replace(turn.lease, attempts=attempts)
    await history.catch_up(turn, await state_of(turn))
    return turn


class TestCursor:
    @pytest.mark.parametrize(
        ("pages", "reached"),
        [
            ([shown(last_record=20, latest=100)], 100),
            # Changes between the pages are in neither: both show one snapshot.
            ([shown(last_record=20, latest=100, token="1"), shown(last_record=90, latest=140)], 100),
            ([shown(last_record=20, latest=100, token="1"), shown(last_record=None, latest=140)], 100),
            # The page's own records are read, so the cursor may pass them.
            ([shown(last_record=20, latest=100, token="1"), shown(last_record=120, latest=140)], 120),
            ([shown(last_record=None, latest=100, token="1"), shown(last_record=None, latest=140)], 100),
        ],
    )
    async def test_ends_at_the_time_of_the_first_page(
        self, stage: OpenStage, pages: list[HistoryPage], reached: int
    ) -> None:
        async with stage(workers=0) as s:
            turn = await begun_turn(s, ScriptedHistory(*pages))
            await history.catch_up(turn, await state_of(turn))
            assert (await state_of(turn)).cursor == reached

    async def test_ends_at_the_time_of_the_first_page_after_a_restart(self, stage: OpenStage) -> None:
        provider = ScriptedHistory(
            shown(last_record=20, latest=100, token="1"),
            PageTokenExpiredError(),
            shown(last_record=30, latest=130, token="2"),
            shown(last_record=40, latest=170),
        )
        async with stage(workers=0) as s:
            turn = await begun_turn(s, provider)
            await history.catch_up(turn, await state_of(turn))
            assert (await state_of(turn)).cursor == 130
            assert provider.asked == [(10, None), (10, "1"), (20, None), (20, "2")]

    async def test_between_pages_is_the_highest_record_so_far(self, stage: OpenStage) -> None:
        provider = ScriptedHistory(shown(last_record=20, latest=100, token="1"), ProviderUnavailableError())
        async with stage(workers=0) as s:
            turn = await begun_turn(s, provider)
            with pytest.raises(ProviderUnavailableError):
                await history.catch_up(turn, await state_of(turn))
            assert (await state_of(turn)).cursor == 20


class TestMissingRoute:
    @pytest.mark.parametrize("attempts", [1, 2])
    async def test_counts_as_an_outage_at_first(self, stage: OpenStage, attempts: int) -> None:
        async with stage(workers=0) as s:
            turn = await begun_turn(s, ScriptedHistory(RouteMissingError()), attempts=attempts)
            with pytest.raises(RouteMissingError):
                await history.catch_up(turn, await state_of(turn))
            assert (await state_of(turn)).listing is None

    async def test_that_persists_has_everything_compared(self, stage: OpenStage) -> None:
        async with stage(workers=0) as s:
            turn = await begun_turn(s, ScriptedHistory(RouteMissingError()), attempts=3)
            await history.catch_up(turn, await state_of(turn))
            assert (await state_of(turn)).listing is Listing.RELIST
