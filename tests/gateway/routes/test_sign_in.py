"""The routes of signing in."""

from urllib.parse import parse_qs, urlsplit

import pytest
import structlog
from mailroom.auth.v1 import auth_pb2

from services.kit.errors import AppError, Kind, service_unavailable
from tests.gateway.conftest import Gateway


class TestStart:
    async def test_returns_the_url_for_the_browser_and_its_lifetime(self, gateway: Gateway) -> None:
        answer = await gateway.http.get("/auth/google/start")
        assert answer.status_code == 200
        body = answer.json()
        assert body["authorization_url"].startswith("https://provider.example/auth?")
        assert body["state"] in gateway.auth.challenges
        assert 590 <= body["expires_in"] <= 600

    async def test_passes_the_clients_challenge_on(self, gateway: Gateway) -> None:
        answer = await gateway.http.get("/auth/google/start?code_challenge=abc&code_challenge_method=S256")
        assert gateway.auth.challenges == {answer.json()["state"]: "abc"}

    async def test_refuses_the_plain_method(self, gateway: Gateway) -> None:
        answer = await gateway.http.get("/auth/google/start?code_challenge=abc&code_challenge_method=plain")
        assert answer.status_code == 400
        [error] = answer.json()["errors"]
        assert error["field"] == "code_challenge_method"

    @pytest.mark.parametrize("max_age", [0, 600])
    async def test_passes_the_largest_age_on(self, gateway: Gateway, max_age: int) -> None:
        await gateway.http.get(f"/auth/google/start?max_age={max_age}")
        await gateway.http.get("/auth/google/start")
        with_age, without = gateway.auth.starts
        assert (with_age.HasField("max_age_seconds"), with_age.max_age_seconds) == (True, max_age)
        assert not without.HasField("max_age_seconds")

    @pytest.mark.parametrize("max_age", ["-1", "soon", "1e3", "2147483648"])
    async def test_refuses_an_age_that_is_no_number_of_seconds(self, gateway: Gateway, max_age: str) -> None:
        answer = await gateway.http.get(f"/auth/google/start?max_age={max_age}")
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")

    async def test_of_an_unknown_provider_is_a_problem(self, gateway: Gateway) -> None:
        answer = await gateway.http.get("/auth/acme/start")
        assert (answer.status_code, answer.json()["code"]) == (400, "unknown_provider")


