"""Connect sessions for back ends, and their page for browsers."""

import re
from html import unescape
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from mailroom.auth.v1 import auth_pb2

from services.kit.errors import AppError, Kind, service_unavailable
from services.kit.scopes import Scope
from tests.gateway.conftest import Gateway, OpenGateway
from tests.support.gateway.fake_auth import ISSUER
from tests.support.gateway.fake_keys import APPLICATION_ID

SESSION = "0190b0a0-0000-7000-8000-000000000001"


def token_in(answer: httpx.Response) -> str:
    """Return the token in the URL of a created session."""
    return parse_qs(urlsplit(str(answer.json()["url"])).query)["token"][0]


class TestCreation:
    async def test_answers_with_the_url_of_the_page(self, gateway: Gateway) -> None:
        body = {"external_user_id": "42", "redirect_url": "https://shop.example/connected"}
        headers = gateway.as_key(Scope.MAILBOXES_MANAGE)
        answer = await gateway.http.post("/connect/sessions", json=body, headers=headers)
        assert answer.status_code == 201
        assert answer.json().keys() == {"id", "url", "user_id", "expires_at"}
        assert answer.json()["url"].startswith(f"{ISSUER}/connect?token=")
        request = gateway.connections.created[token_in(answer)]
        assert (request.application_id, request.external_user_id) == (APPLICATION_ID, "42")
        assert (request.provider, list(request.access), request.login_hint) == ("", ["read"], "")

    @pytest.mark.parametrize(
        "wrong", [{"access": ["send"]}, {"access": []}, {"external_user_id": ""}, {"redirect_url": None}, {"more": 1}]
    )
    async def test_refuses_what_it_does_not_know(self, gateway: Gateway, wrong: dict[str, object]) -> None:
        body = {"external_user_id": "42", "redirect_url": "https://shop.example/connected", **wrong}
        answer = await gateway.http.post("/connect/sessions", json=body, headers=gateway.as_key(*Scope))
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")


class TestCompletion:
    async def test_names_the_mailbox_and_tells_mail(self, gateway: Gateway) -> None:
        headers = gateway.as_key(Scope.MAILBOXES_MANAGE)
        answer = await gateway.http.post(f"/connect/sessions/{SESSION}/complete", json={"code": "c"}, headers=headers)
        assert answer.status_code == 200
        assert answer.json()["mailbox_id"] == gateway.connections.account_id
        assert (answer.json()["email"], answer.json()["external_user_id"]) == ("ada@example.com", "42")
        [request] = gateway.connections.completions
        assert (request.application_id, request.session_id, request.code) == (APPLICATION_ID, SESSION, "c")
        assert gateway.mail.refreshed_accounts == [gateway.connections.account_id]
        assert gateway.mail.refreshed[0].startswith("key:")

    async def test_does_not_fail_without_mail(self, gateway: Gateway) -> None:
        gateway.mail.failure = service_unavailable()
        answer = await gateway.http.post(
            f"/connect/sessions/{SESSION}/complete", json={"code": "c"}, headers=gateway.as_key(*Scope)
        )
        assert answer.status_code == 200

    async def test_is_refused_while_the_mailbox_is_being_disconnected(self, gateway: Gateway) -> None:
        gateway.mail.is_disconnecting = True
        answer = await gateway.http.post(
            f"/connect/sessions/{SESSION}/complete", json={"code": "c"}, headers=gateway.as_key(*Scope)
        )
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_connect_code")


