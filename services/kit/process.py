"""The life of a process from its start to SIGTERM."""

import asyncio
import contextlib
import faulthandler
import signal
from collections.abc import AsyncIterator, Awaitable, Callable

import uvloop

Main = Callable[[asyncio.Event], Awaitable[None]]


def run(main: Main, *, hang_seconds: float = 0) -> None:
    """Run `main` on uvloop. SIGTERM and SIGINT set its event, upon which it drains and returns.

    If the event loop stands still for `hang_seconds`, the process writes what its threads do to stderr and exits with
    status 1, for its supervisor to start another one; 0: never.
    """
    uvloop.run(_main(main, hang_seconds))


async def _main(main: Main, hang_seconds: float) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with _watched(hang_seconds):
        await main(stop)


@contextlib.asynccontextmanager
async def _watched(seconds: float) -> AsyncIterator[None]:
    if seconds == 0:
        yield
        return

    def begin_anew() -> None:
        # Its thread needs no GIL: it fires also where one is held for ever.
        faulthandler.dump_traceback_later(seconds, exit=True)

    async def show_life() -> None:
        while True:
            await asyncio.sleep(seconds / 10)
            begin_anew()

    begin_anew()
    task = asyncio.create_task(show_life())
    try:
        yield
    finally:
        task.cancel()
        faulthandler.cancel_dump_traceback_later()
