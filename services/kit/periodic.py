"""What auth does without being asked. Any number of processes may do it at the same time."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog
from sqlalchemy.exc import DBAPIError

from services.kit.errors import AppError

log = structlog.get_logger()


@dataclass(frozen=True)
class Chore:
    """Something to be done every so many seconds, harmless when repeated."""

    name: str
    every: float
    do: Callable[[], Awaitable[object]]


async def keep_house(chores: list[Chore]) -> None:
    """Does the chores until it is cancelled; one that fails is tried again the next time."""
    async with asyncio.TaskGroup() as group:
        for chore in chores:
            group.create_task(_repeat(chore))


async def _repeat(chore: Chore) -> None:
    while True:
        try:
            await chore.do()
        except AppError as error:
            log.warning("a chore has to wait", chore=chore.name, reason=error.reason)
        except DBAPIError as error:
            log.error("a chore failed: is the database migrated?", chore=chore.name, reason=str(error.orig))
        except Exception:
            log.exception("a chore failed", chore=chore.name)
        await asyncio.sleep(chore.every)
