"""Large answers are parsed off the event loop, small ones on it."""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from services.mail.content.limits import LARGE_BYTES
from services.mail.model import ProviderMessage
from services.mail.providers.base import FetchResult, Get
from services.mail.providers.gmail.adapter import GmailProvider
from services.mail.providers.gmail.limits import GMAIL_COSTS
from tests.mail.conftest import OpenStage
from tests.support.mail.stage import Stage


class CountingThreads(ThreadPoolExecutor):
    """A thread pool that counts its tasks."""

    def __init__(self) -> None:
        super().__init__(max_workers=2)
        self.given = 0

    def submit[T](self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Count and run a task."""
        self.given += 1
        return super().submit(fn, *args, **kwargs)


async def given_to_threads(s: Stage, text: str, *, batch: bool) -> int:
    """Fetch a message with this text; return the number of tasks given to threads."""
    external_id = await s.at_provider.deliver_large(text)
    token, _ = await s.auth.access_token(s.account.account_id, s.user_id)
    costs = GMAIL_COSTS["2026-05"]
    get = Get(external_ids=(external_id,), thread_id=None, units=costs.fetch)
    url = s.servers.sandbox.url
    threads = CountingThreads()

    async def fetch() -> Mapping[str, FetchResult]:
        async with httpx.AsyncClient(trust_env=False) as http:
            asyncio.get_running_loop().set_default_executor(threads)
            provider = GmailProvider(http, api_url=url, batch_url=f"{url}/batch" if batch else None, costs=costs)
            return await provider.fetch(token, [get])

    # A loop of its own: nothing else uses its threads.
    message = (await asyncio.to_thread(asyncio.run, fetch()))[external_id]
    assert isinstance(message, ProviderMessage)
    assert message.size > len(text)
    return threads.given


@pytest.mark.parametrize("batch", [True, False], ids=["in a batch", "by itself"])
class TestMessage:
    async def test_above_the_threshold_is_parsed_off_the_event_loop(self, stage: OpenStage, batch: bool) -> None:
        async with stage(workers=0) as s:
            assert await given_to_threads(s, "words\n" * (LARGE_BYTES // 6), batch=batch) == 1

    async def test_below_the_threshold_is_parsed_on_the_event_loop(self, stage: OpenStage, batch: bool) -> None:
        async with stage(workers=0) as s:
            assert await given_to_threads(s, "words\n" * 1000, batch=batch) == 0