class TestPage:
    async def test_says_in_words_who_asks_for_what(self, gateway: Gateway) -> None:
        answer = await gateway.http.get("/connect", params={"token": gateway.connections.token()})
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
        text = " ".join(re.sub("<[^>]+>", "", answer.text).split())
        assert "Connect a mailbox to Shop" in text
        assert "Shop asks for access to a mailbox of yours" in text
        assert "read all mail of the mailbox that you choose" in text
        assert "It cannot send, change or delete mail." in text
        assert "Continue with Google" in text
        assert "you return to shop.example" in text

    async def test_offers_the_choice_of_providers(self, gateway: Gateway) -> None:
        gateway.connections.page.providers[:] = ["google", "yandex", "any-host"]
        answer = await gateway.http.get("/connect", params={"token": gateway.connections.token()})
        buttons = re.findall(r"<button [^>]*>([^<]+)</button>", answer.text)
        assert buttons == ["Continue with Google", "Continue with Yandex", "Continue with Any Host"]

    async def test_loads_from_its_own_origin_and_runs_nothing(self, gateway: Gateway) -> None:
        answer = await gateway.http.get("/connect", params={"token": gateway.connections.token()})
        policy = answer.headers["content-security-policy"]
        assert policy == (
            "default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; form-action 'self' https:; "
            "frame-ancestors 'none'"
        )
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["cache-control"] == "no-store"
        assert "<script" not in answer.text
        assert "style=" not in answer.text
        for url in re.findall(r'(?:href|src)="([^"]+)"', answer.text):
            if url != "data:,":
                assert (await gateway.http.get(f"/{url}")).status_code == 200

    async def test_escapes_the_applications_name(self, gateway: Gateway) -> None:
        gateway.connections.page.application_name = "<script>{{HOST}}&amp;</script>"
        answer = await gateway.http.get("/connect", params={"token": gateway.connections.token()})
        assert "<script" not in answer.text
        assert "<bdi>&lt;script&gt;{{HOST}}&amp;amp;&lt;/script&gt;</bdi>" in answer.text

    async def test_names_no_application_that_users_do_not_know(self, gateway: Gateway) -> None:
        gateway.connections.page.application_name = "default"
        answer = await gateway.http.get("/connect", params={"token": gateway.connections.token()})
        assert "Connect a mailbox to the application that sent you here" in answer.text

    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    async def test_begins_nothing_when_it_is_opened(self, gateway: Gateway, method: str) -> None:
        answer = await gateway.http.request(method, "/connect", params={"token": gateway.connections.token()})
        assert answer.status_code == 200
        assert gateway.connections.begun == []

    @pytest.mark.parametrize("method", ["GET", "POST"])
    async def test_says_what_to_do_at_its_end(self, gateway: Gateway, method: str) -> None:
        answer = await gateway.http.request(method, "/connect", params={"token": "used"})
        assert (answer.status_code, answer.headers["content-type"]) == (404, "text/html; charset=utf-8")
        assert "Go back to the application that sent you here" in answer.text
        assert (await gateway.http.request(method, "/connect")).status_code == 404

    async def test_says_that_auth_is_away(self, gateway: Gateway) -> None:
        gateway.connections.failure = service_unavailable()
        answer = await gateway.http.get("/connect", params={"token": "t"})
        assert (answer.status_code, answer.headers["content-type"]) == (503, "text/html; charset=utf-8")
        assert "Reload this page" in answer.text


class TestButton:
    async def test_sends_the_browser_to_the_provider(self, gateway: Gateway) -> None:
        token = gateway.connections.token()
        page = await gateway.http.get("/connect", params={"token": token})
        [target] = re.findall(r'formaction="([^"]+)"', page.text)
        answer = await gateway.http.post(f"/connect{unescape(target)}", headers={"Origin": ISSUER})
        assert (answer.status_code, answer.headers["location"]) == (303, "https://provider.example/auth?state=s")
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert gateway.connections.begun == [auth_pb2.BeginConnectSessionRequest(token=token, provider="google")]

    @pytest.mark.parametrize(
        "headers",
        [
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Origin": ISSUER, "Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "none"},
        ],
    )
    async def test_of_another_page_begins_nothing(self, gateway: Gateway, headers: dict[str, str]) -> None:
        query = {"token": gateway.connections.token(), "provider": "google"}
        answer = await gateway.http.post("/connect", params=query, headers=headers)
        assert (answer.status_code, gateway.connections.begun) == (200, [])
        assert "Continue with Google" in answer.text

    async def test_of_an_unknown_provider_shows_the_page_again(self, gateway: Gateway) -> None:
        query = {"token": gateway.connections.token(), "provider": "hotmail"}
        answer = await gateway.http.post("/connect", params=query, headers={"Sec-Fetch-Site": "same-origin"})
        assert (answer.status_code, gateway.connections.begun) == (200, [])


class TestReturn:
    async def test_goes_to_the_application(self, gateway: Gateway) -> None:
        url = "https://shop.example/connected?session=s&code=c"
        gateway.auth.outcome = auth_pb2.CompleteSignInResponse(return_url=url)
        answer = await gateway.http.get("/auth/google/callback", params={"state": "s", "code": "c"})
        assert (answer.status_code, answer.headers["location"]) == (303, url)
        assert answer.headers["referrer-policy"] == "no-referrer"


async def test_pages_of_installations_without_tls_lead_to_providers_without(open_gateway: OpenGateway) -> None:
    async with open_gateway(public_url="http://localhost:8000") as gateway:
        answer = await gateway.http.get("/connect", params={"token": gateway.connections.token()})
        assert "form-action 'self' https: http:;" in answer.headers["content-security-policy"]


async def test_refusals_of_a_completion_are_problems(gateway: Gateway) -> None:
    gateway.connections.failure = AppError(Kind.CONFLICT, "account_of_another_user", "Another user's.")
    answer = await gateway.http.post(
        f"/connect/sessions/{SESSION}/complete", json={"code": "c"}, headers=gateway.as_key(*Scope)
    )
    assert (answer.status_code, answer.json()["code"]) == (409, "account_of_another_user")
