"""Failed responses, revocation, and the HTTP client for Google."""

import asyncio

import httpx
import pytest
from prometheus_client import CollectorRegistry
from starlette.responses import HTMLResponse, JSONResponse, Response

from services.auth.providers.base import (
    AccessRefusedError,
    GrantRefusedError,
    ProviderError,
    ProviderRefusedError,
    ProviderUnavailableError,
)
from services.kit.http.outbound import Egress, create_http_client
from services.kit.observe.http_calls import CallObserver
from services.kit.observe.setup import Telemetry
from tests.auth.providers.conftest import Setup
from tests.support.auth.clock import Time
from tests.support.auth.parts import grant_of
from tests.support.mail.raw_server import Connection, raw_server
from tests.support.mail.waiting import eventually

UNKNOWN = grant_of("1//unknown", Time())


class TestFailures:
    @pytest.mark.parametrize(
        ("answer", "error"),
        [
            (JSONResponse({"error": "invalid_grant"}, 400), GrantRefusedError),
            (JSONResponse({"error": "invalid_grant", "error_subtype": "invalid_rapt"}, 400), GrantRefusedError),
            (JSONResponse({"error": "invalid_grant"}), GrantRefusedError),
            (JSONResponse({"error": "invalid_client"}, 401), ProviderRefusedError),
            (JSONResponse({"error": "redirect_uri_mismatch"}, 400), ProviderRefusedError),
            (JSONResponse({"error": "admin_policy_enforced"}, 400), AccessRefusedError),
            (JSONResponse({"error": "unheard_of"}, 400), AccessRefusedError),
            (JSONResponse({"error": "interaction_required"}, 400), GrantRefusedError),
            (JSONResponse({"error": "invalid_grant"}, 429), ProviderUnavailableError),
            (JSONResponse({"error": "invalid_grant"}, 500), ProviderUnavailableError),
            (JSONResponse({"error": ["invalid_grant"]}, 400), ProviderUnavailableError),
            (JSONResponse({"detail": "not found"}, 404), ProviderUnavailableError),
            (HTMLResponse("invalid_grant", 400), ProviderUnavailableError),
            (JSONResponse({"error": "unknown token 1//secret"}, 400), ProviderUnavailableError),
            (JSONResponse({"error": "x" * 100_000}, 400), ProviderUnavailableError),
        ],
    )
    async def test_map_to_errors_by_status_and_error_code(
        self, setup: Setup, answer: Response, error: type[ProviderError]
    ) -> None:
        setup.stand_in.deviations.token_answers = [answer]
        with pytest.raises(error) as caught:
            await setup.google.refresh("1//secret", scopes=frozenset(), timeout=5)
        assert type(caught.value) is error
        assert "1//secret" not in str(caught.value)
        assert len(str(caught.value)) < 200

    async def test_a_call_ends_at_its_time_out(self, setup: Setup) -> None:
        async def hang(_request: httpx.Request) -> httpx.Response:
            await asyncio.Event().wait()
            raise AssertionError

        async with httpx.AsyncClient(transport=httpx.MockTransport(hang)) as client:
            setup.egress = Egress(client, unavailable=ProviderUnavailableError)
            google = setup.google_with()
            with pytest.raises(ProviderUnavailableError):
                await google.refresh("token", scopes=frozenset(), timeout=0.05)


class TestRevoke:
    async def test_ends_the_grant(self, setup: Setup) -> None:
        person = setup.stand_in.person()
        _, grant = await setup.exchange(person)
        await setup.google.revoke(grant, timeout=5)
        assert setup.stand_in.refresh_tokens == {}

    async def test_is_content_with_a_grant_that_has_ended(self, setup: Setup) -> None:
        await setup.google.revoke(UNKNOWN, timeout=5)
        assert setup.stand_in.calls["revoke"] == 1

    async def test_needs_no_endpoint(self, setup: Setup) -> None:
        await setup.google_with(revoke_url=None).revoke(UNKNOWN, timeout=5)
        assert setup.stand_in.calls["revoke"] == 0

    async def test_may_be_answered_by_no_content(self, setup: Setup) -> None:
        setup.stand_in.deviations.revoke_answer = Response(status_code=204)
        await setup.google.revoke(UNKNOWN, timeout=5)
        assert setup.stand_in.calls["revoke"] == 1

    @pytest.mark.parametrize("answer", [HTMLResponse("<p>", 503), JSONResponse({"error": "x"}, 429)])
    async def test_reports_an_unavailable_provider(self, setup: Setup, answer: Response) -> None:
        setup.stand_in.deviations.revoke_answer = answer
        with pytest.raises(ProviderUnavailableError):
            await setup.google.revoke(UNKNOWN, timeout=5)


class TestHttpClient:
    async def test_follows_no_redirect_and_uses_no_proxy_for_this_machine(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")
        monkeypatch.delenv("NO_PROXY", raising=False)
        observer = CallObserver(Telemetry(CollectorRegistry()))
        async with create_http_client(observer=observer, name_call=lambda _: "google") as client:
            proxied = client._transport_for_url(httpx.URL("http://provider.example/token"))
            direct = client._transport_for_url(httpx.URL("http://127.0.0.1:8100/token"))
            assert proxied is not client._transport
            assert direct is client._transport
            assert not client.follow_redirects

    async def test_lets_calls_that_hang_delay_no_others(self) -> None:
        many = 150
        observer = CallObserver(Telemetry(CollectorRegistry()))

        async def hangs_many_times(connection: Connection) -> None:
            if connection.number <= many:
                await connection.wait()
            await connection.request()
            await connection.answer(b"{}")

        async with (
            raw_server(hangs_many_times) as server,
            create_http_client(observer=observer, name_call=lambda _: "google") as client,
        ):
            egress = Egress(client, unavailable=ProviderUnavailableError)
            hanging = [asyncio.create_task(egress.send("GET", server.url, timeout=30)) for _ in range(many)]

            async def all_hang() -> bool:
                return server.connections == many

            await eventually(all_hang)
            assert (await egress.send("GET", server.url, timeout=5)).json_object() == {}
            for call in hanging:
                call.cancel()
            await asyncio.wait(hanging)
