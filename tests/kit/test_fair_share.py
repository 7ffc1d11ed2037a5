"""Slots that users share."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from services.kit.errors import AppError, Kind
from services.kit.fair_share import FairShare


class Work:
    """Work of users that holds slots until it is told to end, and notes whose began."""

    def __init__(self, share: FairShare) -> None:
        self.share = share
        self.began: list[str] = []
        self.end = asyncio.Semaphore(0)

    async def do(self, user: str) -> None:
        """Hold a slot until the next end."""
        async with self.share.of(user):
            self.began.append(user)
            await self.end.acquire()


@asynccontextmanager
async def waiting(work: Work, users: str) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Start work of these users, in this order."""
    tasks = [asyncio.create_task(work.do(user)) for user in users]
    await settled()
    yield tasks
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


class TestSlots:
    async def test_are_bounded_per_user_and_in_all(self) -> None:
        work = Work(FairShare(3, per_user=2, waiting=9, work="tests"))
        async with waiting(work, "aaaabb"):
            assert work.began == ["a", "a", "b"]

    async def test_go_around_the_users(self) -> None:
        work = Work(FairShare(1, per_user=1, waiting=9, work="tests"))
        async with waiting(work, "aaaabbc"):
            for _ in range(6):
                work.end.release()
                await settled()
            assert work.began == ["a", "a", "b", "c", "a", "b", "a"]

    async def test_of_a_user_with_many_requests_delay_no_other_user(self) -> None:
        work = Work(FairShare(2, per_user=1, waiting=100, work="tests"))
        async with waiting(work, "a" * 100 + "b"):
            assert work.began == ["a", "b"]

    async def test_refuse_beyond_the_queue(self) -> None:
        work = Work(FairShare(1, per_user=1, waiting=2, work="tests"))
        async with waiting(work, "aaa"):
            with pytest.raises(AppError) as refused:
                await work.do("a")
            assert (refused.value.kind, refused.value.reason) == (Kind.RATE_LIMITED, "too_many_requests")
            assert refused.value.metadata == {"retry_after": "1"}

    async def test_are_bounded_per_group_and_go_to_others_that_wait_behind_it(self) -> None:
        share = FairShare(3, per_user=1, per_group=2, waiting=9, work="tests")
        ends, began = {name: asyncio.Event() for name in "abcd"}, list[str]()

        async def do(user: str, group: str) -> None:
            async with share.of(user, group=group):
                began.append(user)
                await ends[user].wait()

        tasks = [
            asyncio.create_task(do(user, group)) for user, group in (("a", "g"), ("b", "g"), ("c", "g"), ("d", ""))
        ]
        await settled()
        assert began == ["a", "b", "d"]
        ends["d"].set()
        await settled()
        assert began == ["a", "b", "d"]
        ends["a"].set()
        await settled()
        assert began == ["a", "b", "d", "c"]
        for end in ends.values():
            end.set()
        await asyncio.gather(*tasks)

    async def test_of_requests_that_are_given_up_go_to_others(self) -> None:
        work = Work(FairShare(1, per_user=1, waiting=9, work="tests"))
        async with waiting(work, "abcd") as tasks:
            tasks[1].cancel()
            # Granted and cancelled at once.
            work.end.release()
            tasks[2].cancel()
            await settled()
            assert work.began == ["a", "d"]

    async def test_are_all_free_in_the_end(self) -> None:
        share = FairShare(2, per_user=2, waiting=9, work="tests")
        work = Work(share)
        async with waiting(work, "aabbcc"):
            pass
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(share.of("x"))
            await stack.enter_async_context(share.of("x"))
        assert (share._free, share._held, share._queues) == (2, {}, {})
