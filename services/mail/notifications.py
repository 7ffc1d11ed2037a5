"""Notifications of changes from providers. They make mailboxes due."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import structlog

from services.kit.errors import AppError, Kind
from services.kit.jwks import KeysUnavailableError
from services.kit.jwt import InvalidTokenError
from services.mail.store.connection import Pool
from services.mail.store.control import mailboxes, schedule

# How many mailboxes compare their address after a notification with an unknown one, and how often at most.
_SUSPECTS = 20
_SEARCH_SECONDS = 10.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """A change of the mailbox of an address, up to the provider's history record `cursor` if it names one."""

    email: str
    cursor: int | None


class NotificationSource(Protocol):
    """One provider's way of sending notifications."""

    @property
    def provider(self) -> str:
        """The provider's name in records."""
        ...

    async def verify(self, token: str) -> None:
        """Verify that the provider sent the request with this bearer token.

        Raises InvalidTokenError, KeysUnavailableError.
        """
        ...

    def parse(self, body: bytes) -> Notification | None:
        """Return the notification in a request's body; None for any other body."""
        ...


class Notifications:
    """Turns notifications into hints. Without a `source` every token is refused."""

    def __init__(
        self, pool: Pool, *, source: NotificationSource | None, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._pool = pool
        self._source = source
        self._monotonic = monotonic
        self._next_search = -math.inf

    async def accept(self, token: str, body: bytes) -> None:
        """Make the mailbox due that the notification names; the hint is durable on return.

        A body that is no notification is logged and dropped, since a refusal would only repeat the delivery.
        Raises AppError invalid_token, provider_unavailable (no keys to check the token with).
        """
        source = self._source
        if source is None:
            raise _invalid("no sender is configured")
        await self._verify(source, token)
        notification = source.parse(body)
        if notification is None:
            log.warning("notification not understood", size=len(body))
            return
        async with self._pool.acquire() as connection, connection.transaction():
            hinted = await schedule.hint(
                connection, provider=source.provider, email=notification.email, cursor=notification.cursor
            )
        log.debug("notified", hinted=hinted)
        if not hinted:
            await self._look_for_renamed(source.provider, notification.email)

    async def _look_for_renamed(self, provider: str, email: str) -> None:
        """Let likely mailboxes compare their address with the provider's, where none has the one that was named.

        Notifications for another installation name unknown addresses, too, so that searches are few.
        """
        if self._monotonic() < self._next_search:
            return
        async with self._pool.acquire() as connection, connection.transaction():
            suspects = await mailboxes.suspect_rename(connection, provider=provider, email=email, limit=_SUSPECTS)
        if suspects:
            self._next_search = self._monotonic() + _SEARCH_SECONDS
            log.info("a notification names an unknown address", suspects=suspects)

    async def _verify(self, source: NotificationSource, token: str) -> None:
        try:
            await source.verify(token)
        except InvalidTokenError as error:
            raise _invalid(str(error)) from error
        except KeysUnavailableError as error:
            raise AppError(Kind.UNAVAILABLE, "provider_unavailable", "The provider's keys are unavailable.") from error


def _invalid(reason: str) -> AppError:
    log.warning("notification refused", reason=reason)
    return AppError(Kind.UNAUTHENTICATED, "invalid_token", "The token is not one of the push service account.")
