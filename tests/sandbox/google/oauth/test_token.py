"""The token endpoint: exchanges, refreshes, revocation, and Google's words for every refusal."""

import base64
from datetime import UTC, datetime
from typing import Any

import httpx
import jwt
import pytest
from cryptography import x509

from services.sandbox.google.oauth.grants import CODE_LIFETIME, TESTING_LIFETIME, UNUSED_LIFETIME
from services.sandbox.settings import DEV_CLIENT_ID, DEV_CLIENT_SECRET
from tests.support.sandbox.harness import (
    CHALLENGE,
    CLIENT,
    GMAIL,
    ISSUER,
    REDIRECT_URI,
    VERIFIER,
    SandboxClient,
    refusal,
)

EXPIRED = (400, "invalid_grant", "Token has been expired or revoked.")
BAD_REQUEST = (400, "invalid_grant", "Bad Request")


async def signing_keys(sandbox: SandboxClient) -> dict[str, jwt.PyJWK]:
    keys = jwt.PyJWKSet.from_dict((await sandbox.http.get("/oauth2/v3/certs")).json())
    return {key.key_id: key for key in keys.keys if key.key_id}


async def verified_claims(sandbox: SandboxClient, id_token: str) -> dict[str, Any]:
    key = (await signing_keys(sandbox))[jwt.get_unverified_header(id_token)["kid"]]
    return jwt.decode(id_token, key, algorithms=["RS256"], audience=DEV_CLIENT_ID, issuer=ISSUER)


class TestExchange:
    async def test_a_first_offline_consent_gives_every_token(self, sandbox: SandboxClient) -> None:
        tokens = await sandbox.sign_in(nonce="n-1")
        assert tokens["access_token"].startswith("ya29.")
        assert tokens["refresh_token"].startswith("1//")
        assert (tokens["token_type"], tokens["expires_in"]) == ("Bearer", 3599)
        assert set(tokens["scope"].split()) == {
            "openid",
            GMAIL,
            "https://www.googleapis.com/auth/userinfo.email",
            "https://www.googleapis.com/auth/userinfo.profile",
        }
        assert "refresh_token_expires_in" not in tokens

    async def test_the_id_token_verifies_and_names_the_user(self, sandbox: SandboxClient) -> None:
        claims = await verified_claims(sandbox, (await sandbox.sign_in(nonce="n-1"))["id_token"])
        assert claims["email"] == "ada@example.com"
        assert claims["email_verified"] is True
        assert claims["nonce"] == "n-1"
        assert claims["azp"] == DEV_CLIENT_ID
        assert 0 <= claims["iat"] - claims["auth_time"] < 60
        assert claims["sub"].isdecimal()
        assert int(claims["sub"]) > 2**53

    async def test_the_answer_may_not_be_cached(self, sandbox: SandboxClient) -> None:
        assert "no-store" in (await sandbox.exchange(await sandbox.code())).headers["cache-control"]

    async def test_online_access_gives_no_refresh_token(self, sandbox: SandboxClient) -> None:
        assert "refresh_token" not in await sandbox.sign_in(access_type=None)

    async def test_a_second_sign_in_gives_no_refresh_token(self, sandbox: SandboxClient) -> None:
        await sandbox.sign_in()
        assert "refresh_token" not in await sandbox.sign_in()

    async def test_prompt_consent_gives_another_refresh_token(self, sandbox: SandboxClient) -> None:
        first = await sandbox.sign_in()
        again = await sandbox.sign_in(prompt="consent")
        assert again["refresh_token"] != first["refresh_token"]
        assert (await sandbox.refresh(first["refresh_token"])).status_code == 200

    async def test_without_openid_there_is_no_id_token(self, sandbox: SandboxClient) -> None:
        assert "id_token" not in await sandbox.sign_in(scope=GMAIL)

    async def test_a_code_works_once(self, sandbox: SandboxClient) -> None:
        code = await sandbox.code()
        assert (await sandbox.exchange(code)).status_code == 200
        assert refusal(await sandbox.exchange(code)) == BAD_REQUEST

    async def test_a_code_dies_of_age(self, sandbox: SandboxClient) -> None:
        code = await sandbox.code()
        sandbox.clock.advance(CODE_LIFETIME)
        assert refusal(await sandbox.exchange(code)) == BAD_REQUEST

    async def test_a_mangled_code_is_called_malformed(self, sandbox: SandboxClient) -> None:
        code = (await sandbox.code()).replace("/", "%2F")
        assert refusal(await sandbox.exchange(code)) == (400, "invalid_grant", "Malformed auth code.")

    async def test_another_redirect_uri_is_refused(self, sandbox: SandboxClient) -> None:
        answer = await sandbox.exchange(await sandbox.code(), redirect_uri=REDIRECT_URI + "/")
        assert refusal(answer) == (400, "redirect_uri_mismatch", "Bad Request")

    async def test_another_clients_code_is_refused(self, sandbox: SandboxClient) -> None:
        other = {"client_id": "1-other.apps.googleusercontent.com", "client_secret": "s"}
        await sandbox.http.put(f"/_sandbox/clients/{other['client_id']}", json={"client_secret": "s"})
        answer = await sandbox.exchange(await sandbox.code(), **other)
        assert refusal(answer) == (401, "unauthorized_client", "Unauthorized")

    @pytest.mark.parametrize("missing", ["grant_type", "code", "redirect_uri"])
    async def test_a_missing_parameter_is_named(self, sandbox: SandboxClient, missing: str) -> None:
        form = {"grant_type": "authorization_code", "code": "4/0A", "redirect_uri": REDIRECT_URI}
        del form[missing]
        assert refusal(await sandbox.token(**form)) == (
            400,
            "invalid_request",
            f"Missing required parameter: {missing}",
        )

    async def test_another_grant_type_is_refused(self, sandbox: SandboxClient) -> None:
        answer = await sandbox.token(grant_type="password")
        assert refusal(answer) == (400, "unsupported_grant_type", "Invalid grant_type: password")


