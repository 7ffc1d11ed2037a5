"""Pages of other origins: which may read, and what they may send."""

import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI

from services.gateway.http.cors import REQUEST_HEADERS, allow_origins
from tests.gateway.conftest import Gateway, OpenGateway
from tests.support.checkout import ROOT

ORIGIN = "https://app.example"


@pytest.fixture
async def whole_gateway(open_gateway: OpenGateway) -> AsyncIterator[Gateway]:
    """A gateway with the routes that a setting adds, too."""
    async with open_gateway(notifying_providers=("google",)) as gateway:
        yield gateway


async def operations(http: httpx.AsyncClient) -> list[tuple[str, str, dict[str, Any]]]:
    """Method, path and description of everything that the API can do."""
    document = (await http.get("/openapi.json")).json()
    return [
        (method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


async def preflight(http: httpx.AsyncClient, method: str, path: str, *headers: str) -> int:
    """The status of the question that a browser asks before the request."""
    asked = {"Origin": ORIGIN, "Access-Control-Request-Method": method}
    if headers:
        asked["Access-Control-Request-Headers"] = ",".join(sorted(headers)).lower()
    return (await http.options(path, headers=asked)).status_code


def headers_of(operation: dict[str, Any]) -> Iterator[str]:
    """The headers that a page of an application sends with the request."""
    yield from ("Authorization", "X-Request-Id")
    if "requestBody" in operation:
        yield "Content-Type"
    yield from (item["name"] for item in operation.get("parameters", ()) if item["in"] == "header")


class TestOrigins:
    async def test_that_are_allowed_may_read(self, gateway: Gateway) -> None:
        known = await gateway.http.get("/healthz", headers={"Origin": ORIGIN})
        assert known.headers["access-control-allow-origin"] == ORIGIN
        assert "Location" in known.headers["access-control-expose-headers"]

    async def test_that_are_not_allowed_may_not(self, gateway: Gateway) -> None:
        unknown = await gateway.http.get("/healthz", headers={"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in unknown.headers


class TestPage:
    def test_names_every_header_that_pages_may_send(self) -> None:
        text = (ROOT / "docs/frontends.md").read_text(encoding="utf-8")
        [sentence] = re.findall(r"and the headers (.+?)\. They may read", text, re.DOTALL)
        assert sorted(re.findall("`(.+?)`", sentence)) == sorted(REQUEST_HEADERS)


class TestPreflights:
    async def test_allow_every_operation_with_its_headers(self, whole_gateway: Gateway) -> None:
        found = await operations(whole_gateway.http)
        assert {"GET", "POST", "DELETE"} <= {method for method, _, _ in found}
        refused = [
            f"{method} {path}"
            for method, path, operation in found
            if await preflight(whole_gateway.http, method, path, *headers_of(operation)) != 200
        ]
        assert refused == []

    async def test_refuse_methods_that_no_route_has(self, whole_gateway: Gateway) -> None:
        assert await preflight(whole_gateway.http, "TRACE", "/emails") == 400

    @pytest.mark.parametrize(
        ("change", "detail"),
        [
            ({"Origin": "https://evil.example"}, "Disallowed CORS origin."),
            ({"Access-Control-Request-Method": "TRACE"}, "Disallowed CORS method."),
            ({"Access-Control-Request-Headers": "x-mine"}, "Disallowed CORS headers."),
        ],
    )
    async def test_that_are_refused_are_problems(self, gateway: Gateway, change: dict[str, str], detail: str) -> None:
        asked = {"Origin": ORIGIN, "Access-Control-Request-Method": "GET", **change}
        answer = await gateway.http.options("/emails", headers=asked)
        assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")
        assert (answer.json()["code"], answer.json()["detail"]) == ("cors_not_allowed", detail)
        # A page of an allowed origin learns from the response what it may send.
        assert answer.headers.get("access-control-allow-origin") == (None if "Origin" in change else ORIGIN)

    async def test_follow_the_routes_and_not_a_list(self) -> None:
        app, router = FastAPI(), APIRouter()

        @router.api_route("/things", methods=["PATCH", "PUT"])
        async def things() -> None:
            """A route that no other test knows."""

        allow_origins(app, [ORIGIN], routers=[router])
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as http:
            answers = {method: await preflight(http, method, "/things") for method in ("PATCH", "PUT", "POST")}
        assert answers == {"PATCH": 200, "PUT": 200, "POST": 400}