class TestCallback:
    async def complete(self, gateway: Gateway, query: str) -> dict[str, list[str]]:
        answer = await gateway.http.get(f"/auth/google/callback?{query}")
        assert answer.status_code == 303
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "no-referrer"
        target = urlsplit(answer.headers["location"])
        assert (target.scheme, target.netloc, target.path, target.fragment) == (
            "https",
            "app.example",
            "/signed-in",
            "top",
        )
        query_of_frontend = parse_qs(target.query)
        assert query_of_frontend.pop("lang") == ["ru"]
        return query_of_frontend

    async def test_sends_the_browser_to_the_frontend_with_a_new_state(self, gateway: Gateway) -> None:
        started = (await gateway.http.get("/auth/google/start")).json()["state"]
        query = await self.complete(
            gateway, f"state={started}&code=4%2Fabc&iss=https%3A%2F%2Fprovider.example&authuser=0&hd=x"
        )
        [login_code] = query["state"]
        assert login_code in gateway.auth.login_codes
        assert login_code != started
        [completion] = gateway.auth.completions
        assert (completion.code, completion.iss) == ("4/abc", "https://provider.example")

    @pytest.mark.parametrize(
        "header",
        [
            {"Sec-Purpose": "prefetch"},
            {"Sec-Purpose": "prefetch;prerender;anonymous-client-ip"},
            {"Purpose": "Prefetch"},
            {"X-Purpose": "preview"},
            {"X-Moz": "prefetch"},
        ],
    )
    async def test_leaves_the_sign_in_alone_when_the_browser_only_speculates(
        self, gateway: Gateway, header: dict[str, str]
    ) -> None:
        state = (await gateway.http.get("/auth/google/start")).json()["state"]
        path = f"/auth/google/callback?state={state}&code=4"
        answer = await gateway.http.get(path, headers=header)
        assert (answer.status_code, answer.content, answer.headers["cache-control"]) == (204, b"", "no-store")
        assert gateway.auth.completions == []
        assert (await self.complete(gateway, f"state={state}&code=4")).keys() == {"state"}

    async def test_completes_the_sign_in_of_a_navigation(self, gateway: Gateway) -> None:
        headers = {"Sec-Purpose": "", "Sec-Fetch-Mode": "navigate"}
        answer = await gateway.http.get("/auth/google/callback?state=1", headers=headers)
        assert answer.status_code == 303

    async def test_with_a_forged_state_ends_at_the_frontend_with_an_error(self, gateway: Gateway) -> None:
        assert await self.complete(gateway, "state=forged&code=x") == {"error": ["invalid_state"]}

    async def test_without_any_parameter_ends_at_the_frontend_with_an_error(self, gateway: Gateway) -> None:
        assert await self.complete(gateway, "") == {"error": ["invalid_state"]}

    async def test_tolerates_repeated_and_broken_parameters(self, gateway: Gateway) -> None:
        assert await self.complete(gateway, "state=a&state=b&code=%ff%00&error=") == {"error": ["invalid_state"]}

    async def test_passes_the_providers_error_to_auth_and_not_to_the_frontend(self, gateway: Gateway) -> None:
        gateway.auth.outcome = auth_pb2.CompleteSignInResponse(error="access_denied")
        query = await self.complete(gateway, "state=x&error=%3Cscript%3E&error_description=secret")
        assert query == {"error": ["access_denied"]}
        [completion] = gateway.auth.completions
        assert completion.error == "<script>"

    @pytest.mark.parametrize("name", ["redirect_uri", "redirect", "next", "return_to", "url", "frontend_redirect_url"])
    async def test_redirects_to_the_configured_frontend_only(self, gateway: Gateway, name: str) -> None:
        evil = f"{name}=https%3A%2F%2Fevil.example"
        started = (await gateway.http.get("/auth/google/start")).json()
        headers = {"Host": "evil.example", "X-Forwarded-Host": "evil.example", "Referer": "https://evil.example"}
        answer = await gateway.http.get(
            f"/auth/google/callback?state={started['state']}&code=x&{evil}", headers=headers
        )
        assert urlsplit(answer.headers["location"]).netloc == "app.example"
        assert "evil" not in answer.headers["location"]

    async def test_may_send_the_browser_to_the_provider_once_more(self, gateway: Gateway) -> None:
        again = "https://provider.example/auth?prompt=consent"
        gateway.auth.outcome = auth_pb2.CompleteSignInResponse(authorization_url=again)
        answer = await gateway.http.get("/auth/google/callback?state=x&code=y")
        assert (answer.status_code, answer.headers["location"]) == (303, again)

    @pytest.mark.parametrize("kind", [Kind.UNAVAILABLE, Kind.TIMEOUT, Kind.INTERNAL])
    async def test_leaves_no_browser_at_a_problem_document(self, gateway: Gateway, kind: Kind) -> None:
        gateway.auth.failure = AppError(kind, "whatever", "Auth cannot.")
        assert await self.complete(gateway, "state=x&code=y") == {"error": ["service_unavailable"]}

    async def test_of_an_unknown_provider_is_a_problem(self, gateway: Gateway) -> None:
        answer = await gateway.http.get("/auth/acme/callback?state=x")
        assert (answer.status_code, answer.json()["code"]) == (400, "unknown_provider")