class TestProofKey:
    async def test_s256_is_checked(self, sandbox: SandboxClient) -> None:
        code = await sandbox.code(code_challenge=CHALLENGE, code_challenge_method="S256")
        assert (await sandbox.exchange(code, code_verifier=VERIFIER)).status_code == 200

    async def test_the_method_is_plain_unless_named(self, sandbox: SandboxClient) -> None:
        code = await sandbox.code(code_challenge=VERIFIER)
        assert (await sandbox.exchange(code, code_verifier=VERIFIER)).status_code == 200

    async def test_a_wrong_verifier_is_refused_and_uses_up_the_code(self, sandbox: SandboxClient) -> None:
        code = await sandbox.code(code_challenge=CHALLENGE, code_challenge_method="S256")
        wrong = await sandbox.exchange(code, code_verifier="w" * 64)
        assert refusal(wrong) == (400, "invalid_grant", "Invalid code verifier.")
        assert refusal(await sandbox.exchange(code, code_verifier=VERIFIER)) == BAD_REQUEST

    async def test_a_missing_verifier_is_refused(self, sandbox: SandboxClient) -> None:
        code = await sandbox.code(code_challenge=CHALLENGE, code_challenge_method="S256")
        assert refusal(await sandbox.exchange(code)) == (400, "invalid_grant", "Missing code verifier.")

    async def test_a_verifier_without_a_challenge_is_refused(self, sandbox: SandboxClient) -> None:
        answer = await sandbox.exchange(await sandbox.code(), code_verifier=VERIFIER)
        assert refusal(answer)[:2] == (400, "invalid_grant")


class TestClientAuthentication:
    async def test_basic_credentials_are_taken(self, sandbox: SandboxClient) -> None:
        pair = base64.b64encode(f"{DEV_CLIENT_ID}:{DEV_CLIENT_SECRET}".encode()).decode()
        form = {"grant_type": "authorization_code", "code": await sandbox.code(), "redirect_uri": REDIRECT_URI}
        answer = await sandbox.http.post("/token", data=form, headers={"Authorization": f"Basic {pair}"})
        assert answer.status_code == 200

    @pytest.mark.parametrize(
        ("credentials", "expected"),
        [
            ({}, (400, "invalid_request", "Could not determine client ID from request.")),
            ({"client_id": "nobody"}, (401, "invalid_client", "The OAuth client was not found.")),
            ({"client_id": DEV_CLIENT_ID}, (400, "invalid_request", "client_secret is missing.")),
            (
                {"client_id": DEV_CLIENT_ID, "client_secret": "x"},
                (401, "invalid_client", "The provided client secret is invalid."),
            ),
        ],
    )
    async def test_bad_credentials_are_refused_in_googles_words(
        self, sandbox: SandboxClient, credentials: dict[str, str], expected: tuple[int, str, str]
    ) -> None:
        answer = await sandbox.http.post("/token", data={"grant_type": "refresh_token"} | credentials)
        assert refusal(answer) == expected

    async def test_a_deleted_client_is_refused(self, sandbox: SandboxClient) -> None:
        body = {"client_secret": DEV_CLIENT_SECRET, "deleted": True}
        await sandbox.http.put(f"/_sandbox/clients/{DEV_CLIENT_ID}", json=body)
        assert refusal(await sandbox.refresh("1//0"))[:2] == (401, "deleted_client")


