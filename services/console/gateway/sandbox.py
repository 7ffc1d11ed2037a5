"""The control API of a sandbox (docs/sandbox.md), to fill its mailboxes."""

from urllib.parse import quote

import httpx

from services.console.gateway.client import Json
from services.console.gateway.errors import RefusedError, SandboxUnreachableError

# Seconds: a large mailbox takes some to generate.
_ANSWER = 60.0


class Sandbox:
    """The sandbox that an HTTP client reaches."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def emails(self) -> list[str]:
        """Return the addresses of its mailboxes. Raises GatewayError."""
        return [str(user["email"]) for user in (await self._send("GET", "/_sandbox/users"))["users"]]

    async def add_mailbox(self, email: str, *, messages: int) -> None:
        """Add a mailbox with generated messages. Raises GatewayError."""
        await self._send("POST", "/_sandbox/users", {"email": email, "messages": messages})

    async def deliver(self, email: str, *, count: int) -> None:
        """Let so many generated messages arrive in a mailbox. Raises GatewayError."""
        await self._send("POST", f"/_sandbox/users/{quote(email, safe='')}/messages", {"count": count})

    async def _send(self, method: str, path: str, body: Json | None = None) -> Json:
        try:
            response = await self._http.request(method, path, json=body, timeout=_ANSWER)
            if response.is_success:
                answer: Json = response.json()
                return answer
        except (httpx.HTTPError, ValueError) as error:
            raise SandboxUnreachableError from error
        raise RefusedError(
            status=response.status_code, code="sandbox_refused", detail=response.text[:200], request_id=None
        )
