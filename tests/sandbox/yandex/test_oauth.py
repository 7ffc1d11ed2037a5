"""The stand-in for Yandex ID, from consent to revocation, by the rules of Yandex's pages."""

import base64

import httpx
import pytest

from services.sandbox.settings import DEV_CLIENT_ID, DEV_CLIENT_SECRET
from services.sandbox.yandex.grants import CODE_LIFETIME
from tests.support.sandbox.harness import SandboxClient
from tests.support.sandbox.yandex_client import DEVICE, SCOPE, YandexClient, redirect_params

YEAR = 31_536_000


@pytest.fixture
def yandex(sandbox: SandboxClient) -> YandexClient:
    return YandexClient(sandbox.http)


def refusal(answer: httpx.Response) -> tuple[int, str]:
    """Return status and error of an OAuth error."""
    return answer.status_code, answer.json()["error"]


class TestAuthorize:
    async def test_redirects_with_a_code_and_the_state(self, yandex: YandexClient) -> None:
        params = redirect_params(await yandex.authorize())
        assert params["state"] == "a state/with+signs"
        assert len(params["code"]) == 16

    async def test_asks_for_an_account_then_for_consent(self, yandex: YandexClient) -> None:
        assert "ada@example.com" in (await yandex.visit()).text
        page = (await yandex.authorize({"account": "ada@example.com"})).text
        assert "Reading messages in the mailbox over IMAP" in page

    async def test_lets_the_signed_in_account_return_at_once_unless_confirmation_is_forced(
        self, yandex: YandexClient
    ) -> None:
        await yandex.code()
        assert "code" in redirect_params(await yandex.visit())
        assert (await yandex.visit(scope="mail:smtp")).status_code == 200
        forced = await yandex.visit(force_confirm="yes")
        assert forced.status_code == 200
        assert "grace@example.org" in forced.text

    async def test_says_that_the_user_refused(self, yandex: YandexClient) -> None:
        params = redirect_params(await yandex.authorize({"decision": "deny"}))
        assert params["error"] == "access_denied"

    async def test_says_that_the_client_is_under_moderation(self, yandex: YandexClient) -> None:
        await yandex.control("PUT", "users/ada@example.com/yandex", {"authorize_error": "unauthorized_client"})
        assert redirect_params(await yandex.authorize())["error"] == "unauthorized_client"

    async def test_refuses_unknown_scopes_as_a_whole(self, yandex: YandexClient) -> None:
        assert redirect_params(await yandex.authorize(scope="login:email made:up"))["error"] == "invalid_scope"

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("client_id", "unknown"),
            ("redirect_uri", "https://elsewhere.example/callback"),
            ("redirect_uri", None),
            ("response_type", "token"),
            ("state", "s" * 1025),
            ("device_id", "short"),
            ("device_id", "d" * 51),
            ("code_challenge", "short"),
            ("code_challenge_method", "S512"),
        ],
    )
    async def test_shows_other_errors_on_a_page(self, yandex: YandexClient, name: str, value: str | None) -> None:
        answer = await yandex.authorize(**{name: value})
        assert answer.status_code == 400
        assert "The request is invalid" in answer.text

    async def test_takes_the_first_registered_address_by_default(self, yandex: YandexClient) -> None:
        uri = "http://localhost:8000/auth/yandex/callback"
        await yandex.control("PUT", "clients/other", {"client_secret": "s", "redirect_uris": [uri]})
        assert "code" in redirect_params(await yandex.authorize(client_id="other", redirect_uri=None))

    async def test_grants_optional_scopes_singly_and_names_the_scope_if_it_is_narrower(
        self, yandex: YandexClient
    ) -> None:
        assert "scope" not in await yandex.sign_in(optional_scope="login:info")
        form = {"account": "ada@example.com", "decision": "allow", "scope": ""}
        code = redirect_params(await yandex.authorize(form, optional_scope="login:info mail:smtp"))["code"]
        assert (await yandex.exchange(code)).json()["scope"] == SCOPE


