"""Access tokens that the gateway accepts and refuses."""

import base64
import hmac
import json
import time
from typing import Any

import jwt
import pytest

from services.gateway.access_tokens import (
    CLOCK_SKEW_SECONDS,
    MAX_AGE_SECONDS,
    RETRY_SECONDS,
    AccessTokens,
    auth_key_set,
)
from services.gateway.clients import Services
from services.kit.errors import AppError, Kind
from services.kit.jwks import UNKNOWN_KEY_INTERVAL
from tests.gateway.conftest import Gateway, bearer
from tests.support.gateway.fake_auth import ISSUER, FakeAuth, SigningKey, claims_of

DOWN = AppError(Kind.UNAVAILABLE, "service_unavailable", "Auth is down.")


async def status(gateway: Gateway, token: str) -> int:
    return (await gateway.http.get("/emails/addresses", headers=bearer(token))).status_code


def encoded(part: dict[str, Any]) -> str:
    """Encode a part of a JWT."""
    return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")


class TestGoodToken:
    async def test_lets_its_user_in(self, gateway: Gateway) -> None:
        gateway.mail.connect("ada", "ada@example.com")
        answer = await gateway.http.get("/emails/addresses", headers=gateway.as_user("ada"))
        assert answer.status_code == 200
        [address] = answer.json()["addresses"]
        assert address["email"] == "ada@example.com"

    async def test_may_be_sent_with_any_case_of_the_scheme(self, gateway: Gateway) -> None:
        token = gateway.auth.access_token("ada")
        answer = await gateway.http.get("/emails/addresses", headers={"Authorization": f"bEARER {token}"})
        assert answer.status_code == 200

    async def test_may_have_the_long_form_of_its_type(self, gateway: Gateway) -> None:
        assert await status(gateway, gateway.auth.keys[0].sign(claims_of("ada"), typ="application/AT+JWT")) == 200

    async def test_names_the_application_only_if_it_was_exchanged_for_its_key(
        self, services: Services, auth: FakeAuth
    ) -> None:
        tokens = AccessTokens(auth_key_set(services.sessions), issuer=ISSUER, audience=ISSUER)
        exchanged = await tokens.read(auth.access_token("ada", client_id="an application", act={"sub": "key:k1"}))
        assert (exchanged.actor_key_id, exchanged.application_id) == ("k1", "an application")
        own = await tokens.read(auth.access_token("ada", client_id="mailroom"))
        assert (own.actor_key_id, own.application_id) == ("", "")


class TestTokenThatComesAgain:
    """A remembered token is accepted no longer than another one."""

    async def test_is_refused_once_it_has_expired(self, services: Services, auth: FakeAuth) -> None:
        now = time.time()
        tokens = AccessTokens(auth_key_set(services.sessions), issuer=ISSUER, audience=ISSUER, now=lambda: now)
        token = auth.access_token("ada", exp=int(now) + 60)
        assert await tokens.read(token) == await tokens.read(token)
        now += 60 + CLOCK_SKEW_SECONDS + 1
        with pytest.raises(AppError, match="invalid_token"):
            await tokens.read(token)

    async def test_is_verified_anew_by_another_key_of_the_same_id(self, gateway: Gateway) -> None:
        token = gateway.auth.access_token("ada")
        assert await status(gateway, token) == 200
        gateway.auth.keys = [SigningKey("first")]
        gateway.clock.now += MAX_AGE_SECONDS
        assert await status(gateway, token) == 401


class TestNoToken:
    @pytest.mark.parametrize("headers", [{}, {"Authorization": "Basic YTpi"}, {"Authorization": "Bearer"}])
    async def test_is_asked_for_one_without_an_error_code(self, gateway: Gateway, headers: dict[str, str]) -> None:
        answer = await gateway.http.get("/emails/addresses", headers=headers)
        assert answer.status_code == 401
        assert answer.json()["code"] == "missing_token"
        assert answer.headers["www-authenticate"] == 'Bearer realm="mailroom"'

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", "/emails/addresses"),
            ("GET", "/emails?user_email=a@example.com"),
            ("GET", "/emails/?user_email=a@example.com"),
            ("GET", "/emails/some-id"),
            ("GET", "/emails/labels?user_email=a@example.com"),
            ("GET", "/emails/syncs/some-id"),
            ("POST", "/emails/sync"),
        ],
    )
    async def test_is_refused_by_every_route_that_shows_mail(self, gateway: Gateway, method: str, path: str) -> None:
        assert (await gateway.http.request(method, path)).status_code == 401


