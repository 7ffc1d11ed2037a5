"""Reading history: how far the cursor goes, and what a provider without history or without a list of labels costs."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from services.mail.model import HistoryDelta, Label, Listing, SyncProgress
from services.mail.providers.base import (
    HistoryPage,
    PageTokenExpiredError,
    Profile,
    ProviderError,
    ProviderUnavailableError,
    RouteMissingError,
)
from services.mail.providers.gmail.adapter import GmailProvider
from services.mail.providers.gmail.limits import GMAIL_COSTS
from services.mail.store import labels
from services.mail.store.sync import sync_state
from services.mail.sync import history
from services.mail.sync.turn_context import TurnContext
from tests.mail.conftest import OpenStage
from tests.support.mail.stage import Stage
from tests.support.mail.turns import begin_turn

LATER = Label(label_id="Label_1", name="Later", type="user")


class ScriptedProvider(GmailProvider):
    """A provider whose mailbox begins at 10, and whose pages of history are these, in their order."""

    def __init__(self, *pages: HistoryPage | ProviderError, labels: Sequence[Label] | None = (LATER,)) -> None:
        self.costs = GMAIL_COSTS["2026-05"]
        self.can_push = False
        self.asked: list[tuple[int, str | None]] = []
        self.labels = labels
        self._pages = iter(pages)

    async def profile(self, access_token: str) -> Profile:
        """The beginning."""
        del access_token
        return Profile(cursor=10)

    async def list_labels(self, access_token: str) -> list[Label] | None:
        """The labels, if there is a list of them."""
        del access_token
        return None if self.labels is None else list(self.labels)

    async def list_changes(self, access_token: str, *, cursor: int, page_token: str | None) -> HistoryPage:
        """The next page."""
        del access_token
        self.asked.append((cursor, page_token))
        page = next(self._pages)
        if isinstance(page, ProviderError):
            raise page
        return page


def page(*, last_record: int | None, latest: int, token: str | None = None) -> HistoryPage:
    """A page without changes."""
    return HistoryPage(changes=HistoryDelta(), last_record=last_record, latest=latest, next_page_token=token)


async def state_of(turn: TurnContext) -> SyncProgress:
    """How far the copy is."""
    async with turn.reading() as connection:
        return await sync_state.load(connection, turn.mailbox_id)


async def begun_turn(s: Stage, provider: ScriptedProvider, *, attempts: int = 1) -> TurnContext:
    """A turn with a mailbox that has a cursor; with those before it that failed it is one of so many attempts."""
    await s.request()
    turn = await begin_turn(s, provider)
    turn.lease = replace(turn.lease, attempts=attempts)
    await history.catch_up(turn, await state_of(turn))
    return turn


class TestCursor:
    @pytest.mark.parametrize(
        ("pages", "reached"),
        [
            ([page(last_record=20, latest=100)], 100),
            # What came between the pages is in neither: they are of one snapshot.
            ([page(last_record=20, latest=100, token="1"), page(last_record=90, latest=140)], 100),
            ([page(last_record=20, latest=100, token="1"), page(last_record=None, latest=140)], 100),
            # Its own records are read, so the cursor may pass them.
            ([page(last_record=20, latest=100, token="1"), page(last_record=120, latest=140)], 120),
            ([page(last_record=None, latest=100, token="1"), page(last_record=None, latest=140)], 100),
        ],
    )
    async def test_ends_where_the_first_page_was_made(
        self, stage: OpenStage, pages: list[HistoryPage], reached: int
    ) -> None:
        async with stage(workers=0) as s:
            turn = await begun_turn(s, ScriptedProvider(*pages))
            await history.catch_up(turn, await state_of(turn))
            assert (await state_of(turn)).cursor == reached

    async def test_ends_where_the_first_page_of_another_beginning_was_made(self, stage: OpenStage) -> None:
        provider = ScriptedProvider(
            page(last_record=20, latest=100, token="1"),
            PageTokenExpiredError(),
            page(last_record=30, latest=130, token="2"),
            page(last_record=40, latest=170),
        )
        async with stage(workers=0) as s:
            turn = await begun_turn(s, provider)
            await history.catch_up(turn, await state_of(turn))
            assert (await state_of(turn)).cursor == 130
            assert provider.asked == [(10, None), (10, "1"), (20, None), (20, "2")]

    async def test_in_between_is_the_highest_record_so_far(self, stage: OpenStage) -> None:
        provider = ScriptedProvider(page(last_record=20, latest=100, token="1"), ProviderUnavailableError())
        async with stage(workers=0) as s:
            turn = await begun_turn(s, provider)
            with pytest.raises(ProviderUnavailableError):
                await history.catch_up(turn, await state_of(turn))
            assert (await state_of(turn)).cursor == 20


class TestMissingRoute:
    @pytest.mark.parametrize("attempts", [1, 2])
    async def test_is_an_outage_at_first(self, stage: OpenStage, attempts: int) -> None:
        async with stage(workers=0) as s:
            turn = await begun_turn(s, ScriptedProvider(RouteMissingError()), attempts=attempts)
            with pytest.raises(RouteMissingError):
                await history.catch_up(turn, await state_of(turn))
            assert (await state_of(turn)).listing is None

    async def test_that_stays_has_everything_compared(self, stage: OpenStage) -> None:
        async with stage(workers=0) as s:
            turn = await begun_turn(s, ScriptedProvider(RouteMissingError()), attempts=3)
            await history.catch_up(turn, await state_of(turn))
            assert (await state_of(turn)).listing is Listing.RELIST


class TestLabels:
    async def known(self, turn: TurnContext) -> set[str]:
        """The labels that are stored."""
        async with turn.reading() as connection:
            return {label.label_id for label in await labels.of_mailbox(connection, turn.mailbox_id)}

    async def test_that_are_not_listed_any_more_stay(self, stage: OpenStage) -> None:
        async with stage(workers=0) as s:
            provider = ScriptedProvider()
            turn = await begun_turn(s, provider)
            provider.labels = None
            await history.refresh_labels(turn)
            assert await self.known(turn) == {"Label_1"}

    async def test_that_are_never_listed_are_those_of_every_mailbox(self, stage: OpenStage) -> None:
        async with stage(workers=0) as s:
            turn = await begun_turn(s, ScriptedProvider(labels=None))
            assert await self.known(turn) == {label.label_id for label in ScriptedProvider.built_in_labels}
