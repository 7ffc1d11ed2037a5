"""The identity of a sign-in: the ID token, and userinfo for missing claims."""

import time

import httpx
import jwt
import pytest

from services.auth.providers.base import (
    IdentityRefusedError,
    ProviderIdentity,
)
from tests.auth.providers.conftest import ORIGIN, Setup
from tests.support.auth.stand_in import CLIENT_ID, CLIENT_SECRET, StandIn


class TestIdToken:
    async def test_identifies_the_user_without_userinfo(self, setup: Setup) -> None:
        person = setup.stand_in.person(email="Ada@Example.org")
        identity, _ = await setup.exchange(person)
        assert identity == ProviderIdentity(person.subject, "Ada@Example.org", email_verified=True)
        assert setup.stand_in.calls["userinfo"] == 0

    @pytest.mark.parametrize(
        "claims",
        [
            {"iss": "https://evil.example"},
            {"iss": [ORIGIN]},
            {"aud": "another client"},
            {"aud": ["another client", "a third"]},
            {"aud": [CLIENT_ID, "another client"], "azp": None},
            {"aud": [CLIENT_ID, "another client"], "azp": "another client"},
            {"azp": "another client"},
            {"nonce": "of another attempt"},
            {"nonce": None},
            {"nonce": 5},
            {"nonce": "lone\ud83d"},
            {"exp": int(time.time()) - 120},
            {"exp": None},
            {"exp": "tomorrow"},
            {"exp": float("nan")},
            {"iat": float("nan")},
            {"iat": int(time.time()) + 600},
            {"iat": None},
            {"sub": None},
            {"sub": ""},
            {"sub": "s" * 256},
            {"sub": "тест"},
            {"sub": "nul\x00"},
            {"email": "nul\x00@example.com"},
            {"email": "lone\ud83d@example.com"},
            {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"},
            {"email": "no address"},
            {"email": ["ada@example.com"]},
        ],
    )
    async def test_is_refused_when_a_claim_does_not_hold(self, setup: Setup, claims: dict[str, object]) -> None:
        setup.stand_in.deviations.claims = claims
        with pytest.raises(IdentityRefusedError):
            await setup.exchange()

    async def test_is_accepted_within_the_leeway_of_clocks(self, setup: Setup) -> None:
        now = int(time.time())
        setup.stand_in.deviations.claims = {"iat": now + 50, "exp": now - 50}
        assert await setup.exchange()

    async def test_may_name_several_audiences_if_we_are_the_authorized_party(self, setup: Setup) -> None:
        setup.stand_in.deviations.claims = {"aud": [CLIENT_ID, "another client"]}
        assert await setup.exchange()

    async def test_is_refused_when_another_key_signed_it(self, setup: Setup) -> None:
        await setup.exchange()
        stranger = StandIn()
        [key] = setup.stand_in.jwks()
        claims = setup.stand_in.id_claims(setup.stand_in.person(), nonce="n" * 43, access_token="x")
        setup.stand_in.deviations.id_token = stranger.sign(claims, headers={"kid": key["kid"]})
        with pytest.raises(IdentityRefusedError, match="InvalidSignature"):
            await setup.exchange()

    @pytest.mark.parametrize("jwks_url", [f"{ORIGIN}/jwks", None])
    @pytest.mark.parametrize("algorithm", ["none", "HS256"])
    async def test_is_refused_with_another_algorithm(self, setup: Setup, algorithm: str, jwks_url: str | None) -> None:
        claims = setup.stand_in.id_claims(setup.stand_in.person(), nonce="n" * 43, access_token="x")
        secret = "" if algorithm == "none" else CLIENT_SECRET * 4
        setup.stand_in.deviations.id_token = jwt.encode(claims, secret, algorithm=algorithm)
        with pytest.raises(IdentityRefusedError):
            await setup.exchange(google=setup.google_with(jwks_url=jwks_url))

    async def test_fetches_nothing_that_its_header_names(self, setup: Setup) -> None:
        requested: list[str] = []

        async def note(request: httpx.Request) -> None:
            requested.append(str(request.url))

        stranger = StandIn()
        claims = setup.stand_in.id_claims(setup.stand_in.person(), nonce="n" * 43, access_token="x")
        [own] = setup.stand_in.jwks()
        [foreign] = stranger.jwks()
        named = {"kid": own["kid"], "jku": "https://evil.example/keys", "x5u": "https://evil.example/x", "jwk": foreign}
        setup.stand_in.deviations.id_token = stranger.sign(claims, headers=named)
        setup.egress._client.event_hooks["request"].append(note)
        with pytest.raises(IdentityRefusedError):
            await setup.exchange()
        assert set(requested) == {f"{ORIGIN}/token", f"{ORIGIN}/jwks"}

    @pytest.mark.parametrize("token", ["", "a.b", "a.b.c", "{}", "é.é.é", "e30.e30.e30"])
    async def test_is_refused_when_it_is_no_jwt(self, setup: Setup, token: str) -> None:
        setup.stand_in.deviations.extra = {"id_token": token}
        with pytest.raises(IdentityRefusedError):
            await setup.exchange()

    async def test_leaves_missing_claims_to_userinfo(self, setup: Setup) -> None:
        setup.stand_in.deviations.claims = {"email": None, "email_verified": None}
        person = setup.stand_in.person(email_verified=False)
        identity, _ = await setup.exchange(person)
        assert identity == ProviderIdentity(person.subject, person.email, email_verified=False)

    async def test_is_refused_when_userinfo_names_another_subject(self, setup: Setup) -> None:
        setup.stand_in.deviations.claims = {"email": None}
        setup.stand_in.deviations.userinfo = {"sub": "another", "email": "mallory@example.com"}
        with pytest.raises(IdentityRefusedError):
            await setup.exchange()


class TestUserinfo:
    async def test_is_required_when_there_is_no_id_token(self, setup: Setup) -> None:
        setup.stand_in.deviations.omitted = frozenset({"id_token"})
        with pytest.raises(IdentityRefusedError):
            await setup.exchange(google=setup.google_with(userinfo_url=None))

    @pytest.mark.parametrize("info", [{}, {"sub": "1"}, {"email": "ada@example.com"}, {"sub": 1, "email": "a@b.c"}])
    async def test_is_refused_without_subject_and_address(self, setup: Setup, info: dict[str, object]) -> None:
        setup.stand_in.deviations.omitted = frozenset({"id_token"})
        setup.stand_in.deviations.userinfo = info
        with pytest.raises(IdentityRefusedError):
            await setup.exchange()

    async def test_is_accepted_without_a_claim_about_verification(self, setup: Setup) -> None:
        setup.stand_in.deviations.omitted = frozenset({"id_token"})
        setup.stand_in.deviations.userinfo = {"sub": "1", "email": "ada@example.com"}
        identity, _ = await setup.exchange()
        assert identity.email_verified is None