class TestExchange:
    async def test_brings_two_tokens_for_a_year(self, yandex: YandexClient) -> None:
        tokens = await yandex.sign_in()
        assert tokens["token_type"] == "bearer"
        assert tokens["access_token"].startswith("y0_")
        assert YEAR - 5 <= tokens["expires_in"] <= YEAR
        assert tokens["refresh_token"]
        assert "id_token" not in tokens

    async def test_takes_a_code_once(self, yandex: YandexClient) -> None:
        code = await yandex.code()
        assert (await yandex.exchange(code)).status_code == 200
        assert refusal(await yandex.exchange(code)) == (400, "invalid_grant")

    async def test_takes_a_code_for_ten_minutes(self, yandex: YandexClient, sandbox: SandboxClient) -> None:
        code = await yandex.code()
        sandbox.clock.advance(CODE_LIFETIME)
        assert refusal(await yandex.exchange(code)) == (400, "invalid_grant")

    async def test_demands_the_verifier_of_the_challenge(self, yandex: YandexClient) -> None:
        assert refusal(await yandex.exchange(await yandex.code(), code_verifier="w" * 64)) == (400, "invalid_grant")
        assert refusal(await yandex.exchange(await yandex.code(), code_verifier="")) == (400, "invalid_grant")

    @pytest.mark.parametrize(
        ("form", "error"),
        [
            ({"grant_type": ""}, (400, "invalid_request")),
            ({"grant_type": "password"}, (400, "unsupported_grant_type")),
            ({"code": ""}, (400, "invalid_request")),
            ({"code": "not a code"}, (400, "bad_verification_code")),
            ({"code": "abcdefghijklmnop"}, (400, "invalid_grant")),
            ({"client_id": "unknown"}, (401, "invalid_client")),
            ({"client_secret": "wrong"}, (401, "invalid_client")),
        ],
    )
    async def test_refuses_with_yandexs_error_names(
        self, yandex: YandexClient, form: dict[str, str], error: tuple[int, str]
    ) -> None:
        usual = {"grant_type": "authorization_code", "code": await yandex.code()}
        assert refusal(await yandex.token(usual | form)) == error

    async def test_takes_the_secret_from_a_header_which_wins_over_the_form(self, yandex: YandexClient) -> None:
        pair = base64.b64encode(f"{DEV_CLIENT_ID}:{DEV_CLIENT_SECRET}".encode()).decode()
        form = {"grant_type": "authorization_code", "code": await yandex.code(code_challenge=None), "client_id": "x"}
        assert (await yandex.token(form, Authorization=f"Basic {pair}")).status_code == 200

    @pytest.mark.parametrize(
        ("header", "error"),
        [("Bearer x", "Basic auth required"), ("Basic ???", "Malformed Authorization header")],
    )
    async def test_has_error_names_with_spaces(self, yandex: YandexClient, header: str, error: str) -> None:
        form = {"grant_type": "authorization_code", "code": "abcdefghijklmnop"}
        assert refusal(await yandex.token(form, Authorization=header)) == (400, error)


class TestRefresh:
    async def test_rotates_the_refresh_token_and_keeps_a_young_access_token(self, yandex: YandexClient) -> None:
        first = await yandex.sign_in()
        second = (await yandex.refresh(first["refresh_token"])).json()
        assert second["access_token"] == first["access_token"]
        assert second["refresh_token"] != first["refresh_token"]
        assert refusal(await yandex.refresh(first["refresh_token"])) == (400, "invalid_grant")

    async def test_brings_another_access_token_after_three_months(
        self, yandex: YandexClient, sandbox: SandboxClient
    ) -> None:
        first = await yandex.sign_in()
        sandbox.clock.advance(91 * 86_400)
        second = (await yandex.refresh(first["refresh_token"])).json()
        assert second["access_token"] != first["access_token"]
        assert (await yandex.info(first["access_token"])).status_code == 401

    async def test_is_too_late_after_a_year(self, yandex: YandexClient, sandbox: SandboxClient) -> None:
        tokens = await yandex.sign_in()
        sandbox.clock.advance(YEAR)
        assert refusal(await yandex.refresh(tokens["refresh_token"])) == (400, "expired_token")


