"""Users, tokens, the clock and faults through the control API."""

from pathlib import Path

import httpx
import pytest

from services.kit.http.server import serve_http
from services.kit.settings import load
from services.sandbox.app import open_sandbox
from services.sandbox.clock import Clock
from services.sandbox.settings import Settings
from tests.support.sandbox.harness import SandboxClient, redirect_params, refusal
from tests.support.sandbox.key_ring import next_key


class TestUsers:
    async def test_a_created_user_can_sign_in(self, sandbox: SandboxClient) -> None:
        body = {"email": "Lin.Chen@corp.example", "name": "林 晨", "email_verified": False}
        created = await sandbox.http.post("/_sandbox/users", json=body)
        assert created.status_code == 201
        form = {"account": "lin.chen@CORP.example", "decision": "allow"}
        tokens = (await sandbox.exchange(redirect_params(await sandbox.authorize(form))["code"])).json()
        facts = (await sandbox.userinfo(tokens["access_token"])).json()
        assert facts["sub"] == created.json()["sub"]
        assert (facts["email"], facts["email_verified"]) == ("Lin.Chen@corp.example", False)
        assert (facts["name"], facts["given_name"], facts["family_name"]) == ("林 晨", "林", "晨")

    async def test_an_address_is_taken_in_any_case(self, sandbox: SandboxClient) -> None:
        assert (await sandbox.http.post("/_sandbox/users", json={"email": "ADA@example.com"})).status_code == 409

    async def test_an_address_can_change_while_the_key_stays(self, sandbox: SandboxClient) -> None:
        tokens = await sandbox.sign_in()
        before = (await sandbox.userinfo(tokens["access_token"])).json()
        await sandbox.http.patch("/_sandbox/users/ada@example.com", json={"email": "lovelace@example.com"})
        after = (await sandbox.userinfo(tokens["access_token"])).json()
        assert (after["sub"], after["email"]) == (before["sub"], "lovelace@example.com")
        assert (await sandbox.http.get("/_sandbox/users/ada@example.com")).status_code == 404

    async def test_a_removed_user_takes_the_tokens_along_and_returns_as_another(self, sandbox: SandboxClient) -> None:
        tokens = await sandbox.sign_in()
        old = (await sandbox.http.get("/_sandbox/users/ada@example.com")).json()["sub"]
        assert (await sandbox.http.delete("/_sandbox/users/ada@example.com")).status_code == 204
        assert (await sandbox.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"
        new = (await sandbox.http.post("/_sandbox/users", json={"email": "ada@example.com"})).json()["sub"]
        assert new != old

    async def test_keys_outlive_a_restart(self, sandbox: SandboxClient) -> None:
        async with (
            open_sandbox(Settings(sandbox_enabled=True, messages=0), new_key=next_key) as again,
            httpx.AsyncClient(transport=httpx.ASGITransport(again), base_url="http://again") as other,
        ):
            path = "/_sandbox/users/ada@example.com"
            assert (await other.get(path)).json()["sub"] == (await sandbox.http.get(path)).json()["sub"]

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ('{"email": "a@b.c", "colour": "red"}', "colour"),
            ('{"email": 7}', "email"),
            ('{"email": "no address"}', "email"),
            ('{"email": "a@b.c", "email_verified": "yes"}', "email_verified"),
            ('{"email": "a@b.c", "messages": -1}', "messages"),
            ("{}", "email"),
        ],
    )
    async def test_a_wrong_field_is_named(self, sandbox: SandboxClient, body: str, field: str) -> None:
        answer = await sandbox.http.post("/_sandbox/users", content=body)
        assert answer.status_code == 400
        [problem] = answer.json()["error"]["problems"]
        assert problem["field"] == field

    @pytest.mark.parametrize("body", ["{", "[]", "null", '"x"', "\ud83d".encode("utf-8", "surrogatepass")])
    async def test_a_body_that_is_no_object_is_refused(self, sandbox: SandboxClient, body: str | bytes) -> None:
        answer = await sandbox.http.post("/_sandbox/users", content=body)
        assert answer.status_code == 400
        assert answer.json()["error"]["message"]

    async def test_an_unknown_user_or_path_is_404_in_json(self, sandbox: SandboxClient) -> None:
        for path in ("/_sandbox/users/nobody@example.com", "/_sandbox/nothing"):
            answer = await sandbox.http.get(path)
            assert answer.status_code == 404
            assert answer.json()["error"]["status"] == 404


