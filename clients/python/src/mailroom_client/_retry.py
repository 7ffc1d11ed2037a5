"""When a call is repeated, and after how long."""

import random
from collections.abc import Callable
from dataclasses import dataclass

import httpx

from mailroom_client._request import Request
from mailroom_client.errors import retry_after_of

_PASSING = frozenset({429, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Retries:
    """How often a call is repeated: what is safe to repeat, and what was refused before it did anything.

    The first pause is `first` seconds, each next one twice as long, up to `longest`, half of it at random. A
    server that asks for a longer pause than `longest` (Retry-After) gets no repeat: the error says how long to wait.
    """

    attempts: int = 4
    first: float = 0.5
    longest: float = 30.0
    chance: Callable[[], float] = random.random

    def pause_after_response(self, request: Request, response: httpx.Response, *, attempt: int) -> float | None:
        """Return the seconds until the next attempt, None for no repeat. The first attempt is 1."""
        status = response.status_code
        refused = status == 429  # it did nothing
        if attempt >= self.attempts or status not in _PASSING or not (refused or request.repeatable):
            return None
        asked = retry_after_of(response) or 0.0
        return None if asked > self.longest else max(asked, self.pause(attempt))

    def pause_after_failure(self, request: Request, failure: httpx.RequestError, *, attempt: int) -> float | None:
        """Return the seconds until the next attempt after no whole answer came, None for no repeat."""
        hopeless = isinstance(failure, httpx.UnsupportedProtocol | httpx.LocalProtocolError)
        not_sent = isinstance(failure, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
        if hopeless or attempt >= self.attempts or not (not_sent or request.repeatable):
            return None
        return self.pause(attempt)

    def pause(self, attempt: int) -> float:
        """Return the pause after an attempt, in seconds."""
        whole = min(self.first * 2.0 ** (attempt - 1), self.longest)
        return whole * (0.5 + self.chance() / 2)


NO_RETRIES = Retries(attempts=1)
