"""The authorization endpoint, for a browser and for a single form post."""

import re

import pytest

from services.sandbox.settings import DEV_CLIENT_ID
from tests.support.sandbox.harness import GMAIL, ISSUER, REDIRECT_URI, VERIFIER, SandboxClient, redirect_params

MODIFY = "https://www.googleapis.com/auth/gmail.modify"


class TestPages:
    async def test_a_visitor_chooses_among_the_accounts(self, sandbox: SandboxClient) -> None:
        page = await sandbox.visit()
        assert page.status_code == 200
        assert 'value="ada@example.com"' in page.text
        assert 'value="grace@example.org"' in page.text

    async def test_choosing_an_account_leads_to_the_scopes(self, sandbox: SandboxClient) -> None:
        page = await sandbox.authorize({"account": "ada@example.com"})
        assert page.status_code == 200
        assert re.findall('type=checkbox name=scope value="([^"]+)"', page.text) == [GMAIL]
        assert "View your email messages and settings" in page.text

    async def test_an_account_that_granted_everything_is_not_asked_again(self, sandbox: SandboxClient) -> None:
        await sandbox.authorize()
        params = redirect_params(await sandbox.authorize({"account": "ada@example.com"}))
        assert params["prompt"] == "none"
        assert (await sandbox.authorize({"account": "ada@example.com"}, prompt="consent")).status_code == 200

    async def test_a_login_hint_skips_the_choice(self, sandbox: SandboxClient) -> None:
        assert "checkbox" in (await sandbox.visit(login_hint="Grace@Example.org")).text
        assert "checkbox" not in (await sandbox.visit(login_hint="nobody@example.org")).text
        assert "checkbox" not in (await sandbox.visit(login_hint="grace@example.org", prompt="select_account")).text

    async def test_a_hosted_domain_narrows_the_choice(self, sandbox: SandboxClient) -> None:
        await sandbox.http.post("/_sandbox/users", json={"email": "lin@corp.example", "hd": "corp.example"})
        page = await sandbox.visit(hd="corp.example")
        assert "lin@corp.example" in page.text
        assert "ada@example.com" not in page.text

    async def test_an_unknown_account_is_named_on_the_page(self, sandbox: SandboxClient) -> None:
        page = await sandbox.authorize({"account": "<nobody@example.com>", "decision": "allow"})
        assert page.status_code == 400
        assert "&lt;nobody@example.com&gt;" in page.text

    async def test_pages_cannot_be_framed_cached_or_scripted(self, sandbox: SandboxClient) -> None:
        headers = (await sandbox.visit()).headers
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["cache-control"] == "no-store"
        assert headers["referrer-policy"] == "no-referrer"


class TestCallback:
    async def test_it_carries_state_code_scopes_and_extras(self, sandbox: SandboxClient) -> None:
        params = redirect_params(await sandbox.authorize())
        assert params["state"] == "a state/with+signs"
        assert params["iss"] == ISSUER
        assert params["code"].startswith("4/0")
        assert (params["authuser"], params["prompt"]) == ("0", "consent")
        assert {"openid", "email", "https://www.googleapis.com/auth/userinfo.email", GMAIL} <= set(
            params["scope"].split()
        )

    async def test_a_workspace_user_brings_the_domain(self, sandbox: SandboxClient) -> None:
        await sandbox.http.post("/_sandbox/users", json={"email": "lin@corp.example", "hd": "corp.example"})
        form = {"account": "lin@corp.example", "decision": "allow"}
        assert redirect_params(await sandbox.authorize(form))["hd"] == "corp.example"

    async def test_some_users_come_back_without_iss(self, sandbox: SandboxClient) -> None:
        await sandbox.treat(iss=False)
        assert "iss" not in redirect_params(await sandbox.authorize())

    async def test_a_query_in_the_redirect_uri_is_kept(self, sandbox: SandboxClient) -> None:
        params = redirect_params(await sandbox.authorize(redirect_uri=f"{REDIRECT_URI}?tenant=7"))
        assert (params["tenant"], params["state"]) == ("7", "a state/with+signs")

    async def test_cancelling_says_access_denied(self, sandbox: SandboxClient) -> None:
        for form in ({"decision": "deny"}, {"account": "ada@example.com", "decision": "deny"}):
            params = redirect_params(await sandbox.authorize(form))
            assert params == {"error": "access_denied", "state": "a state/with+signs", "iss": ISSUER}

    async def test_a_policy_can_refuse_a_user(self, sandbox: SandboxClient) -> None:
        await sandbox.treat(authorize_error="admin_policy_enforced")
        assert redirect_params(await sandbox.authorize())["error"] == "admin_policy_enforced"