class TestTokens:
    async def test_expiring_ends_access_but_not_refresh(self, sandbox: SandboxClient) -> None:
        tokens = await sandbox.sign_in()
        answer = await sandbox.http.post("/_sandbox/users/ada@example.com/tokens/expire")
        assert answer.json() == {"expired": 1}
        assert (await sandbox.userinfo(tokens["access_token"])).status_code == 401
        assert (await sandbox.refresh(tokens["refresh_token"])).status_code == 200

    async def test_unknown_fields_can_be_sent_to_clients(self, sandbox: SandboxClient) -> None:
        await sandbox.treat(extra_fields=True)
        tokens = await sandbox.sign_in()
        assert "sandbox_unknown_field" in tokens
        assert "sandbox_unknown_field" in (await sandbox.userinfo(tokens["access_token"])).json()


class TestClock:
    async def test_it_moves_forward_only(self, sandbox: SandboxClient) -> None:
        before = (await sandbox.http.get("/_sandbox/clock")).json()["now"]
        after = (await sandbox.http.post("/_sandbox/clock/advance", json={"seconds": 86400})).json()["now"]
        assert after - before >= 86400
        for seconds in ("-1", "1e999", '"5"'):
            answer = await sandbox.http.post("/_sandbox/clock/advance", content=f'{{"seconds": {seconds}}}')
            assert answer.status_code == 400


class TestSettings:
    def test_it_refuses_to_start_by_accident(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.delenv("SANDBOX_ENABLED", raising=False)
        with pytest.raises(SystemExit, match="2"):
            load(Settings)
        [line] = capsys.readouterr().err.splitlines()
        assert line.startswith("SANDBOX_ENABLED: ")

    def test_a_wrong_variable_is_named(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("SANDBOX_ENABLED", "true")
        monkeypatch.setenv("SANDBOX_QUOTA_PROFILE", "generous")
        with pytest.raises(SystemExit, match="2"):
            load(Settings)
        [line] = capsys.readouterr().err.splitlines()
        assert line.startswith("SANDBOX_QUOTA_PROFILE: ")

    def test_lists_come_with_commas(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("SANDBOX_ENABLED", "true")
        monkeypatch.setenv("SANDBOX_USERS", "a@b.c, d@e.f,")
        monkeypatch.setenv("SANDBOX_PORT", "8123")
        settings = load(Settings)
        assert settings.users == ("a@b.c", "d@e.f")
        assert settings.issuer == "http://localhost:8123"


class TestServer:
    async def test_the_whole_flow_works_over_a_socket(self) -> None:
        async with (
            open_sandbox(Settings(sandbox_enabled=True, messages=0), new_key=next_key) as app,
            serve_http(app, host="127.0.0.1", port=0) as port,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http,
        ):
            sandbox = SandboxClient(http, Clock())
            assert (await http.get("/readyz")).status_code == 200
            tokens = await sandbox.sign_in()
            assert (await sandbox.userinfo(tokens["access_token"])).json()["email"] == "ada@example.com"
            assert (await sandbox.refresh(tokens["refresh_token"])).status_code == 200


class TestFaults:
    async def test_a_token_call_fails_as_planned_and_is_counted(self, sandbox: SandboxClient) -> None:
        tokens = await sandbox.sign_in()
        rule = {"method": "oauth.token", "kind": "error", "status": 503, "count": 1, "user": "ada@example.com"}
        assert (await sandbox.http.put("/_sandbox/faults", json={"rules": [rule]})).status_code == 200
        failed = await sandbox.refresh(tokens["refresh_token"])
        assert refusal(failed) == (503, "internal_failure", "Backend Error")
        assert (await sandbox.refresh(tokens["refresh_token"])).status_code == 200
        assert (await sandbox.http.get("/_sandbox/faults")).json()["rules"][0]["fired"] == 1
        assert (await sandbox.http.get("/_sandbox/calls")).json()["methods"]["oauth.token"]["by_status"] == {
            "200": 2,
            "503": 1,
        }

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("oauth.jwks", "/oauth2/v3/certs"),
            ("oauth.discovery", "/.well-known/openid-configuration"),
            ("oauth.userinfo", "/v1/userinfo"),
            ("oauth.tokeninfo", "/tokeninfo"),
            ("oauth.revoke", "/revoke"),
        ],
    )
    async def test_every_address_can_answer_the_front_ends_html(
        self, sandbox: SandboxClient, method: str, path: str
    ) -> None:
        await sandbox.http.put("/_sandbox/faults", json={"rules": [{"method": method, "kind": "html_503"}]})
        answer = await sandbox.http.get(path)
        assert answer.status_code == 503
        assert answer.text.startswith("<!DOCTYPE html>")

    async def test_a_lost_revocation_has_happened(self, sandbox: SandboxClient) -> None:
        tokens = await sandbox.sign_in()
        await sandbox.http.put(
            "/_sandbox/faults", json={"rules": [{"method": "oauth.revoke", "kind": "lost_response"}]}
        )
        with pytest.raises(ConnectionResetError):
            await sandbox.http.post("/revoke", data={"token": tokens["refresh_token"]})
        assert (await sandbox.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"
