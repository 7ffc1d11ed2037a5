"""Pages that lead in a circle or never end: told in log, metric and sync, and asked for less and less often."""

import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import structlog
from starlette.responses import Response

from services.mail.model import HistoryDelta, PageTrail, WaitReason
from services.mail.page_trail import EndlessPagesError, follow
from services.mail.providers.base import HistoryPage
from services.mail.sync import history
from tests.mail.conftest import OpenStage
from tests.mail.sync.test_history_cursor import begun_turn, shown, state_of
from tests.support.mail.proxied_gmail import ProxiedCall, as_json, proxied
from tests.support.mail.scripted_history import ScriptedHistory
from tests.support.mail.servers import Servers
from tests.support.mail.stage import Stage

MESSAGES = 5
FAILURES = 2
# Lengths of circles; None: each page names another one, which more than a hundred pages tell.
LENGTHS = [1, 2, 7, pytest.param(None, marks=pytest.mark.long)]
# Pages after which a walk without a circle counts as endless. A listing shows one message on each: the first power of
# two that exceeds twice the mailbox's total and 200.
LONGEST = {"listing": 256, "label": 256, "history": 100}
# Turns begin a listing of a label after that of all messages, which goes on as usual.
LISTINGS = {"listing": ("/messages", ""), "label": ("/messages", "INBOX"), "history": ("/history", "")}


class EndlessPages:
    """A provider each of whose pages is the first one, and names a next page while `is_on`."""

    def __init__(self, listing: str, length: int | None) -> None:
        self._path, self._label = LISTINGS[listing]
        self._length = length
        self.is_on = False
        self.pages = 0

    async def answer(self, call: ProxiedCall) -> Response | None:
        """Answer a call, or leave it to the sandbox."""
        query = call.request.query_params
        if not (self.is_on and call.request.url.path.endswith(self._path) and query.get("labelIds", "") == self._label):
            return None
        self.pages += 1
        number = int(query.get("pageToken") or 0) + 1
        following = number if self._length is None else (number - 1) % self._length + 1
        body = (await call.forward(pageToken="")).json() | {"nextPageToken": str(following)}
        if "messages" in body:
            # How many messages are in INBOX differs from mailbox to mailbox.
            body["messages"] = body["messages"][:1]
        return as_json(body)


@asynccontextmanager
async def begun(servers: Servers, stage: OpenStage, pages: EndlessPages, listing: str) -> AsyncIterator[Stage]:
    """Open a stage in which what is endless is being read."""
    async with proxied(servers.sandbox, pages.answer) as url, stage(api_url=url, messages=MESSAGES) as s:
        if listing == "listing":
            pages.is_on = True
            await s.request(count=None)
        else:
            await s.sync(count=None)
            pages.is_on = True
            if listing == "label":
                await s.at_provider.lose_history()
            await s.hint()
        yield s


class TestEndlessPages:
    @pytest.mark.parametrize("length", LENGTHS)
    @pytest.mark.parametrize("listing", LISTINGS)
    async def test_are_told_and_end_with_the_fault(
        self, servers: Servers, stage: OpenStage, listing: str, length: int | None
    ) -> None:
        pages = EndlessPages(listing, length)
        with structlog.testing.capture_logs() as logs:
            async with begun(servers, stage, pages, listing) as s:
                # The longest walks read hundreds of pages.
                await s.until_turn_failed(times=FAILURES, within=90)
                failures = [entry for entry in logs if entry["event"] == "turn failed"]
                # Those of a circle, or those after which a walk counts as endless; turns of a listing ask for the last
                # page again.
                shortest = LONGEST[listing] if length is None else length + 1
                turns = len(failures) + 1
                assert pages.pages <= (shortest * turns if listing == "history" else shortest + turns)
                assert {entry["reason"] for entry in failures} == {"endless_pages"}
                assert s.workers[0].count("sync_turns_total", outcome="endless_pages") >= FAILURES
                told = await s.fetchval("SELECT (last_error, waiting_for) FROM mailbox_schedule")
                assert told == ("endless_pages", WaitReason.PROVIDER.value)
                pages.is_on = False
                await s.hint()
                # The pause after the last failure has been growing.
                await s.mirrors(within=60)


class TestTrail:
    @pytest.mark.parametrize("before", [0, 1, 5, 40])
    @pytest.mark.parametrize("length", [1, 2, 3, 7, 16, 17, 100, 1000])
    def test_tells_a_circle_of_any_length_in_bounded_memory(self, before: int, length: int) -> None:
        trail = PageTrail()
        walk = itertools.chain(range(before), itertools.cycle(range(before, before + length)))
        with pytest.raises(EndlessPagesError):  # noqa: PT012 - the walk ends with it
            for number in itertools.islice(walk, 10_000):
                trail = follow(trail, str(number))
                assert len(trail.digests) <= 17
        shown_once = before + length
        # A short circle is noticed where it closes.
        assert trail.pages == shown_once if length <= 16 else trail.pages <= 3 * shown_once

    def test_of_a_million_different_pages_is_no_circle(self) -> None:
        trail = PageTrail()
        for number in range(50_000):
            trail = follow(trail, str(number))


class TestHistory:
    async def test_with_some_empty_pages_is_read_to_its_end(self, stage: OpenStage) -> None:
        empty = [shown(last_record=None, latest=100, token=str(number)) for number in range(99)]
        provider = ScriptedHistory(*empty, shown(last_record=20, latest=100))
        async with stage(workers=0) as s:
            turn = await begun_turn(s, provider)
            # The time is up, but another turn would read the same pages again.
            assert await history.catch_up(turn, await state_of(turn), deadline=time.monotonic())
            assert (await state_of(turn)).cursor == 100

    @pytest.mark.parametrize(
        "page",
        [
            shown(last_record=20, latest=100, token="1"),
            HistoryPage(changes=HistoryDelta(), last_record=None, latest=100, next_page_token="1", is_resumed=True),
        ],
    )
    async def test_that_came_forward_is_put_down_when_the_time_is_up(self, stage: OpenStage, page: HistoryPage) -> None:
        async with stage(workers=0) as s:
            turn = await begun_turn(s, ScriptedHistory(page))
            assert not await history.catch_up(turn, await state_of(turn), deadline=time.monotonic())
