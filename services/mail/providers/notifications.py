"""The protocol of a provider's notifications: requests that say that a mailbox has changed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """A change of the mailbox of an address, up to the provider's history record `cursor` if it names one.

    It can hide others for `echo` seconds, as `WatchTimes` says.
    """

    email: str
    cursor: int | None
    echo: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HookRequest:
    """A provider's request as it came. `token` is its bearer token, empty without one.

    `headers` have names in lower case, and no cookies; `query` is the query string.
    """

    token: str = ""
    body: bytes = b""
    headers: Sequence[tuple[str, str]] = ()
    query: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HookAnswer:
    """The response to a request, and the notifications in it.

    A request that holds none that can be read is answered like any other, since a refusal would only repeat it.
    """

    notifications: Sequence[Notification] = field(default=())
    status: HTTPStatus = HTTPStatus.NO_CONTENT
    content_type: str = ""
    body: bytes = b""


class NotificationSource(Protocol):
    """One provider's way of sending notifications."""

    async def receive(self, request: HookRequest) -> HookAnswer:
        """Verify that the provider sent a request, and read it.

        Raises AppError missing_token, invalid_token, and provider_unavailable where the sender cannot be verified now.
        """
        ...
