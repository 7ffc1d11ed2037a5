"""Notifications of changes from providers. They make mailboxes due."""

import math
import time
from collections.abc import Callable, Mapping

import structlog

from services.kit.errors import AppError, Kind
from services.mail.providers.notifications import HookAnswer, HookRequest, Notification, NotificationSource
from services.mail.store.connection import Pool
from services.mail.store.control import mailbox_addresses, schedule

# How many mailboxes compare their address after a notification with an unknown one, and how often at most.
_SUSPECTS = 20
_SEARCH_SECONDS = 10.0

log = structlog.get_logger()


class Notifications:
    """Turns notifications into hints. Requests of a provider without a source are refused.

    `unnamed` is the provider of requests that name none.
    """

    def __init__(
        self,
        pool: Pool,
        *,
        sources: Mapping[str, NotificationSource],
        unnamed: str = "",
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pool = pool
        self._sources = sources
        self._unnamed = unnamed
        self._monotonic = monotonic
        self._next_search = -math.inf

    async def accept(self, provider: str, request: HookRequest) -> HookAnswer:
        """Make the mailboxes due that a request names; return the response to it. The hints are durable then.

        Raises AppError as NotificationSource.receive does.
        """
        provider = provider or self._unnamed
        source = self._sources.get(provider)
        if source is None:
            log.warning("notification refused", reason="no sender is configured")
            raise AppError(Kind.UNAUTHENTICATED, "invalid_token", "No notifications of this provider are accepted.")
        answer = await source.receive(request)
        for notification in answer.notifications:
            await self._hint(provider, notification)
        return answer

    async def _hint(self, provider: str, notification: Notification) -> None:
        async with self._pool.acquire() as connection, connection.transaction():
            hinted = await schedule.hint(
                connection,
                provider=provider,
                email=notification.email,
                cursor=notification.cursor,
                echo_seconds=notification.echo,
            )
        log.debug("notified", hinted=hinted)
        if not hinted:
            await self._look_for_renamed(provider, notification.email)

    async def _look_for_renamed(self, provider: str, email: str) -> None:
        """Let likely mailboxes compare their address with the provider's, where none has the one that was named.

        Notifications for another installation name unknown addresses, too, so that searches are few.
        """
        if self._monotonic() < self._next_search:
            return
        async with self._pool.acquire() as connection, connection.transaction():
            suspects = await mailbox_addresses.suspect_rename(
                connection, provider=provider, email=email, limit=_SUSPECTS
            )
        if suspects:
            self._next_search = self._monotonic() + _SEARCH_SECONDS
            log.info("a notification names an unknown address", suspects=suspects)