class TestRefresh:
    async def test_it_gives_a_new_access_token_and_no_refresh_token(self, sandbox: SandboxClient) -> None:
        tokens = await sandbox.sign_in(nonce="n-1")
        fresh = (await sandbox.refresh(tokens["refresh_token"])).json()
        assert fresh["access_token"] != tokens["access_token"]
        assert "refresh_token" not in fresh
        assert "nonce" not in await verified_claims(sandbox, fresh["id_token"])

    async def test_it_can_narrow_the_scopes(self, sandbox: SandboxClient) -> None:
        tokens = await sandbox.sign_in()
        assert (await sandbox.refresh(tokens["refresh_token"], scope=GMAIL)).json()["scope"] == GMAIL

    async def test_it_cannot_widen_the_scopes(self, sandbox: SandboxClient) -> None:
        tokens = await sandbox.sign_in()
        answer = await sandbox.refresh(tokens["refresh_token"], scope="https://mail.google.com/")
        assert refusal(answer)[:2] == (400, "invalid_scope")

    async def test_another_clients_token_is_refused(self, sandbox: SandboxClient) -> None:
        tokens = await sandbox.sign_in()
        await sandbox.http.put("/_sandbox/clients/1-other", json={"client_secret": "s"})
        answer = await sandbox.refresh(tokens["refresh_token"], client_id="1-other", client_secret="s")
        assert refusal(answer) == (401, "unauthorized_client", "Unauthorized")

    async def test_a_made_up_token_is_a_bad_request(self, sandbox: SandboxClient) -> None:
        assert refusal(await sandbox.refresh("made-up")) == BAD_REQUEST

    async def test_six_months_without_use_kill_it(self, sandbox: SandboxClient) -> None:
        tokens = await sandbox.sign_in()
        sandbox.clock.advance(UNUSED_LIFETIME - 1)
        assert (await sandbox.refresh(tokens["refresh_token"])).status_code == 200
        sandbox.clock.advance(UNUSED_LIFETIME)
        assert refusal(await sandbox.refresh(tokens["refresh_token"])) == EXPIRED

    async def test_a_password_change_kills_mail_tokens_only(self, sandbox: SandboxClient) -> None:
        mail = await sandbox.sign_in()
        plain = await sandbox.sign_in(scope="openid email", prompt="consent")
        answer = await sandbox.http.post("/_sandbox/users/ada@example.com/password")
        assert answer.json() == {"revoked": 1}
        assert refusal(await sandbox.refresh(mail["refresh_token"])) == EXPIRED
        assert (await sandbox.refresh(plain["refresh_token"])).status_code == 200

    async def test_the_oldest_token_beyond_the_cap_ends(self, sandbox: SandboxClient) -> None:
        await sandbox.treat(refresh_token_cap=2)
        tokens = [(await sandbox.sign_in(prompt="consent"))["refresh_token"] for _ in range(3)]
        assert [(await sandbox.refresh(token)).status_code for token in tokens] == [400, 200, 200]

    async def test_the_cap_is_a_hundred(self, sandbox: SandboxClient) -> None:
        tokens = [(await sandbox.sign_in(prompt="consent", scope=GMAIL))["refresh_token"] for _ in range(101)]
        assert [(await sandbox.refresh(token)).status_code for token in tokens[:2]] == [400, 200]

    async def test_the_reauthentication_policy_has_its_subtype(self, sandbox: SandboxClient) -> None:
        tokens = await sandbox.sign_in()
        await sandbox.treat(rapt_required=True)
        body = (await sandbox.refresh(tokens["refresh_token"])).json()
        assert (body["error"], body["error_subtype"]) == ("invalid_grant", "invalid_rapt")


