"""Connect sessions: for API keys, whose users connect mailboxes in a browser."""

from uuid import UUID

from mailroom_client._async.transport import AsyncTransport
from mailroom_client._request import Request, parameters, path_of
from mailroom_client.models import ConnectedMailbox, ConnectSession


class AsyncConnections:
    """Mailboxes that users of the application connect."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def start(
        self, external_user_id: str, *, redirect_url: str, provider: str | None = None, login_hint: str | None = None
    ) -> ConnectSession:
        """Start a connect session: send the user's browser to its `url`.

        It comes back to `redirect_url` with `session`, and with `code` or `error`. Without a provider the user chooses.
        """
        body = parameters(
            external_user_id=external_user_id, redirect_url=redirect_url, provider=provider, login_hint=login_hint
        )
        return await self._transport.call(Request("POST", "/connect/sessions", body=body), ConnectSession)

    async def complete(self, session_id: UUID | str, code: str) -> ConnectedMailbox:
        """Connect the mailbox. Check first that the browser that brought the code is the one of the session's user."""
        request = Request("POST", path_of("/connect/sessions/{}/complete", session_id), body={"code": code})
        return await self._transport.call(request, ConnectedMailbox)
