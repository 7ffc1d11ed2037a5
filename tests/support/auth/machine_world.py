"""Synchronous access of state machines to the service."""

import asyncio
import threading
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from deploy.local.valkey import RedisAddress
from services.auth.store.transaction import Store
from services.kit.errors import AppError


class Loop:
    """An event loop in a thread, since state machines are no coroutines."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def run[T](self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    def reason(self, work: Coroutine[Any, Any, object]) -> str | None:
        """Run a coroutine; return the reason of its AppError, None if it raises none."""
        try:
            self.run(work)
        except AppError as error:
            return error.reason
        return None

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@dataclass
class World:
    """The stores and clock of a machine."""

    loop: Loop
    store: Store
    redis: RedisAddress
