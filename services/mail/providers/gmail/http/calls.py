"""Calls of Gmail: a request, its whole answer, and errors as ProviderError."""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import httpx

from services.mail.providers.errors import NoAnswerError, ProviderUnavailableError, RejectedError
from services.mail.providers.gmail.http.errors import now, parse_error
from services.mail.providers.gmail.http.exchange import Exchange

# Larger than any useful answer; protects the worker's memory.
MAX_RESPONSE_BYTES = 192 * 1024 * 1024
USER_PATH = "/gmail/v1/users/me"


class GmailCalls:
    """Calls of routes below `users/me`, and of absolute addresses.

    Methods raise ProviderError: Gmail's own errors (errors.py), NoAnswerError without an answer,
    ProviderUnavailableError for a malformed one, RejectedError for one that is too large. `within` is the time limit
    for the head of the answer, in seconds.
    """

    def __init__(self, exchange: Exchange, *, api_url: str) -> None:
        self.deadlines = exchange.deadlines
        self._exchange = exchange
        self._user_url = user_url(api_url)

    async def get(
        self, access_token: str, path: str, params: Mapping[str, str] | None = None, *, within: float
    ) -> dict[str, Any]:
        """Call a method; return the JSON object of its answer."""
        return json_object(await self.get_text(access_token, path, params, within=within))

    async def get_text(
        self, access_token: str, path: str, params: Mapping[str, str] | None = None, *, within: float
    ) -> str:
        """Call a method; return the body of its answer."""
        query = f"?{urlencode(params)}" if params else ""
        response, body = await self.send("GET", f"{self._user_url}{path}{query}", access_token, within=within)
        raise_for_status(response, body)
        return str(body, "utf-8", "replace")

    async def post(self, access_token: str, path: str, fields: Mapping[str, object]) -> dict[str, Any]:
        """Call a method with side effects; return the JSON object of its answer, empty for an empty body."""
        try:
            response, body = await self.send(
                "POST",
                f"{self._user_url}{path}",
                access_token,
                within=self.deadlines.small,
                content=json.dumps(fields).encode(),
                headers={"Content-Type": "application/json"},
            )
        except NoAnswerError as error:
            # The server may have executed the method, so it must not be repeated at once.
            raise ProviderUnavailableError(error.detail) from error
        raise_for_status(response, body)
        return json_object(str(body, "utf-8", "replace")) if body.strip() else {}

    async def send(
        self,
        method: str,
        url: str,
        access_token: str,
        *,
        within: float,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[httpx.Response, bytearray]:
        """Send a request; return the answer, whatever its status."""
        opened = self._exchange.open(method, url, access_token, within=within, content=content, headers=headers)
        async with opened as (response, pieces):
            body = bytearray()
            async for piece in pieces:
                body += piece
                if len(body) > MAX_RESPONSE_BYTES:
                    raise RejectedError(f"more than {MAX_RESPONSE_BYTES} bytes")
            return response, body


def user_url(api_url: str) -> str:
    """Return the address of the routes of the token's user. `api_url` may end with `/gmail/v1`."""
    return api_url.rstrip("/").removesuffix("/gmail/v1") + USER_PATH


def raise_for_status(response: httpx.Response, body: bytes | bytearray) -> None:
    """Raise the ProviderError of an unsuccessful answer."""
    if not response.is_success:
        headers = response.headers
        raise parse_error(
            response.status_code,
            body,
            now=now,
            retry_after=headers.get("Retry-After"),
            challenge=headers.get("WWW-Authenticate"),
        )


def json_object(body: str) -> dict[str, Any]:
    """Parse the JSON object of a successful answer. Raises ProviderUnavailableError, also if it contains an error."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ProviderUnavailableError("the answer is not JSON") from error
    if not isinstance(answer, dict):
        raise ProviderUnavailableError("the answer is not a JSON object")
    if answer.get("error"):
        raise ProviderUnavailableError("an error under a status of success")
    return answer
