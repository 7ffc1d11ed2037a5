"""Keys and sessions that ended while tokens of theirs are valid: auth is asked about them every second.

A gateway that hears nothing for longer than NEWS_SECONDS accepts no key: it may have been revoked.
"""

import asyncio
import time
from collections.abc import Callable

import structlog
from google.protobuf.timestamp_pb2 import Timestamp
from mailroom.auth.v1.auth_pb2 import ListRevocationsRequest
from mailroom.auth.v1.auth_pb2_grpc import ApiKeyServiceStub

from services.gateway.caller import Caller
from services.kit.errors import AppError, Kind, service_unavailable
from services.kit.periodic import PeriodicTask
from services.kit.rpc.client import call

# Seconds. Together with the time that a call may take, a revocation is heard of within five seconds.
INTERVAL = 1.0
_TIMEOUT = 2.0
NEWS_SECONDS = 5.0
# Longer than an access token lives.
_KEPT_SECONDS = 1800.0

log = structlog.get_logger()


class Revocations:
    """The keys and sessions that ended a short time ago."""

    def __init__(self, service: ApiKeyServiceStub, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._service = service
        self._monotonic = monotonic
        self._since: Timestamp | None = None
        self._heard_at = float("-inf")
        # When each was heard of, the earliest first.
        self._ended: dict[str, float] = {}
        self._news = asyncio.Event()
        self._is_silent = False

    @property
    def task(self) -> PeriodicTask:
        """The task that asks auth."""
        return PeriodicTask("hear of revocations", INTERVAL, self.refresh)

    async def refresh(self) -> None:
        """Ask auth what has ended; a failure is logged once, and shows in `check`."""
        asked_at = self._monotonic()
        try:
            answer = await call(
                self._service.ListRevocations, ListRevocationsRequest(since_time=self._since), timeout=_TIMEOUT
            )
        except AppError as error:
            if not self._is_silent:
                log.warning("nothing is heard of revocations", reason=error.reason)
            self._is_silent = True
            return
        self._since, self._heard_at, self._is_silent = answer.as_of_time, asked_at, False
        news = {*answer.key_ids, *answer.session_ids} - self._ended.keys()
        if news:
            self._ended |= dict.fromkeys(news, asked_at)
            # Whatever waits for news looks at it, and waits for the next.
            self._news.set()
            self._news = asyncio.Event()
        self._forget(asked_at - _KEPT_SECONDS)

    async def check(self, caller: Caller) -> None:
        """Check that the caller's key or session goes on. Raises AppError invalid_api_key, invalid_token.

        A key that may have been revoked since the last news is service_unavailable, and so is a token exchanged for it.
        """
        if caller.acting_key_id and self._monotonic() - self._heard_at > NEWS_SECONDS:
            # Also a process that has just started asks first.
            await self.refresh()
            if self._monotonic() - self._heard_at > NEWS_SECONDS:
                raise service_unavailable()
        if self._has_ended(caller):
            raise _ended(caller)

    async def until_ended(self, caller: Caller) -> AppError:
        """Wait until the caller's key or session has ended; return the error of its requests."""
        while not self._has_ended(caller):
            await self._news.wait()
        return _ended(caller)

    def _has_ended(self, caller: Caller) -> bool:
        return caller.acting_key_id in self._ended or caller.session_id in self._ended

    def _forget(self, before: float) -> None:
        while self._ended and next(iter(self._ended.values())) < before:
            del self._ended[next(iter(self._ended))]


def _ended(caller: Caller) -> AppError:
    if caller.key_id:
        return AppError(Kind.UNAUTHENTICATED, "invalid_api_key", "The API key was revoked.")
    if caller.actor_key_id:
        return AppError(Kind.UNAUTHENTICATED, "invalid_token", "The API key of the access token was revoked.")
    return AppError(Kind.UNAUTHENTICATED, "invalid_token", "The session of the access token has ended.")
