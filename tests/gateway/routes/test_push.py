"""Requests of providers, passed on to mail."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from mailroom.mail.v1 import mail_pb2
from prometheus_client import CollectorRegistry

from services.gateway.access_tokens import AccessTokens, auth_key_set
from services.gateway.api_keys import ApiKeys
from services.gateway.app import create_app
from services.gateway.clients import Services
from services.gateway.limits.long_polls import LongPolls
from services.gateway.revocations import Revocations
from services.gateway.settings import GatewaySettings
from services.kit.errors import AppError, Kind
from services.kit.observe.setup import Telemetry
from tests.gateway.conftest import Gateway, bearer
from tests.support.gateway.fake_auth import ISSUER
from tests.support.gateway.fake_mail import PUSH_TOKEN, FakeMail

GOOD = bearer(PUSH_TOKEN)


@pytest.fixture
async def http(services: Services) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a gateway that accepts the notifications of two providers."""
    keys = auth_key_set(services.sessions)
    revocations = Revocations(services.api_keys)

    async def ready() -> bool:
        return True

    app = create_app(
        services=services,
        signing_keys=keys,
        access_tokens=AccessTokens(keys, issuer=ISSUER, audience=ISSUER),
        api_keys=ApiKeys(services.api_keys),
        revocations=revocations,
        ready=ready,
        long_polls=LongPolls(asyncio.Event(), revocations=revocations),
        telemetry=Telemetry(CollectorRegistry()),
        public_url="http://localhost:8000",
        frontend_redirect_url=ISSUER,
        cors_origins=(),
        body_limit=65_536,
        notifying_providers=("google", "other"),
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as client:
        yield client


class TestGoogle:
    async def test_passes_the_body_on_as_it_came_and_acknowledges(
        self, http: httpx.AsyncClient, mail: FakeMail
    ) -> None:
        for body in (b'{"message": {}}', b"", b"\xff" * 65_536):
            answer = await http.post("/hooks/google", content=body, headers=GOOD)
            assert (answer.status_code, answer.content) == (204, b"")
        assert [request.body for request in mail.pushed] == [b'{"message": {}}', b"", b"\xff" * 65_536]
        assert {request.provider for request in mail.pushed} == {"google"}

    @pytest.mark.parametrize(
        ("headers", "code"),
        [
            ({}, "missing_token"),
            ({"Authorization": "Basic YTpi"}, "missing_token"),
            ({"Authorization": "Bearer "}, "missing_token"),
            (bearer("forged"), "invalid_token"),
        ],
    )
    async def test_refuses_requests_without_googles_token(
        self, http: httpx.AsyncClient, mail: FakeMail, headers: dict[str, str], code: str
    ) -> None:
        answer = await http.post("/hooks/google", content=b"{}", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, code)
        assert "WWW-Authenticate" in answer.headers
        assert mail.pushed == []

    async def test_does_not_acknowledge_a_notification_that_mail_did_not_store(
        self, http: httpx.AsyncClient, mail: FakeMail
    ) -> None:
        mail.failure = AppError(Kind.UNAVAILABLE, "provider_unavailable", "No keys.", {"retry_after": "1"})
        assert (await http.post("/hooks/google", content=b"{}", headers=GOOD)).status_code == 503

    async def test_is_documented_only_where_it_exists(self, http: httpx.AsyncClient, gateway: Gateway) -> None:
        assert "/hooks/google" in (await http.get("/openapi.json")).json()["paths"]
        assert "/hooks/google" not in (await gateway.http.get("/openapi.json")).json()["paths"]
        assert (await gateway.http.post("/hooks/google", content=b"{}", headers=GOOD)).status_code == 404


class TestAnyProvider:
    async def test_gets_the_response_of_its_adapter(self, http: httpx.AsyncClient, mail: FakeMail) -> None:
        mail.push_answer = mail_pb2.AcceptPushResponse(status=200, content_type="text/plain", body=b"a <b>")
        answer = await http.post("/hooks/other?validationToken=a%20%3Cb%3E&x=1&x=2", headers=GOOD)
        assert (answer.status_code, answer.content) == (200, b"a <b>")
        assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"

    async def test_is_passed_on_with_query_and_headers(self, http: httpx.AsyncClient, mail: FakeMail) -> None:
        headers = {**GOOD, "X-Signature": "sha256=1", "Cookie": "session=1"}
        await http.post("/hooks/other?a=%20&a=b", content=b"{}", headers=headers)
        [request] = mail.pushed
        names = {header.name: header.value for header in request.headers}
        assert (request.provider, request.query, request.token) == ("other", "a=%20&a=b", PUSH_TOKEN)
        assert names["x-signature"] == "sha256=1"
        assert "cookie" not in names

    async def test_without_notifications_has_no_route(self, http: httpx.AsyncClient) -> None:
        assert (await http.post("/hooks/new", content=b"{}", headers=GOOD)).status_code == 404


@pytest.mark.parametrize(
    ("chosen", "exists"),
    [
        ({}, False),
        ({"google_push_audience": "a"}, False),
        ({"google_push_service_account": "s"}, False),
        ({"google_push_audience": "a", "google_push_service_account": "s"}, True),
        ({"google_push_audience": "", "google_push_service_account": "s"}, False),
    ],
)
def test_the_route_exists_where_audience_and_service_account_are_configured(
    chosen: dict[str, str], exists: bool
) -> None:
    assert GatewaySettings(mailroom_insecure_grpc=True, **chosen).notifying_providers == (("google",) if exists else ())  # type: ignore[arg-type]
