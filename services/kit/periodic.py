"""What auth does without being asked. Any number of processes may do it at the same time."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog
from sqlalchemy.exc import DBAPIError

from services.kit.errors import AppError

log = structlog.get_logger()


@dataclass(frozen=True)
class PeriodicTask:
    """Something to be done every so many seconds, harmless when repeated."""

    name: str
    every: float
    do: Callable[[], Awaitable[object]]


async def run_periodically(tasks: list[PeriodicTask]) -> None:
    """Does the tasks until it is cancelled; one that fails is tried again the next time."""
    async with asyncio.TaskGroup() as group:
        for task in tasks:
            group.create_task(_repeat(task))


async def _repeat(task: PeriodicTask) -> None:
    while True:
        try:
            await task.do()
        except AppError as error:
            log.warning("a task has to wait", task=task.name, reason=error.reason)
        except DBAPIError as error:
            log.error("a task failed: is the database migrated?", task=task.name, reason=str(error.orig))
        except Exception:
            log.exception("a task failed", task=task.name)
        await asyncio.sleep(task.every)
