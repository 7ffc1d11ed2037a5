"""Tasks that a process repeats in the background. Any number of processes may repeat the same ones."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

log = structlog.get_logger()

# The part of an interval by which pauses vary, so that processes that start together do not stay in step.
JITTER = 0.1


@dataclass(frozen=True, slots=True)
class PeriodicTask:
    """A task that is harmless to repeat; `interval` is the mean pause between its runs in seconds."""

    name: str
    interval: float
    run: Callable[[], Awaitable[object]]


type Explain = Callable[[Exception], str | None]


def _unexplained(_: Exception) -> str | None:
    return None


@asynccontextmanager
async def repeated(
    tasks: Sequence[PeriodicTask],
    *,
    explain: Explain = _unexplained,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    draw: Callable[[], float] = random.random,
) -> AsyncIterator[None]:
    """Repeat the tasks concurrently while the block lasts, the first time at once. A failed run is logged.

    `explain` tells the reason of an expected failure, which is logged without a traceback; None for any other failure.
    `draw` gives random numbers from 0 to 1.
    """

    async def repeat(task: PeriodicTask) -> None:
        while True:
            await _run(task, explain)
            await sleep(task.interval * (1 + JITTER * (2 * draw() - 1)))

    running = [asyncio.create_task(repeat(task), name=task.name) for task in tasks]
    try:
        yield
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _run(task: PeriodicTask, explain: Explain) -> None:
    try:
        await task.run()
    except Exception as error:
        reason = explain(error)
        if reason is None:
            log.exception("periodic task failed", task=task.name)
        else:
            log.warning("periodic task failed", task=task.name, reason=reason)