class TestTestingMode:
    async def test_the_grant_says_when_it_ends(self, sandbox: SandboxClient) -> None:
        await sandbox.treat(testing=True)
        tokens = await sandbox.sign_in()
        assert tokens["refresh_token_expires_in"] in (TESTING_LIFETIME, TESTING_LIFETIME - 1)
        sandbox.clock.advance(1000)
        left = (await sandbox.refresh(tokens["refresh_token"])).json()["refresh_token_expires_in"]
        assert left < TESTING_LIFETIME - 990

    async def test_after_seven_days_consent_is_needed_again(self, sandbox: SandboxClient) -> None:
        await sandbox.treat(testing=True)
        tokens = await sandbox.sign_in()
        sandbox.clock.advance(TESTING_LIFETIME)
        assert refusal(await sandbox.refresh(tokens["refresh_token"])) == EXPIRED
        assert "refresh_token" in await sandbox.sign_in()

    async def test_a_grant_of_sign_in_scopes_does_not_end(self, sandbox: SandboxClient) -> None:
        await sandbox.treat(testing=True)
        tokens = await sandbox.sign_in(scope="openid email")
        sandbox.clock.advance(TESTING_LIFETIME)
        assert (await sandbox.refresh(tokens["refresh_token"])).status_code == 200


class TestRevoke:
    @pytest.mark.parametrize("kind", ["access_token", "refresh_token"])
    async def test_any_token_ends_the_whole_grant(self, sandbox: SandboxClient, kind: str) -> None:
        first = await sandbox.sign_in()
        second = await sandbox.sign_in(prompt="consent")
        answer = await sandbox.http.post("/revoke", data={"token": second[kind]})
        assert (answer.status_code, answer.json()) == (200, {})
        assert refusal(await sandbox.refresh(first["refresh_token"])) == EXPIRED
        assert (await sandbox.userinfo(first["access_token"])).status_code == 401
        assert "refresh_token" in await sandbox.sign_in()

    async def test_it_reaches_every_client_of_the_project(self, sandbox: SandboxClient) -> None:
        sibling = {"client_id": DEV_CLIENT_ID.replace("sandbox", "ios"), "client_secret": "s"}
        await sandbox.http.put(f"/_sandbox/clients/{sibling['client_id']}", json={"client_secret": "s"})
        code = await sandbox.code(client_id=sibling["client_id"])
        theirs = (await sandbox.exchange(code, **sibling)).json()
        ours = await sandbox.sign_in()
        assert "refresh_token" not in ours, "the project's grant covers all of its clients"
        await sandbox.http.post("/revoke", data={"token": ours["access_token"]})
        assert refusal(await sandbox.refresh(theirs["refresh_token"], **sibling)) == EXPIRED

    async def test_an_unknown_token_is_an_error_at_google(self, sandbox: SandboxClient) -> None:
        answer = await sandbox.http.post("/revoke", data={"token": "x"})
        assert refusal(answer) == (400, "invalid_token", "Token expired or revoked")

    async def test_the_user_can_revoke_too(self, sandbox: SandboxClient) -> None:
        tokens = await sandbox.sign_in()
        assert (await sandbox.http.post("/_sandbox/users/ADA@example.com/revoke")).status_code == 204
        assert refusal(await sandbox.refresh(tokens["refresh_token"])) == EXPIRED


class TestUserinfoAndTokeninfo:
    async def test_userinfo_follows_the_scopes(self, sandbox: SandboxClient) -> None:
        full = (await sandbox.userinfo((await sandbox.sign_in())["access_token"])).json()
        assert (full["name"], full["email"], full["email_verified"]) == ("Ada", "ada@example.com", True)
        narrow = (await sandbox.userinfo((await sandbox.sign_in(scope="openid"))["access_token"])).json()
        assert narrow == {"sub": full["sub"]}

    async def test_userinfo_v2_has_its_own_names(self, sandbox: SandboxClient) -> None:
        token = (await sandbox.sign_in())["access_token"]
        body = (await sandbox.http.get("/oauth2/v2/userinfo", headers={"Authorization": f"Bearer {token}"})).json()
        assert body["id"].isdecimal()
        assert body["verified_email"] is True

    async def test_an_expired_token_is_challenged(self, sandbox: SandboxClient) -> None:
        token = (await sandbox.sign_in())["access_token"]
        sandbox.clock.advance(3600)
        answer = await sandbox.userinfo(token)
        assert answer.status_code == 401
        assert 'error="invalid_token"' in answer.headers["www-authenticate"]

    async def test_a_mail_token_has_no_userinfo(self, sandbox: SandboxClient) -> None:
        assert (await sandbox.userinfo((await sandbox.sign_in(scope=GMAIL))["access_token"])).status_code == 403

    async def test_tokeninfo_speaks_in_strings(self, sandbox: SandboxClient) -> None:
        token = (await sandbox.sign_in())["access_token"]
        facts = (await sandbox.http.get("/tokeninfo", params={"access_token": token})).json()
        assert facts["aud"] == DEV_CLIENT_ID
        assert facts["access_type"] == "offline"
        assert facts["email_verified"] == "true"
        assert 3590 < int(facts["expires_in"]) <= 3599

    async def test_tokeninfo_v2_speaks_in_numbers(self, sandbox: SandboxClient) -> None:
        token = (await sandbox.sign_in())["access_token"]
        facts = (await sandbox.http.post("/oauth2/v2/tokeninfo", params={"access_token": token})).json()
        assert facts["audience"] == DEV_CLIENT_ID
        assert isinstance(facts["expires_in"], int)

    async def test_tokeninfo_reads_id_tokens(self, sandbox: SandboxClient) -> None:
        id_token = (await sandbox.sign_in())["id_token"]
        facts = (await sandbox.http.get("/tokeninfo", params={"id_token": id_token})).json()
        assert (facts["email"], facts["alg"]) == ("ada@example.com", "RS256")

    async def test_an_unknown_token_has_no_facts(self, sandbox: SandboxClient) -> None:
        for name in ("access_token", "id_token"):
            answer = await sandbox.http.get("/tokeninfo", params={name: "x"})
            assert refusal(answer) == (400, "invalid_token", "Invalid Value")


