"""Calling Gmail: one request, its answer whole, errors as the provider's."""

import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import httpx

from services.mail.providers.base import ProviderUnavailableError, RejectedError
from services.mail.providers.gmail.errors import parse_error

# More than any answer to a sensible call; protects the worker's memory.
MAX_RESPONSE_BYTES = 192 * 1024 * 1024
USER_PATH = "/gmail/v1/users/me"
# Answers of a server that does not know a route, against one that knows it but refuses.
NO_SUCH_ROUTE = frozenset({404, 405, 501})
# Seconds for one call, whatever the pace at which its answer arrives.
_CALL_SECONDS = 120


class GmailCalls:
    """Calls of the routes below `users/me`, and of whole addresses.

    All raise ProviderError: what Gmail answered (gmail_errors), ProviderUnavailableError for no answer or one that is
    none, RejectedError for one that is too large.
    """

    def __init__(self, http: httpx.AsyncClient, *, api_url: str) -> None:
        self._http = http
        self._user_url = user_url(api_url)

    async def get(
        self,
        access_token: str,
        path: str,
        params: Mapping[str, str] | None = None,
        *,
        passing: frozenset[int] = frozenset(),
    ) -> tuple[int, str]:
        """Status and body of an answer; the statuses in `passing` are answers, too."""
        query = f"?{urlencode(params)}" if params else ""
        response, body = await self.send("GET", f"{self._user_url}{path}{query}", access_token)
        if response.status_code not in passing:
            raise_for_status(response, body)
        return response.status_code, str(body, "utf-8", "replace")

    async def post(self, access_token: str, path: str, fields: Mapping[str, object]) -> str:
        """Sends a JSON object and returns the answer's body."""
        response, body = await self.send(
            "POST",
            f"{self._user_url}{path}",
            access_token,
            content=json.dumps(fields).encode(),
            headers={"Content-Type": "application/json"},
        )
        raise_for_status(response, body)
        return str(body, "utf-8", "replace")

    async def send(
        self,
        method: str,
        url: str,
        access_token: str,
        *,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[httpx.Response, bytearray]:
        """An answer of whatever status."""
        sent = {"Authorization": f"Bearer {access_token}", **(headers or {})}
        try:
            async with (
                asyncio.timeout(_CALL_SECONDS),
                self._http.stream(method, url, content=content, headers=sent) as response,
            ):
                body = bytearray()
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > MAX_RESPONSE_BYTES:
                        raise RejectedError(f"more than {MAX_RESPONSE_BYTES} bytes")
                return response, body
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            raise ProviderUnavailableError(type(error).__name__) from error


def user_url(api_url: str) -> str:
    """Where the routes of the token's user are. A trailing `/gmail/v1` of the API's address is tolerated."""
    return api_url.rstrip("/").removesuffix("/gmail/v1") + USER_PATH


def raise_for_status(response: httpx.Response, body: bytearray) -> None:
    """Raises the ProviderError that an answer stands for unless it is one of success."""
    if response.status_code >= 400:
        raise parse_error(response.status_code, body, now=now, retry_after=response.headers.get("Retry-After"))
    if response.status_code >= 300:
        raise ProviderUnavailableError(f"redirected with {response.status_code}")


def json_object(body: str) -> dict[str, Any]:
    """The JSON object in a body. Raises ProviderUnavailableError."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ProviderUnavailableError("the answer is not JSON") from error
    if not isinstance(answer, dict):
        raise ProviderUnavailableError("the answer is not a JSON object")
    return answer


def now() -> datetime:
    """The time that pauses are reckoned from."""
    return datetime.now(UTC)
