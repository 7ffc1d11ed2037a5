"""The client."""

from collections.abc import Callable
from typing import Self

import httpx

from mailroom_client._request import Request
from mailroom_client._retry import Retries
from mailroom_client._sync.applications import Applications, Keys, Users
from mailroom_client._sync.audit import Audit
from mailroom_client._sync.auth import Auth
from mailroom_client._sync.changes import Changes
from mailroom_client._sync.connections import Connections
from mailroom_client._sync.emails import Emails
from mailroom_client._sync.mailboxes import Mailboxes, Syncs
from mailroom_client._sync.transport import Transport
from mailroom_client._sync.usage import UsageReports
from mailroom_client._sync.webhooks import Webhooks
from mailroom_client.models import Token


class Mailroom:
    """Mailroom at `base_url`, for the owner of `token`: a user's access token, or an application's API key.

    With a `refresh_token` an expired token is replaced once and the call repeated; `on_refresh` gets the new pair, to
    be stored: the old refresh token is worth nothing afterwards. `http` is a client of your own, for proxies and
    certificates. Use it with `with`, or call `close`. Calls raise MailroomError (mailroom_client.errors).
    """

    def __init__(
        self,
        base_url: str,
        *,
        token: str | None = None,
        refresh_token: str | None = None,
        on_refresh: Callable[[Token], None] | None = None,
        retries: Retries | None = None,
        http: httpx.Client | None = None,
    ) -> None:
        self._transport = Transport(
            base_url,
            token=token,
            refresh_token=refresh_token,
            on_refresh=on_refresh,
            retries=retries or Retries(),
            http=http,
        )
        self.auth = Auth(self._transport)
        self.mailboxes = Mailboxes(self._transport)
        self.syncs = Syncs(self._transport)
        self.emails = Emails(self._transport)
        self.changes = Changes(self._transport)
        self.connections = Connections(self._transport)
        self.users = Users(self._transport)
        self.keys = Keys(self._transport)
        self.applications = Applications(self._transport)
        self.webhooks = Webhooks(self._transport)
        self.usage = UsageReports(self._transport)
        self.audit = Audit(self._transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._transport.close()

    def is_ready(self) -> bool:
        """Whether the gateway serves requests: it and what it needs have started."""
        request = Request("GET", "/readyz", authorized=False)
        return (self._transport.status(request)) == 200

    def is_alive(self) -> bool:
        """Whether the gateway's process answers."""
        request = Request("GET", "/healthz", authorized=False)
        return (self._transport.status(request)) == 200