class TestKeys:
    async def test_two_public_keys_are_published_to_be_cached(self, sandbox: SandboxClient) -> None:
        answer = await sandbox.http.get("/oauth2/v3/certs")
        assert "max-age" in answer.headers["cache-control"]
        keys = answer.json()["keys"]
        assert len(keys) == 2
        assert all(set(key) == {"kty", "alg", "use", "kid", "n", "e"} for key in keys)

    async def test_certificates_are_valid_and_have_the_published_keys(self, sandbox: SandboxClient) -> None:
        answer = await sandbox.http.get("/oauth2/v1/certs")
        assert "max-age" in answer.headers["cache-control"]
        certificates = {kid: x509.load_pem_x509_certificate(pem.encode()) for kid, pem in answer.json().items()}
        published = await signing_keys(sandbox)
        assert {kid: certificate.public_key() for kid, certificate in certificates.items()} == {
            kid: key.key for kid, key in published.items()
        }
        now = datetime.fromtimestamp(sandbox.clock.now(), UTC)
        for certificate in certificates.values():
            assert certificate.not_valid_before_utc < now < certificate.not_valid_after_utc

    async def test_an_unannounced_rotation_signs_with_an_unpublished_key(self, sandbox: SandboxClient) -> None:
        before = await signing_keys(sandbox)
        old = (await sandbox.sign_in())["id_token"]
        kid = (await sandbox.http.post("/_sandbox/keys/rotate")).json()["kid"]
        assert kid not in before
        assert jwt.get_unverified_header((await sandbox.sign_in())["id_token"])["kid"] == kid
        await verified_claims(sandbox, old)

    async def test_an_announced_rotation_signs_with_the_published_successor(self, sandbox: SandboxClient) -> None:
        before = await signing_keys(sandbox)
        kid = (await sandbox.http.post("/_sandbox/keys/rotate", json={"announced": True})).json()["kid"]
        assert kid in before
        await verified_claims(sandbox, (await sandbox.sign_in())["id_token"])

    async def test_old_keys_can_be_withdrawn(self, sandbox: SandboxClient) -> None:
        old = (await sandbox.sign_in())["id_token"]
        await sandbox.http.post("/_sandbox/keys/rotate", json={"keep_old": False})
        assert jwt.get_unverified_header(old)["kid"] not in await signing_keys(sandbox)

    async def test_discovery_leads_to_them(self, sandbox: SandboxClient) -> None:
        document = (await sandbox.http.get("/.well-known/openid-configuration")).json()
        assert document["issuer"] == ISSUER
        assert document["code_challenge_methods_supported"] == ["plain", "S256"]
        assert (await sandbox.http.get(document["jwks_uri"])).json()["keys"]
        assert (await sandbox.http.post(document["token_endpoint"], data=CLIENT)).status_code == 400

    async def test_discovery_announces_iss_only_while_it_is_on_for_every_user(self, sandbox: SandboxClient) -> None:
        async def promise() -> object:
            document: httpx.Response = await sandbox.http.get("/.well-known/openid-configuration")
            return document.json()["authorization_response_iss_parameter_supported"]

        assert await promise() is True
        await sandbox.treat(iss=False)
        assert await promise() is False