class TestToken:
    async def test_gives_a_session_that_works(self, gateway: Gateway) -> None:
        answer = await gateway.http.post("/auth/token", json={"state": gateway.auth.login_code("ada")})
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "no-store"
        body = answer.json()
        assert body["token_type"] == "Bearer"
        assert 890 <= body["expires_in"] <= 900
        headers = {"Authorization": f"Bearer {body['access_token']}"}
        assert (await gateway.http.get("/emails/addresses", headers=headers)).status_code == 200

    async def test_gives_a_refresh_token(self, gateway: Gateway) -> None:
        answer = await gateway.http.post("/auth/token", json={"state": gateway.auth.login_code("ada")})
        assert answer.json().keys() == {"access_token", "token_type", "expires_in", "refresh_token"}
        assert gateway.auth.refresh_tokens == {answer.json()["refresh_token"]: "ada"}

    async def test_makes_mail_learn_of_the_sign_in(self, gateway: Gateway) -> None:
        await gateway.http.post("/auth/token", json={"state": gateway.auth.login_code("ada")})
        assert gateway.mail.refreshed == ["ada"]

    async def test_needs_no_mail(self, gateway: Gateway) -> None:
        gateway.mail.failure = AppError(Kind.INTERNAL, "internal", "Mail cannot.")
        with structlog.testing.capture_logs() as logs:
            answer = await gateway.http.post("/auth/token", json={"state": gateway.auth.login_code("ada")})
        assert answer.status_code == 200
        assert "mail was not told of a sign-in" in [entry["event"] for entry in logs]

    async def test_that_is_refused_tells_mail_nothing(self, gateway: Gateway) -> None:
        assert (await gateway.http.post("/auth/token", json={"state": "x"})).status_code == 400
        assert gateway.mail.refreshed == []

    async def test_works_once(self, gateway: Gateway) -> None:
        login_code = gateway.auth.login_code("ada")
        assert (await gateway.http.post("/auth/token", json={"state": login_code})).status_code == 200
        answer = await gateway.http.post("/auth/token", json={"state": login_code})
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_hand_off")

    @pytest.mark.parametrize(
        "body",
        [{}, {"state": None}, {"state": 5}, {"state": ""}, {"state": ["x"]}, {"state": "x" * 600}, [], "x", 5, None],
    )
    async def test_refuses_a_body_of_wrong_types(self, gateway: Gateway, body: object) -> None:
        answer = await gateway.http.post("/auth/token", json=body)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")

    async def test_refuses_a_lone_surrogate(self, gateway: Gateway) -> None:
        headers = {"Content-Type": "application/json"}
        answer = await gateway.http.post("/auth/token", content=rb'{"state": "\ud83d"}', headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")


class TestLink:
    async def test_starts_with_the_access_token_of_the_user(self, gateway: Gateway) -> None:
        answer = await gateway.http.get("/auth/google/start", headers=gateway.as_user("ada"))
        assert gateway.auth.links == {answer.json()["state"]: "ada"}

    @pytest.mark.parametrize(
        ("authorization", "code"),
        [
            ("Bearer expired", "invalid_token"),
            ("Bearer ", "missing_token"),
            ("", "missing_token"),
            ("Basic YTpi", "missing_token"),
        ],
    )
    async def test_does_not_start_as_a_sign_in_when_the_access_token_is_bad(
        self, gateway: Gateway, authorization: str, code: str
    ) -> None:
        answer = await gateway.http.get("/auth/google/start", headers={"Authorization": authorization})
        assert (answer.status_code, answer.json()["code"]) == (401, code)
        assert gateway.auth.links == {}

    async def test_is_committed_for_the_user_of_the_access_token_whose_session_goes_on(self, gateway: Gateway) -> None:
        gateway.auth.linked_account_id = "account"
        headers = gateway.as_user("ada")
        body = {"state": gateway.auth.login_code("ada")}
        answer = await gateway.http.post("/auth/token", json=body, headers=headers)
        token = answer.json()
        assert answer.status_code == 200
        assert f"Bearer {token['access_token']}" == headers["Authorization"]
        assert 890 <= token["expires_in"] <= 900
        assert token["account_id"] == "account"
        assert "refresh_token" not in token
        [redemption] = gateway.auth.redemptions
        assert redemption.user_id == "ada"
        assert (gateway.mail.refreshed, gateway.mail.refreshed_accounts) == (["ada"], ["account"])

    async def test_does_not_fail_without_mail(self, gateway: Gateway) -> None:
        gateway.auth.linked_account_id = "account"
        gateway.mail.failure = service_unavailable()
        body = {"state": gateway.auth.login_code("ada")}
        answer = await gateway.http.post("/auth/token", json=body, headers=gateway.as_user("ada"))
        assert (answer.status_code, answer.json()["account_id"]) == (200, "account")

    async def test_is_refused_while_the_mailbox_is_being_disconnected(self, gateway: Gateway) -> None:
        gateway.auth.linked_account_id = "account"
        gateway.mail.is_disconnecting = True
        body = {"state": gateway.auth.login_code("ada")}
        answer = await gateway.http.post("/auth/token", json=body, headers=gateway.as_user("ada"))
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_hand_off")
        assert "being disconnected" in answer.json()["detail"]

    async def test_uses_nothing_up_when_the_access_token_is_bad(self, gateway: Gateway) -> None:
        login_code = gateway.auth.login_code("ada")
        headers = {"Authorization": "Bearer expired"}
        answer = await gateway.http.post("/auth/token", json={"state": login_code}, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token")
        assert login_code in gateway.auth.login_codes