class TestBadToken:
    async def refused(self, gateway: Gateway, token: str) -> None:
        answer = await gateway.http.get("/emails/addresses", headers=bearer(token))
        assert answer.status_code == 401
        assert answer.json()["code"] == "invalid_token"
        assert answer.headers["www-authenticate"].startswith('Bearer realm="mailroom", error="invalid_token"')

    @pytest.mark.parametrize("token", ["x", "a.b.c", "....", "é", "e30.e30.e30", "W10.W10.W10", "[" * 4000, "A" * 5000])
    async def test_that_is_no_jwt_is_refused(self, gateway: Gateway, token: str) -> None:
        answer = await gateway.http.get("/emails/addresses", headers={b"Authorization": f"Bearer {token}".encode()})
        assert answer.json()["code"] == "invalid_token"

    async def test_that_was_tampered_with_is_refused(self, gateway: Gateway) -> None:
        header, payload, signature = gateway.auth.access_token("ada").split(".")
        claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
        await self.refused(gateway, f"{header}.{encoded({**claims, 'sub': 'grace'})}.{signature}")

    async def test_without_a_signature_is_refused(self, gateway: Gateway) -> None:
        unsigned = jwt.encode(claims_of("ada"), None, "none", {"kid": "first", "typ": "at+jwt"})  # type: ignore[arg-type]
        await self.refused(gateway, unsigned)
        await self.refused(gateway, gateway.auth.access_token("ada").rsplit(".", 1)[0] + ".")

    async def test_signed_with_the_public_key_as_a_secret_is_refused(self, gateway: Gateway) -> None:
        header = encoded({"alg": "HS256", "kid": "first", "typ": "at+jwt"})
        signed = f"{header}.{encoded(claims_of('ada'))}"
        for secret in (json.dumps(gateway.auth.keys[0].public).encode(), gateway.auth.keys[0].public_pem):
            signature = base64.urlsafe_b64encode(hmac.digest(secret, signed.encode(), "sha256")).decode().rstrip("=")
            await self.refused(gateway, f"{signed}.{signature}")

    async def test_signed_by_a_foreign_key_is_refused_under_either_key_id(self, gateway: Gateway) -> None:
        await self.refused(gateway, SigningKey("first").sign(claims_of("ada")))
        await self.refused(gateway, SigningKey("foreign").sign(claims_of("ada")))

    @pytest.mark.parametrize(
        "wrong",
        [
            {"exp": int(time.time()) - 60},
            {"exp": None},
            {"exp": "soon"},
            {"iat": int(time.time()) + 3600},
            {"nbf": int(time.time()) + 3600},
            {"iss": "https://other.example"},
            {"iss": None},
            {"aud": "https://other.example"},
            {"aud": None},
            {"sub": None},
            {"sub": 5},
        ],
        ids=[
            "expired",
            "without exp",
            "exp in words",
            "issued in the future",
            "not valid yet",
            "foreign issuer",
            "without issuer",
            "foreign audience",
            "without audience",
            "without subject",
            "subject is a number",
        ],
    )
    async def test_with_a_wrong_claim_is_refused(self, gateway: Gateway, wrong: dict[str, Any]) -> None:
        claims = {name: value for name, value in claims_of("ada", **wrong).items() if value is not None}
        await self.refused(gateway, gateway.auth.keys[0].sign(claims))

    @pytest.mark.parametrize("kind", ["JWT", "id+jwt", ""])
    async def test_of_another_type_is_refused(self, gateway: Gateway, kind: str) -> None:
        await self.refused(gateway, gateway.auth.keys[0].sign(claims_of("ada"), typ=kind))


class TestSigningKeys:
    async def test_are_fetched_once_for_many_requests(self, gateway: Gateway) -> None:
        for _ in range(5):
            assert await status(gateway, gateway.auth.access_token("ada")) == 200
        assert gateway.auth.key_requests == 1

    async def test_of_an_unknown_id_are_fetched_at_most_once_a_minute(self, gateway: Gateway) -> None:
        assert await status(gateway, gateway.auth.access_token("ada")) == 200
        gateway.auth.keys.append(SigningKey("second"))
        assert await status(gateway, gateway.auth.access_token("ada")) == 200
        gateway.auth.keys.append(SigningKey("third"))
        rotated = gateway.auth.access_token("ada")
        assert await status(gateway, rotated) == 401
        for number in range(5):
            assert await status(gateway, SigningKey(f"forged-{number}").sign(claims_of("ada"))) == 401
        assert gateway.auth.key_requests == 2
        gateway.clock.now += UNKNOWN_KEY_INTERVAL
        assert await status(gateway, rotated) == 200
        assert gateway.auth.key_requests == 3

    async def test_stay_in_use_while_auth_is_down(self, gateway: Gateway) -> None:
        token = gateway.auth.access_token("ada")
        assert await status(gateway, token) == 200
        gateway.auth.failure = DOWN
        gateway.clock.now += MAX_AGE_SECONDS
        assert await status(gateway, token) == 200

    async def test_that_were_withdrawn_are_refused_in_the_end(self, gateway: Gateway) -> None:
        token = gateway.auth.access_token("ada")
        assert await status(gateway, token) == 200
        gateway.auth.keys = [SigningKey("second")]
        gateway.clock.now += MAX_AGE_SECONDS
        assert await status(gateway, token) == 401

    async def test_that_cannot_be_fetched_make_no_good_token_look_bad(self, gateway: Gateway) -> None:
        gateway.auth.failure = DOWN
        assert await status(gateway, gateway.auth.access_token("ada")) == 503
        gateway.auth.failure = None
        gateway.clock.now += RETRY_SECONDS
        assert await status(gateway, gateway.auth.access_token("ada")) == 200

    async def test_cannot_be_published_before_auth_has_given_them(self, gateway: Gateway) -> None:
        gateway.auth.failure = DOWN
        answer = await gateway.http.get("/.well-known/jwks.json")
        assert (answer.status_code, answer.json()["code"]) == (503, "service_unavailable")

    async def test_are_published(self, gateway: Gateway) -> None:
        answer = await gateway.http.get("/.well-known/jwks.json")
        assert answer.status_code == 200
        assert answer.json() == {"keys": [gateway.auth.keys[0].public]}
        assert "max-age" in answer.headers["cache-control"]