class TestGranularConsent:
    async def test_an_unticked_scope_is_missing_from_callback_and_token(self, sandbox: SandboxClient) -> None:
        form = {"account": "ada@example.com", "decision": "allow", "scope": ["", GMAIL]}
        params = redirect_params(await sandbox.authorize(form, scope=f"openid email {GMAIL} {MODIFY}"))
        assert GMAIL in params["scope"].split()
        assert MODIFY not in params["scope"].split()
        tokens = (await sandbox.exchange(params["code"])).json()
        assert MODIFY not in tokens["scope"].split()

    async def test_signing_in_cannot_be_unticked(self, sandbox: SandboxClient) -> None:
        form = {"account": "ada@example.com", "decision": "allow", "scope": ""}
        params = redirect_params(await sandbox.authorize(form))
        assert "openid" in params["scope"].split()
        assert GMAIL not in params["scope"].split()

    async def test_a_scope_that_was_not_requested_cannot_be_ticked(self, sandbox: SandboxClient) -> None:
        form = {"account": "ada@example.com", "decision": "allow", "scope": MODIFY}
        assert MODIFY not in redirect_params(await sandbox.authorize(form))["scope"]

    async def test_unticking_every_scope_denies_access(self, sandbox: SandboxClient) -> None:
        form = {"account": "ada@example.com", "decision": "allow", "scope": ""}
        assert redirect_params(await sandbox.authorize(form, scope=GMAIL))["error"] == "access_denied"

    async def test_an_incremental_request_brings_earlier_scopes_along(self, sandbox: SandboxClient) -> None:
        await sandbox.sign_in()
        plain = await sandbox.sign_in(scope="openid")
        assert plain["scope"] == "openid"
        joint = await sandbox.sign_in(scope="openid", include_granted_scopes="true")
        assert GMAIL in joint["scope"].split()


class TestSilence:
    async def test_without_a_signed_in_user_login_is_required(self, sandbox: SandboxClient) -> None:
        assert redirect_params(await sandbox.visit(prompt="none"))["error"] == "login_required"

    async def test_a_missing_grant_means_consent_required(self, sandbox: SandboxClient) -> None:
        params = redirect_params(await sandbox.visit(prompt="none", login_hint="ada@example.com"))
        assert params["error"] == "consent_required"

    async def test_the_browser_of_a_user_who_granted_passes(self, sandbox: SandboxClient) -> None:
        await sandbox.authorize()
        params = redirect_params(await sandbox.visit(prompt="none"))
        assert "refresh_token" not in (await sandbox.exchange(params["code"])).json()


class TestRefusalsOnThePage:
    @pytest.mark.parametrize(
        ("changes", "status", "error"),
        [
            ({"client_id": "nobody"}, 401, "invalid_client"),
            ({"client_id": None}, 400, "invalid_request"),
            ({"redirect_uri": None}, 400, "invalid_request"),
            ({"redirect_uri": "https://evil.example/callback"}, 400, "redirect_uri_mismatch"),
            ({"redirect_uri": "http://localhost.evil.example/"}, 400, "redirect_uri_mismatch"),
            ({"redirect_uri": "http://localhost@evil.example/"}, 400, "redirect_uri_mismatch"),
            ({"redirect_uri": "http://localhost:8000/#fragment"}, 400, "redirect_uri_mismatch"),
            ({"redirect_uri": "http://localhost:8000/a/../b"}, 400, "redirect_uri_mismatch"),
            ({"redirect_uri": "http://[localhost/"}, 400, "redirect_uri_mismatch"),
            ({"response_type": "token"}, 400, "unsupported_response_type"),
            ({"scope": None}, 400, "invalid_request"),
            ({"scope": "https://example.com/auth/everything"}, 400, "invalid_scope"),
            ({"prompt": "none consent"}, 400, "invalid_request"),
            ({"access_type": "always"}, 400, "invalid_request"),
            ({"code_challenge": "short"}, 400, "invalid_request"),
            ({"code_challenge": VERIFIER, "code_challenge_method": "S512"}, 400, "invalid_request"),
            ({"code_challenge_method": "S256"}, 400, "invalid_request"),
        ],
    )
    async def test_a_bad_request_never_redirects(
        self, sandbox: SandboxClient, changes: dict[str, str | None], status: int, error: str
    ) -> None:
        for answer in (await sandbox.visit(**changes), await sandbox.authorize(None, **changes)):
            assert answer.status_code == status
            assert "location" not in answer.headers
            assert f"Error: {error}" in answer.text

    async def test_a_registered_redirect_uri_is_matched_to_the_byte(self, sandbox: SandboxClient) -> None:
        body = {"client_secret": "s", "redirect_uris": [REDIRECT_URI]}
        await sandbox.http.put(f"/_sandbox/clients/{DEV_CLIENT_ID}", json=body)
        assert (await sandbox.visit()).status_code == 200
        for uri in (f"{REDIRECT_URI}/", REDIRECT_URI.upper(), f"{REDIRECT_URI}?a=b"):
            assert (await sandbox.visit(redirect_uri=uri)).status_code == 400

    async def test_a_repeated_parameter_is_refused(self, sandbox: SandboxClient) -> None:
        answer = await sandbox.http.get(f"/o/oauth2/v2/auth?client_id={DEV_CLIENT_ID}&client_id=x")
        assert answer.status_code == 400
        assert "can only have a single value" in answer.text
