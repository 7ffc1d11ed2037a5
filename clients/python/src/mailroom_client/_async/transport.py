"""Sends requests: authorization, repeats, errors."""

from asyncio import Lock, sleep
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, Self

import httpx
from pydantic import TypeAdapter

from mailroom_client._request import Request, base_of, token_of
from mailroom_client._retry import Retries
from mailroom_client.errors import ApiError, NotAuthorizedError, UnexpectedResponseError, UnreachableError, error_of
from mailroom_client.models import Model, Token

# The server may hold an answer for as long as a request says, and needs this long for the rest, in seconds.
_CONNECT, _ANSWER = 5.0, 30.0
_USER_AGENT = "mailroom-client-python"
_OBJECT = TypeAdapter(dict[str, Any])


class AsyncTransport:
    """A connection pool with a token, which is refreshed where a refresh token is known."""

    def __init__(
        self,
        base_url: str,
        *,
        token: str | None,
        refresh_token: str | None,
        on_refresh: Callable[[Token], None] | None,
        retries: Retries,
        http: httpx.AsyncClient | None,
    ) -> None:
        self.retries = retries
        self._base = base_of(base_url)
        self._token = None if token is None else token_of(token)
        self._refresh_token = refresh_token
        self._on_refresh = on_refresh
        self._refreshing = Lock()
        self._http = http or httpx.AsyncClient()

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(self, *details: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def call[T: Model](self, request: Request, answer: type[T]) -> T:
        """Return the answer. Raises MailroomError."""
        return await self._read(request, answer.model_validate_json)

    async def document(self, request: Request) -> dict[str, Any]:
        """Return the answer as it is, a JSON object. Raises MailroomError."""
        return await self._read(request, _OBJECT.validate_json)

    async def send(self, request: Request) -> httpx.Response:
        """Return a response that succeeded, read to its end. Raises MailroomError."""
        response = await self._authorized(request)
        if not response.is_success:
            raise error_of(response)
        return response

    async def status(self, request: Request) -> int | None:
        """Return the status that a request gets at once, None where no answer comes."""
        try:
            return (await self._once(request, streamed=False)).status_code
        except httpx.RequestError:
            return None

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncGenerator[AsyncGenerator[bytes]]:
        """Return the chunks of the body of a response that succeeded. Raises MailroomError."""
        response = await self._authorized(request, streamed=True)
        try:
            if not response.is_success:
                raise error_of(response)
            yield _chunks(response)
        finally:
            await response.aclose()

    async def _read[T](self, request: Request, parse: Callable[[bytes], T]) -> T:
        response = await self.send(request)
        try:
            return parse(response.content)
        except ValueError as error:
            raise UnexpectedResponseError(f"{request.path}: {error}") from error

    async def _authorized(self, request: Request, *, streamed: bool = False) -> httpx.Response:
        used = self._token
        response = await self._repeat(request, streamed=streamed)
        if request.authorized and self._is_expired(response) and await self._refresh(instead_of=used):
            return await self._repeat(request, streamed=streamed)
        return response

    async def _repeat(self, request: Request, *, streamed: bool) -> httpx.Response:
        attempt = 1
        while True:
            try:
                response = await self._once(request, streamed=streamed)
            except httpx.RequestError as error:
                pause = self.retries.pause_after_failure(request, error, attempt=attempt)
                if pause is None:
                    raise UnreachableError(f"{request.path}: {error!r}") from error
            else:
                pause = self.retries.pause_after_response(request, response, attempt=attempt)
                if pause is None:
                    return response
            await sleep(pause)
            attempt += 1

    async def _once(self, request: Request, *, streamed: bool) -> httpx.Response:
        """Return a response, read to its end unless it is a success that is streamed."""
        headers = {"User-Agent": _USER_AGENT, **request.all_headers()}
        if request.authorized and self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        made = self._http.build_request(
            request.method,
            self._base + request.path,
            params=request.params or None,
            json=request.body,
            headers=headers,
            timeout=httpx.Timeout(_ANSWER + (request.wait or 0), connect=_CONNECT),
        )
        response = await self._http.send(made, stream=True)
        if not (streamed and response.is_success):
            try:
                await response.aread()
            finally:
                await response.aclose()
        return response

    def _is_expired(self, response: httpx.Response) -> bool:
        if response.status_code != 401 or self._refresh_token is None:
            return False
        error = error_of(response)
        return isinstance(error, NotAuthorizedError) and error.code == "invalid_token"

    async def _refresh(self, *, instead_of: str | None) -> bool:
        """Return whether there is another token than the one that was refused. Concurrent calls refresh once."""
        async with self._refreshing:
            if self._token != instead_of:
                return True
            body = {"refresh_token": self._refresh_token}
            try:
                token = await self.call(Request("POST", "/auth/refresh", body=body, authorized=False), Token)
            except ApiError:
                # The session has ended: the first refusal says so.
                return False
            self._token, self._refresh_token = token.access_token, token.refresh_token or self._refresh_token
            if self._on_refresh is not None:
                self._on_refresh(token)
            return True


async def _chunks(response: httpx.Response) -> AsyncGenerator[bytes]:
    try:
        async for chunk in response.aiter_bytes():
            yield chunk
    except httpx.RequestError as error:
        raise UnreachableError(f"the answer broke off: {error!r}") from error
