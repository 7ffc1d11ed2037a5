"""A provider between mail and the sandbox that gives the sandbox's answers an accent: other types, missing fields."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from textwrap import fill
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.kit.http.server import serve_http
from services.kit.tls.authorities import public_authorities
from tests.support.mail.sandbox_control import Sandbox

Accent = Callable[[dict[str, Any]], dict[str, Any]]
"""Gets the fields of one object of an answer, after those within it, and gives those that are sent instead."""
_NUMBERS = {"historyId", "internalDate", "messagesTotal", "threadsTotal"}
_TEXTS = {"size", "sizeEstimate", "resultSizeEstimate"}
_BYTES = {"data", "raw"}


def numbers_as_numbers(fields: dict[str, Any]) -> dict[str, Any]:
    """64-bit integers as JSON numbers, 32-bit ones as strings: each the other way round than Google."""
    numbers = {name: int(value) for name, value in fields.items() if name in _NUMBERS}
    return fields | numbers | {name: str(value) for name, value in fields.items() if name in _TEXTS}


def padded_base64(fields: dict[str, Any]) -> dict[str, Any]:
    """The standard alphabet with padding, in lines of 76, as MIME has it."""
    return fields | {name: _as_in_mime(value) for name, value in fields.items() if name in _BYTES}


def nulls_and_empties(fields: dict[str, Any]) -> dict[str, Any]:
    """What is empty is there, as null or nothing at all."""
    empty: dict[str, Any] = {
        "messages": [],
        "history": None,
        "labels": None,
        "nextPageToken": "",
        "labelIds": None,
        "parts": None,
    }
    return empty | fields


def no_versions(fields: dict[str, Any]) -> dict[str, Any]:
    """No message has a history id."""
    return _without(fields, {"historyId"}) if "threadId" in fields else fields


def no_cursor_in_history(fields: dict[str, Any]) -> dict[str, Any]:
    """History answers hold records, and nowhere the present id."""
    return fields if fields.keys() & {"threadId", "emailAddress"} else _without(fields, {"historyId"})


def bare_payloads(fields: dict[str, Any]) -> dict[str, Any]:
    """Parts say nothing but their type, headers and bodies."""
    return _without(fields, {"partId", "filename", "size", "sizeEstimate"})


def _without(fields: dict[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in names}


def _as_in_mime(data: str) -> str:
    standard = data.translate(str.maketrans("-_", "+/"))
    return fill(standard + "=" * (-len(standard) % 4), 76)


@dataclass(frozen=True)
class Manners:
    """How the provider answers: the accent of single answers, routes that it lacks, batches that it refuses."""

    accent: Accent = dict
    lacks: tuple[str, ...] = ()
    lacking_status: int = 404
    batch_answer: tuple[int, str, str] | None = None
    forgets_page_tokens: bool = False


@asynccontextmanager
async def served_with_accent(sandbox: Sandbox, manners: Manners) -> AsyncIterator[str]:
    """The origin of such a provider, for as long as the context lasts."""
    async with httpx.AsyncClient(
        base_url=sandbox.url, timeout=20, trust_env=False, verify=public_authorities(trust_env=False)
    ) as http:
        provider = _Provider(http, manners)
        routes = [Route("/{path:path}", provider.answer, methods=["GET", "POST"])]
        async with serve_http(Starlette(routes=routes), host="127.0.0.1", port=0) as port:
            yield f"http://127.0.0.1:{port}"


class _Provider:
    def __init__(self, http: httpx.AsyncClient, manners: Manners) -> None:
        self._http = http
        self._manners = manners
        # The first token that comes, for good.
        self._forgotten: str | None = None

    async def answer(self, request: Request) -> Response:
        manners, path = self._manners, request.url.path
        if path == "/batch" and manners.batch_answer is not None:
            status, kind, text = manners.batch_answer
            return Response(text, status, media_type=kind)
        if path.endswith(manners.lacks):
            return Response("no such thing", manners.lacking_status)
        token = request.query_params.get("pageToken")
        if manners.forgets_page_tokens and token is not None and self._forgotten in (None, token):
            self._forgotten = token
            error = {"error": {"code": manners.lacking_status, "message": "Invalid pageToken"}}
            return Response(json.dumps(error), manners.lacking_status, media_type="application/json")
        return await self._pass_on(request)

    async def _pass_on(self, request: Request) -> Response:
        names = ("authorization", "content-type")
        headers = {name: request.headers[name] for name in names if name in request.headers}
        url = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        answer = await self._http.request(request.method, url, content=await request.body(), headers=headers)
        if not answer.is_success or not answer.headers["content-type"].startswith("application/json"):
            return Response(answer.content, answer.status_code, media_type=answer.headers["content-type"])
        spoken = _speak(answer.json(), self._manners.accent)
        return Response(json.dumps(spoken), answer.status_code, media_type="text/plain")


def _speak(value: Any, accent: Accent) -> Any:
    if isinstance(value, list):
        return [_speak(item, accent) for item in value]
    if isinstance(value, dict):
        return accent({name: _speak(item, accent) for name, item in value.items()})
    return value
