"""A pool of connections to a database that is away."""

from contextlib import AbstractAsyncContextManager
from typing import Any, cast

from services.mail.store.connection import Pool


class LostPool:
    """Gives no connection."""

    def acquire(self) -> AbstractAsyncContextManager[Any]:
        """Raise what a refused connection raises."""
        raise ConnectionRefusedError


LOST = cast("Pool", LostPool())
