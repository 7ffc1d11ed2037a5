"""The client."""

from collections.abc import Callable
from typing import Self

import httpx

from mailroom_client._async.applications import AsyncApplications, AsyncKeys, AsyncUsers
from mailroom_client._async.audit import AsyncAudit
from mailroom_client._async.auth import AsyncAuth
from mailroom_client._async.changes import AsyncChanges
from mailroom_client._async.connections import AsyncConnections
from mailroom_client._async.emails import AsyncEmails
from mailroom_client._async.mailboxes import AsyncMailboxes, AsyncSyncs
from mailroom_client._async.transport import AsyncTransport
from mailroom_client._async.usage import AsyncUsageReports
from mailroom_client._async.webhooks import AsyncWebhooks
from mailroom_client._request import Request
from mailroom_client._retry import Retries
from mailroom_client.models import Token


class AsyncMailroom:
    """Mailroom at `base_url`, for the owner of `token`: a user's access token, or an application's API key.

    With a `refresh_token` an expired token is replaced once and the call repeated; `on_refresh` gets the new pair, to
    be stored: the old refresh token is worth nothing afterwards. `http` is a client of your own, for proxies and
    certificates. Use it with `async with`, or call `aclose`. Calls raise MailroomError (mailroom_client.errors).
    """

    def __init__(
        self,
        base_url: str,
        *,
        token: str | None = None,
        refresh_token: str | None = None,
        on_refresh: Callable[[Token], None] | None = None,
        retries: Retries | None = None,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        self._transport = AsyncTransport(
            base_url,
            token=token,
            refresh_token=refresh_token,
            on_refresh=on_refresh,
            retries=retries or Retries(),
            http=http,
        )
        self.auth = AsyncAuth(self._transport)
        self.mailboxes = AsyncMailboxes(self._transport)
        self.syncs = AsyncSyncs(self._transport)
        self.emails = AsyncEmails(self._transport)
        self.changes = AsyncChanges(self._transport)
        self.connections = AsyncConnections(self._transport)
        self.users = AsyncUsers(self._transport)
        self.keys = AsyncKeys(self._transport)
        self.applications = AsyncApplications(self._transport)
        self.webhooks = AsyncWebhooks(self._transport)
        self.usage = AsyncUsageReports(self._transport)
        self.audit = AsyncAudit(self._transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *details: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._transport.aclose()

    async def is_ready(self) -> bool:
        """Whether the gateway serves requests: it and what it needs have started."""
        request = Request("GET", "/readyz", authorized=False)
        return (await self._transport.status(request)) == 200

    async def is_alive(self) -> bool:
        """Whether the gateway's process answers."""
        request = Request("GET", "/healthz", authorized=False)
        return (await self._transport.status(request)) == 200
