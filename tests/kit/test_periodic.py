"""Periodic tasks: how often they run, and the log of a failed run."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from structlog.testing import capture_logs

from services.kit.periodic import JITTER, PeriodicTask, repeated


class Pauses:
    """A sleep that takes no time; after `allowed` pauses it blocks."""

    def __init__(self, allowed: int) -> None:
        self._allowed = allowed
        self.seconds: list[float] = []
        self._done = asyncio.Event()

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        if len(self.seconds) >= self._allowed:
            self._done.set()
            await asyncio.Event().wait()

    async def done(self) -> None:
        async with asyncio.timeout(30):
            await self._done.wait()


def counted(runs: list[str], name: str) -> Callable[[], Awaitable[object]]:
    async def run() -> None:
        runs.append(name)

    return run


def failing(error: Exception) -> PeriodicTask:
    async def run() -> None:
        raise error

    return PeriodicTask("forget events", 10.0, run)


class TestRepeated:
    async def test_runs_a_task_at_once_and_after_every_pause(self) -> None:
        runs: list[str] = []
        pauses = Pauses(3)
        async with repeated([PeriodicTask("a", 10.0, counted(runs, "a"))], sleep=pauses, draw=lambda: 0.5):
            await pauses.done()
        assert runs == ["a"] * 3
        assert pauses.seconds == [10.0] * 3

    @pytest.mark.parametrize(("drawn", "factor"), [(0.0, 1 - JITTER), (1.0, 1 + JITTER)])
    async def test_varies_the_pause_by_a_tenth(self, drawn: float, factor: float) -> None:
        pauses = Pauses(1)
        async with repeated([PeriodicTask("a", 10.0, counted([], "a"))], sleep=pauses, draw=lambda: drawn):
            await pauses.done()
        assert pauses.seconds == [pytest.approx(10.0 * factor)]

    async def test_keeps_a_slow_task_from_no_other(self) -> None:
        runs: list[str] = []

        async def hang() -> None:
            await asyncio.Event().wait()

        pauses = Pauses(2)
        tasks = [PeriodicTask("slow", 1.0, hang), PeriodicTask("b", 1.0, counted(runs, "b"))]
        async with repeated(tasks, sleep=pauses):
            await pauses.done()
        assert runs == ["b", "b"]

    async def test_ends_its_tasks_with_the_block_and_passes_its_error_on(self) -> None:
        ended = asyncio.Event()
        started = asyncio.Event()

        async def hang() -> None:
            started.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        async def work() -> None:
            async with repeated([PeriodicTask("a", 1.0, hang)]):
                await started.wait()
                raise KeyError("of the block")

        with pytest.raises(KeyError, match="of the block"):
            await work()
        assert ended.is_set()


class TestFailedRun:
    async def test_is_logged_with_its_traceback_and_repeated(self) -> None:
        pauses = Pauses(2)
        with capture_logs() as logs:
            async with repeated([failing(ValueError("unexpected"))], sleep=pauses):
                await pauses.done()
        assert [(entry["log_level"], entry["task"], entry["exc_info"]) for entry in logs] == [
            ("error", "forget events", True)
        ] * 2

    async def test_that_is_expected_is_logged_with_its_reason_alone(self) -> None:
        def explain(error: Exception) -> str | None:
            return "the store is down" if isinstance(error, OSError) else None

        pauses = Pauses(1)
        with capture_logs() as logs:
            async with repeated([failing(ConnectionError("secret"))], sleep=pauses, explain=explain):
                await pauses.done()
        [entry] = logs
        assert (entry["log_level"], entry["task"], entry["reason"]) == ("warning", "forget events", "the store is down")
        assert "exc_info" not in entry
        assert "secret" not in str(entry)
