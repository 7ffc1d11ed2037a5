"""The life of a process from its start to SIGTERM."""

import asyncio
import signal
from collections.abc import Awaitable, Callable

import uvloop

Main = Callable[[asyncio.Event], Awaitable[None]]


def run(main: Main) -> None:
    """Run `main` on uvloop. SIGTERM and SIGINT set its event, upon which it drains and returns."""
    uvloop.run(_main(main))


async def _main(main: Main) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await main(stop)