class TestDevices:
    async def test_their_tokens_can_be_revoked(self, yandex: YandexClient) -> None:
        tokens = await yandex.sign_in()
        assert (await yandex.revoke(tokens["access_token"])).json() == {"status": "ok"}
        assert (await yandex.info(tokens["access_token"])).status_code == 401
        assert refusal(await yandex.refresh(tokens["refresh_token"])) == (400, "invalid_grant")

    async def test_a_token_without_one_cannot_be_revoked(self, yandex: YandexClient) -> None:
        tokens = await yandex.sign_in(device_id=None)
        assert refusal(await yandex.revoke(tokens["access_token"])) == (400, "unsupported_token_type")
        assert (await yandex.info(tokens["access_token"])).status_code == 200

    async def test_may_be_named_at_the_exchange_instead(self, yandex: YandexClient) -> None:
        code = await yandex.code(device_id=None)
        tokens = (await yandex.exchange(code, device_id=DEVICE)).json()
        assert (await yandex.revoke(tokens["access_token"])).json() == {"status": "ok"}

    async def test_the_oldest_of_more_than_twenty_dies(self, yandex: YandexClient) -> None:
        tokens = [await yandex.sign_in(device_id=f"device {n}") for n in range(21)]
        alive = [(await yandex.info(token["access_token"])).status_code for token in tokens]
        assert alive == [401] + [200] * 20

    async def test_a_further_token_of_one_replaces_the_one_before(self, yandex: YandexClient) -> None:
        first, second = await yandex.sign_in(), await yandex.sign_in()
        assert (await yandex.info(first["access_token"])).status_code == 401
        assert (await yandex.info(second["access_token"])).status_code == 200
        await yandex.control("PATCH", "yandex", {"same_device": "adds"})
        await yandex.sign_in()
        assert (await yandex.info(second["access_token"])).status_code == 200


class TestUserinfo:
    async def test_tells_the_id_and_what_the_scopes_cover(self, yandex: YandexClient) -> None:
        narrow = (await yandex.info((await yandex.sign_in())["access_token"])).json()
        assert narrow["id"].isdigit()
        assert narrow["default_email"] == "ada@example.com"
        assert narrow["client_id"] == DEV_CLIENT_ID
        assert "display_name" not in narrow
        wide = (await yandex.info((await yandex.sign_in(scope="login:info"))["access_token"])).json()
        assert (wide["id"], wide["first_name"]) == (narrow["id"], "Ada")
        assert "default_email" not in wide

    async def test_refuses_the_scheme_bearer(self, yandex: YandexClient) -> None:
        token = (await yandex.sign_in())["access_token"]
        assert (await yandex.info(token, scheme="Bearer")).status_code == 401


class TestControl:
    @pytest.mark.parametrize("path", ["revoke", "password"])
    async def test_ends_tokens_at_all_providers(self, yandex: YandexClient, sandbox: SandboxClient, path: str) -> None:
        google, tokens = await sandbox.sign_in(), await yandex.sign_in()
        await yandex.control("POST", f"users/ada@example.com/{path}")
        assert (await yandex.info(tokens["access_token"])).status_code == 401
        assert refusal(await yandex.refresh(tokens["refresh_token"])) == (400, "invalid_grant")
        assert (await sandbox.userinfo(google["access_token"])).status_code == 401

    async def test_expires_access_tokens_which_a_refresh_then_replaces(self, yandex: YandexClient) -> None:
        tokens = await yandex.sign_in()
        assert await yandex.control("POST", "users/ada@example.com/tokens/expire") == {"expired": 1}
        assert (await yandex.info(tokens["access_token"])).status_code == 401
        renewed = (await yandex.refresh(tokens["refresh_token"])).json()
        assert (await yandex.info(renewed["access_token"])).status_code == 200

    async def test_ends_the_tokens_of_a_removed_user(self, yandex: YandexClient) -> None:
        tokens = await yandex.sign_in()
        await yandex.control("DELETE", "users/ada@example.com")
        await yandex.control("POST", "users", {"email": "ada@example.com"})
        assert (await yandex.info(tokens["access_token"])).status_code == 401

    async def test_plans_faults(self, yandex: YandexClient) -> None:
        rules = [
            {"method": "yandex.token", "kind": "error", "status": 400, "reason": "invalid_scope", "count": 1},
            {"method": "yandex.info", "kind": "html_503", "user": "ada@example.com"},
        ]
        await yandex.control("PUT", "faults", {"rules": rules})
        assert refusal(await yandex.exchange(await yandex.code())) == (400, "invalid_scope")
        tokens = await yandex.sign_in()
        assert (await yandex.info(tokens["access_token"])).status_code == 503
        calls = await yandex.control("GET", "calls")
        assert calls["methods"]["yandex.token"]["by_status"] == {"200": 1, "400": 1}
