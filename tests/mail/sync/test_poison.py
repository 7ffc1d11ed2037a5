"""Messages that break the calls that fetch them: the others arrive, and an outage is not taken for such messages."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from starlette.responses import Response

from services.mail.model import FetchItem, Lane, SyncState
from services.mail.providers.base import Get
from services.mail.providers.gmail.http.deadlines import Deadlines
from services.mail.providers.gmail.limits import GMAIL_COSTS
from services.mail.sync import outage
from services.mail.sync.store_fetched import Retries
from tests.mail.conftest import OpenStage
from tests.support.mail.proxied_gmail import ProxiedCall, proxied
from tests.support.mail.servers import Servers
from tests.support.mail.stage import Stage

FEW = Retries(base_seconds=0.01, unavailable=3)
PAGE = "<!DOCTYPE html><title>Error 500 (Server Error)!!1</title>"


@dataclass
class Breaking:
    """A provider that answers no call for certain messages: those for which `breaks` is true of the call's text."""

    breaks: Callable[[str], bool] = lambda text: False  # noqa: ARG005 - the port's
    asked: list[str] = field(default_factory=list)

    async def answer(self, call: ProxiedCall) -> Response | None:
        """See Answer."""
        path = call.request.url.path
        if path.endswith("/batch"):
            text = (await call.request.body()).decode()
        elif "/messages/" in path or "/threads/" in path:
            text = path
        else:
            return None
        self.asked.append(text)
        return Response(PAGE, 500, media_type="text/html") if self.breaks(text) else None


@asynccontextmanager
async def before(servers: Servers, stage: OpenStage, provider: Breaking, **options: Any) -> AsyncIterator[Stage]:
    """Open a stage whose provider is the sandbox behind this one."""
    async with proxied(servers.sandbox, provider.answer) as url, stage(api_url=url, **options) as s:
        yield s


class TestMessageThatBreaksItsCalls:
    @pytest.mark.parametrize("batch", [True, False])
    async def test_keeps_no_other_from_being_stored(self, servers: Servers, stage: OpenStage, *, batch: bool) -> None:
        provider = Breaking()
        async with before(servers, stage, provider, messages=25, batch=batch) as s:
            # Alone in its thread: the get of a thread names only the first message.
            poison = await s.at_provider.deliver()
            provider.breaks = lambda text: poison in text
            report = await s.sync(count=None)
            assert report.sync.state is SyncState.COMPLETED
            assert [letter.external_id for letter in report.dead_letters] == [poison]
            assert (await s.at_provider.truth()).keys() - (await s.stored()).keys() == {poison}

    async def test_keeps_no_other_from_being_stored_that_was_not_asked_for(
        self, servers: Servers, stage: OpenStage
    ) -> None:
        """As many as are fetched at the same time get no answer, so that the others are not asked for meanwhile."""
        silent: set[str] = set()

        async def answer(call: ProxiedCall) -> Response | None:
            if call.request.url.path.rpartition("/")[2] not in silent:
                return None
            await asyncio.sleep(60)
            return Response(PAGE, 500)

        async with (
            proxied(servers.sandbox, answer) as url,
            stage(api_url=url, messages=2, batch=False, retries=FEW, deadlines=Deadlines(get=0.5)) as s,
        ):
            await s.sync(count=None)
            ids = [await s.at_provider.deliver() for _ in range(8)]
            # The newest are fetched first.
            silent |= {*ids[4:]}
            await s.hint()
            await s.until_idle()
            dead = await s.pool.fetch("SELECT external_id FROM dead_letters")
            assert {row["external_id"] for row in dead} == silent
            assert {*ids[:4]} <= (await s.stored()).keys()

    async def test_keeps_no_other_of_its_thread_from_being_stored(self, servers: Servers, stage: OpenStage) -> None:
        provider = Breaking()
        async with before(servers, stage, provider, messages=3, batch=False) as s:
            # Of these one can be fetched, so that the provider is not to blame.
            known = (await s.sync(count=None)).sync.stored_count
            first = await s.at_provider.deliver()
            ids = [first, *[await s.at_provider.deliver(thread_id=first) for _ in range(4)]]
            # The thread's id is that of its first message.
            provider.breaks = lambda text: text.endswith((ids[2], f"threads/{first}"))
            await s.hint()
            await s.until_idle()
            assert await s.fetchval("SELECT array_agg(external_id) FROM dead_letters") == [ids[2]]
            assert len(await s.stored()) == known + len(ids) - 1
            assert [text for text in provider.asked if "/threads/" in text]


class TestOutageOfMessagesOnly:
    """Labels, listings and history can be had."""

    @pytest.mark.parametrize("batch", [True, False])
    async def test_makes_no_dead_letter(self, servers: Servers, stage: OpenStage, *, batch: bool) -> None:
        provider = Breaking()
        async with before(servers, stage, provider, messages=10, batch=batch, retries=FEW) as s:
            await s.sync(count=None)
            provider.breaks = lambda text: "/messages/" in text or "/threads/" in text
            await s.at_provider.deliver_many(3)
            await s.hint()
            await s.until_turn_failed(times=6)
            assert await s.fetchval("SELECT count(*) FROM dead_letters") == 0
            provider.breaks = lambda text: False  # noqa: ARG005 - the port's
            await s.mirrors(exactly_paid=False)

    async def test_makes_no_dead_letter_of_the_first_messages(self, servers: Servers, stage: OpenStage) -> None:
        provider = Breaking(breaks=lambda text: "/messages/" in text or "/threads/" in text)
        async with before(servers, stage, provider, messages=10, retries=FEW) as s:
            report = await s.request(count=None)
            await s.until_turn_failed(times=6)
            assert await s.fetchval("SELECT count(*) FROM dead_letters") == 0
            provider.breaks = lambda text: False  # noqa: ARG005 - the port's
            assert (await s.ended(report)).dead_letter_count == 0
            await s.mirrors(exactly_paid=False)

    async def test_is_not_told_by_a_stored_message_that_breaks_its_call(
        self, servers: Servers, stage: OpenStage
    ) -> None:
        provider = Breaking()
        async with before(servers, stage, provider, messages=10, retries=FEW) as s:
            await s.sync(count=None)
            stored = await s.pool.fetch("SELECT external_id FROM messages ORDER BY message_id DESC LIMIT 2")
            broken = {row["external_id"] for row in stored} | {await s.at_provider.deliver()}
            provider.breaks = lambda text: any(id_ in text for id_ in broken)
            await s.hint()
            await s.until_idle()
            assert await s.fetchval("SELECT count(*) FROM dead_letters") == 1


class TestCalls:
    async def test_of_a_first_attempt_reserve_no_get_that_tells_an_outage(self) -> None:
        item = FetchItem(external_id="m", thread_id=None, siblings=(), lane=Lane.LIVE)
        get, costs, retries = Get(external_ids=("m",), thread_id=None, units=20), GMAIL_COSTS["2026-05"], Retries()
        assert outage.units(costs, [item], [get], retries) == costs.list_labels
        last = replace(item, attempts=retries.refused - 1)
        assert outage.units(costs, [last], [get], retries) == costs.list_labels + costs.fetch
        other = replace(last, external_id="n")
        assert outage.units(costs, [other], [get], retries) == costs.list_labels
