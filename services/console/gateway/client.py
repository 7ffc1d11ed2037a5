"""Sends calls to the gateway with the key of a session."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import structlog

from services.console.gateway.calls import Call
from services.console.gateway.errors import RefusedError, UnreachableError
from services.kit.api_key import ApiKeyText
from services.kit.context import REQUEST_ID_HEADER

log = structlog.get_logger()

type Json = dict[str, Any]

# Seconds: for a connection, and for an answer beyond the wait that a call asks for.
_CONNECT, _ANSWER = 5.0, 30.0
# Bytes of an answer that is read whole: messages have at most 4 MiB each of text and of HTML.
_LARGEST_ANSWER = 32 * 1024 * 1024


def create_http_client(gateway_url: str) -> httpx.AsyncClient:
    """Return the client for all calls: redirects off, and no proxy, since the key must not leave for another host."""
    return httpx.AsyncClient(
        base_url=gateway_url, follow_redirects=False, trust_env=False, headers={"user-agent": "mailroom-console"}
    )


class Gateway:
    """The REST API. Every call is logged with the id of its key, which is no secret."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def send(self, call: Call, *, key: ApiKeyText) -> Json:
        """Return the object in the answer, empty if it has no body. Raises GatewayError."""
        async with self.stream(call, key=key) as response:
            content = await _read(response, _LARGEST_ANSWER)
        if not content:
            return {}
        try:
            answer = httpx.Response(response.status_code, content=content).json()
        except ValueError as error:
            raise UnreachableError("the answer is no JSON") from error
        if not isinstance(answer, dict):
            raise UnreachableError("the answer is no object")
        return answer

    @asynccontextmanager
    async def stream(self, call: Call, *, key: ApiKeyText | None) -> AsyncGenerator[httpx.Response]:
        """Yield the response of a call that succeeded, with its body to come. Raises GatewayError."""
        headers = {} if key is None else {"authorization": f"Bearer {key.value}"}
        if call.wait is not None:
            headers["prefer"] = f"wait={call.wait}"
        timeout = httpx.Timeout(_ANSWER + (call.wait or 0), connect=_CONNECT)
        try:
            async with self._http.stream(
                call.method, call.path, params=call.params, json=call.body, headers=headers, timeout=timeout
            ) as response:
                log.info(
                    "called the API",
                    key_id=None if key is None else key.key_id,
                    method=call.method,
                    path=call.path,
                    mailbox_id=call.params.get("mailbox_id"),
                    status=response.status_code,
                    api_request_id=response.headers.get(REQUEST_ID_HEADER),
                )
                if not response.is_success:
                    raise _refusal(response.status_code, await _read(response, 64 * 1024), response.headers)
                yield response
        except (httpx.HTTPError, httpx.StreamError) as error:
            # The texts of the library can quote the request.
            raise UnreachableError(type(error).__name__) from error


async def _read(response: httpx.Response, limit: int) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > limit:
            raise UnreachableError("the answer is too large")
    return bytes(body)


def _refusal(status: int, content: bytes, headers: httpx.Headers) -> RefusedError | UnreachableError:
    try:
        problem = httpx.Response(status, content=content).json()
        code, detail = str(problem["code"]), str(problem["detail"])
    except (ValueError, KeyError, TypeError):
        return UnreachableError(f"status {status} without a problem")
    wait = headers.get("retry-after", "")
    return RefusedError(
        status=status,
        code=code,
        detail="; ".join([detail, *(f"{each['field']}: {each['message']}" for each in problem.get("errors", ()))]),
        request_id=problem.get("request_id"),
        retry_after=int(wait) if wait.isascii() and wait.isdigit() else None,
    )
