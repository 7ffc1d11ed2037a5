"""The provider adapter against a provider that follows the protocol: what it sends, believes and refuses."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import jwt
import pytest
from prometheus_client import CollectorRegistry
from starlette.responses import HTMLResponse, JSONResponse, Response

from services.auth.client_proof import s256
from services.auth.providers.base import (
    Grant,
    GrantRefusedError,
    Identity,
    IdentityRefusedError,
    ProviderError,
    ProviderRefusedError,
    ProviderUnavailableError,
)
from services.auth.providers.google import ISSUER, Google, GoogleClient, GoogleEndpoints
from services.kit.egress import Egress, create_http_client
from services.kit.provider_calls import CallObserver
from services.kit.telemetry import Telemetry
from tests.auth.clock import Time
from tests.auth.stand_in import CLIENT_ID, CLIENT_SECRET, MAIL_SCOPE, REDIRECT_URI, Person, StandIn

ORIGIN = "https://stand-in.example"
VERIFIER = "v" * 43


@dataclass
class Setup:
    """The adapter, its provider and its clock."""

    stand_in: StandIn
    egress: Egress
    time: Time
    google: Google

    def google_with(self, scopes: str = f"openid email {MAIL_SCOPE}", **endpoints: Any) -> Google:
        """Another adapter, with other endpoints."""
        usual = GoogleEndpoints(
            issuer=ORIGIN,
            authorization_url=f"{ORIGIN}/authorize",
            token_url=f"{ORIGIN}/token",
            userinfo_url=f"{ORIGIN}/userinfo",
            jwks_url=f"{ORIGIN}/jwks",
            revoke_url=f"{ORIGIN}/revoke",
        )
        return Google(
            endpoints=replace(usual, **endpoints),
            client=GoogleClient(CLIENT_ID, CLIENT_SECRET, REDIRECT_URI, tuple(scopes.split())),
            egress=self.egress,
            clock=self.time.now,
            monotonic=self.time.monotonic,
        )

    async def exchange(
        self, person: Person | None = None, *, google: Google | None = None, nonce: str = "n" * 43
    ) -> tuple[Identity, Grant]:
        """A whole sign-in as the adapter sees it; `nonce` is what the attempt remembers."""
        google = google or self.google
        url = google.authorization_url(state="s", nonce="n" * 43, code_challenge=s256(VERIFIER), force_consent=False)
        redirect = self.stand_in.consent(url, person or self.stand_in.person())
        return await google.exchange(redirect["code"], code_verifier=VERIFIER, nonce=nonce, timeout=5)


@pytest.fixture
async def setup() -> AsyncIterator[Setup]:
    stand_in = StandIn()
    stand_in.origin = ORIGIN
    async with httpx.AsyncClient(transport=httpx.ASGITransport(stand_in.app)) as client:
        egress = Egress(client, unavailable=ProviderUnavailableError)
        setup = Setup(stand_in, egress, Time(), google=None)  # type: ignore[arg-type]  # made in the next line
        setup.google = setup.google_with()
        yield setup


class TestAuthorizationUrl:
    def test_asks_for_consent_only_when_told(self, setup: Setup) -> None:
        url = setup.google.authorization_url(state="s", nonce="n", code_challenge="c", force_consent=True)
        assert parse_qs(urlsplit(url).query)["prompt"] == ["consent"]

    def test_keeps_what_the_configured_url_has(self, setup: Setup) -> None:
        google = setup.google_with(authorization_url=f"{ORIGIN}/authorize?tenant=a%26b")
        url = google.authorization_url(state="s", nonce="n", code_challenge="c", force_consent=False)
        assert parse_qs(urlsplit(url).query)["tenant"] == ["a&b"]


class TestIssuer:
    def test_the_redirects_issuer_must_be_the_configured_one_if_it_is_there(self, setup: Setup) -> None:
        assert setup.google.accepts_issuer("")
        assert setup.google.accepts_issuer(ORIGIN)
        assert not setup.google.accepts_issuer(f"{ORIGIN}/")
        assert not setup.google.accepts_issuer(ISSUER)

    async def test_both_spellings_of_googles_issuer_are_good_in_id_tokens(self, setup: Setup) -> None:
        google = setup.google_with(issuer=ISSUER)
        for issuer in (ISSUER, "accounts.google.com"):
            setup.stand_in.oddities.claims = {"iss": issuer}
            assert await setup.exchange(google=google)
        assert not google.accepts_issuer("accounts.google.com")

    async def test_other_issuers_have_one_spelling(self, setup: Setup) -> None:
        setup.stand_in.oddities.claims = {"iss": "stand-in.example"}
        with pytest.raises(IdentityRefusedError):
            await setup.exchange()


class TestScopes:
    @pytest.mark.parametrize(
        ("granted", "suffices"),
        [
            (MAIL_SCOPE, True),
            ("https://www.googleapis.com/auth/gmail.modify", True),
            ("https://mail.google.com/", True),
            ("https://www.googleapis.com/auth/gmail.metadata", False),
            ("https://www.googleapis.com/auth/gmail.send", False),
            ("openid email", False),
        ],
    )
    def test_mail_needs_a_scope_that_reads_bodies(self, setup: Setup, granted: str, suffices: bool) -> None:
        assert setup.google.grants_mail(frozenset(granted.split())) is suffices

    def test_mail_scopes_are_not_demanded_where_none_is_asked_for(self, setup: Setup) -> None:
        assert setup.google_with(scopes="openid email offline_access").grants_mail(frozenset({"openid"}))

    async def test_aliases_and_order_do_not_matter(self, setup: Setup) -> None:
        setup.stand_in.oddities.extra = {"scope": f"https://www.googleapis.com/auth/userinfo.email {MAIL_SCOPE} openid"}
        _, grant = await setup.exchange()
        assert grant.scopes == {"email", "openid", MAIL_SCOPE}

    async def test_no_scope_in_the_answer_means_the_requested_ones(self, setup: Setup) -> None:
        setup.stand_in.oddities.omitted = frozenset({"scope"})
        _, grant = await setup.exchange()
        assert grant.scopes == {"email", "openid", MAIL_SCOPE}

    async def test_what_cannot_be_a_scope_is_ignored(self, setup: Setup) -> None:
        setup.stand_in.oddities.extra = {"scope": f"openid nul\x00 ü {MAIL_SCOPE}"}
        _, grant = await setup.exchange()
        assert grant.scopes == {"openid", MAIL_SCOPE}

    async def test_a_list_of_them_counts_as_their_text(self, setup: Setup) -> None:
        setup.stand_in.oddities.extra = {"scope": ["openid", "email"]}
        _, grant = await setup.exchange()
        assert grant.scopes == {"openid", "email"}

    async def test_an_empty_scope_in_the_answer_means_none(self, setup: Setup) -> None:
        setup.stand_in.oddities.extra = {"scope": ""}
        _, grant = await setup.exchange()
        assert grant.scopes == frozenset()


class TestTokenAnswers:
    async def test_may_say_created(self, setup: Setup) -> None:
        setup.stand_in.oddities.token_answers = [JSONResponse({"access_token": "a", "expires_in": "60"}, 201)]
        grant = await setup.google.refresh("1//secret", scopes=frozenset({MAIL_SCOPE}), timeout=5)
        assert (grant.access_token, grant.refresh_token, grant.scopes) == ("a", None, frozenset({MAIL_SCOPE}))


class TestIdToken:
    async def test_says_who_signed_in_without_asking_userinfo(self, setup: Setup) -> None:
        person = setup.stand_in.person(email="Ada@Example.org")
        identity, _ = await setup.exchange(person)
        assert identity == Identity(person.subject, "Ada@Example.org", email_verified=True)
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
        setup.stand_in.oddities.claims = claims
        with pytest.raises(IdentityRefusedError):
            await setup.exchange()

    async def test_is_believed_within_the_leeway_of_clocks(self, setup: Setup) -> None:
        now = int(time.time())
        setup.stand_in.oddities.claims = {"iat": now + 50, "exp": now - 50}
        assert await setup.exchange()

    async def test_may_name_several_audiences_if_we_are_the_authorized_party(self, setup: Setup) -> None:
        setup.stand_in.oddities.claims = {"aud": [CLIENT_ID, "another client"]}
        assert await setup.exchange()

    async def test_is_refused_when_another_key_signed_it(self, setup: Setup) -> None:
        await setup.exchange()
        stranger = StandIn()
        [key] = setup.stand_in.jwks()
        claims = setup.stand_in.id_claims(setup.stand_in.person(), nonce="n" * 43, access_token="x")
        setup.stand_in.oddities.id_token = stranger.sign(claims, headers={"kid": key["kid"]})
        with pytest.raises(IdentityRefusedError, match="InvalidSignature"):
            await setup.exchange()

    @pytest.mark.parametrize("jwks_url", [f"{ORIGIN}/jwks", None])
    @pytest.mark.parametrize("algorithm", ["none", "HS256"])
    async def test_is_refused_with_another_algorithm(self, setup: Setup, algorithm: str, jwks_url: str | None) -> None:
        claims = setup.stand_in.id_claims(setup.stand_in.person(), nonce="n" * 43, access_token="x")
        secret = "" if algorithm == "none" else CLIENT_SECRET * 4
        setup.stand_in.oddities.id_token = jwt.encode(claims, secret, algorithm=algorithm)
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
        setup.stand_in.oddities.id_token = stranger.sign(claims, headers=named)
        setup.egress._client.event_hooks["request"].append(note)
        with pytest.raises(IdentityRefusedError):
            await setup.exchange()
        assert set(requested) == {f"{ORIGIN}/token", f"{ORIGIN}/jwks"}

    @pytest.mark.parametrize("token", ["", "a.b", "a.b.c", "{}", "é.é.é", "e30.e30.e30"])
    async def test_is_refused_when_it_is_no_jwt(self, setup: Setup, token: str) -> None:
        setup.stand_in.oddities.extra = {"id_token": token}
        with pytest.raises(IdentityRefusedError):
            await setup.exchange()

    async def test_leaves_to_userinfo_what_it_does_not_say(self, setup: Setup) -> None:
        setup.stand_in.oddities.claims = {"email": None, "email_verified": None}
        person = setup.stand_in.person(email_verified=False)
        identity, _ = await setup.exchange(person)
        assert identity == Identity(person.subject, person.email, email_verified=False)

    async def test_is_refused_when_userinfo_names_another_subject(self, setup: Setup) -> None:
        setup.stand_in.oddities.claims = {"email": None}
        setup.stand_in.oddities.userinfo = {"sub": "another", "email": "mallory@example.com"}
        with pytest.raises(IdentityRefusedError):
            await setup.exchange()


class TestSigningKeys:
    async def test_are_fetched_once_for_many_sign_ins(self, setup: Setup) -> None:
        for _ in range(3):
            await setup.exchange()
        assert setup.stand_in.calls["jwks"] == 1

    async def test_are_fetched_again_when_their_time_is_up(self, setup: Setup) -> None:
        await setup.exchange()
        setup.time.advance(3601)
        setup.stand_in.oddities.claims = {"exp": int(time.time()) + 7200}
        await setup.exchange()
        assert setup.stand_in.calls["jwks"] == 2

    async def test_are_fetched_early_for_a_key_that_is_not_known_yet(self, setup: Setup) -> None:
        await setup.exchange()
        setup.stand_in.rotate_keys()
        assert await setup.exchange()
        assert setup.stand_in.calls["jwks"] == 2

    async def test_are_fetched_early_at_most_once_a_minute(self, setup: Setup) -> None:
        await setup.exchange()
        claims = setup.stand_in.id_claims(setup.stand_in.person(), nonce="n" * 43, access_token="x")
        for number in range(5):
            setup.stand_in.oddities.id_token = setup.stand_in.sign(claims, headers={"kid": f"made up {number}"})
            with pytest.raises(IdentityRefusedError, match="unknown key"):
                await setup.exchange()
        assert setup.stand_in.calls["jwks"] == 2
        setup.time.advance(61)
        with pytest.raises(IdentityRefusedError, match="unknown key"):
            await setup.exchange()
        assert setup.stand_in.calls["jwks"] == 3

    @pytest.mark.parametrize(
        "answer",
        [Response(status_code=503), HTMLResponse("<p>keys</p>"), JSONResponse({"keys": None}), JSONResponse([])],
    )
    async def test_stay_in_use_when_they_cannot_be_fetched_again(self, setup: Setup, answer: Response) -> None:
        await setup.exchange()
        setup.time.advance(3601)
        setup.stand_in.oddities.claims = {"exp": int(time.time()) + 7200}
        setup.stand_in.oddities.jwks_answer = answer
        assert await setup.exchange()
        assert setup.stand_in.calls["jwks"] == 2

    async def test_of_other_kinds_and_broken_ones_are_skipped(self, setup: Setup) -> None:
        [key] = setup.stand_in.jwks()
        broken = [{"kty": "EC", "kid": "e"}, {"kty": "RSA", "kid": "r", "n": "!", "e": "!"}, 5, {}]
        others = [{**key, "use": "enc"}, {**key, "alg": "RS512"}]
        setup.stand_in.oddities.jwks_answer = JSONResponse({"keys": [*broken, *others, key, *others, *broken]})
        assert await setup.exchange()

    async def test_need_no_id_when_there_is_only_one(self, setup: Setup) -> None:
        setup.stand_in.oddities.names_keys = False
        assert await setup.exchange()

    async def test_need_an_id_when_there_are_several(self, setup: Setup) -> None:
        setup.stand_in.oddities.names_keys = False
        setup.stand_in.oddities.jwks_answer = JSONResponse({"keys": setup.stand_in.jwks() * 2})
        with pytest.raises(IdentityRefusedError, match="unknown key"):
            await setup.exchange()

    async def test_that_cannot_be_had_leave_the_identity_to_userinfo_over_tls(self, setup: Setup) -> None:
        setup.stand_in.oddities.jwks_answer = Response(status_code=404)
        person = setup.stand_in.person()
        identity, _ = await setup.exchange(person)
        assert identity.subject == person.subject
        assert setup.stand_in.calls["userinfo"] == 1

    async def test_that_cannot_be_had_do_not_excuse_a_wrong_claim(self, setup: Setup) -> None:
        setup.stand_in.oddities.jwks_answer = Response(status_code=404)
        setup.stand_in.oddities.claims = {"nonce": "of another attempt"}
        with pytest.raises(IdentityRefusedError):
            await setup.exchange()

    async def test_that_cannot_be_had_are_required_where_only_they_prove_anything(self, setup: Setup) -> None:
        setup.stand_in.oddities.jwks_answer = Response(status_code=404)
        google = setup.google_with(token_url="http://stand-in.example/token")
        with pytest.raises(ProviderUnavailableError):
            await setup.exchange(google=google)

    async def test_that_are_published_are_required_even_over_tls(self, setup: Setup) -> None:
        setup.stand_in.oddities.jwks_answer = JSONResponse({"keys": []})
        with pytest.raises(IdentityRefusedError, match="unknown key"):
            await setup.exchange()


class TestUserinfo:
    async def test_is_required_when_there_is_no_id_token(self, setup: Setup) -> None:
        setup.stand_in.oddities.omitted = frozenset({"id_token"})
        with pytest.raises(IdentityRefusedError):
            await setup.exchange(google=setup.google_with(userinfo_url=None))

    @pytest.mark.parametrize("info", [{}, {"sub": "1"}, {"email": "ada@example.com"}, {"sub": 1, "email": "a@b.c"}])
    async def test_is_refused_when_it_does_not_say_who(self, setup: Setup, info: dict[str, object]) -> None:
        setup.stand_in.oddities.omitted = frozenset({"id_token"})
        setup.stand_in.oddities.userinfo = info
        with pytest.raises(IdentityRefusedError):
            await setup.exchange()

    async def test_is_believed_when_it_is_silent_about_verification(self, setup: Setup) -> None:
        setup.stand_in.oddities.omitted = frozenset({"id_token"})
        setup.stand_in.oddities.userinfo = {"sub": "1", "email": "ada@example.com"}
        identity, _ = await setup.exchange()
        assert identity.email_verified


class TestFailures:
    @pytest.mark.parametrize(
        ("answer", "error"),
        [
            (JSONResponse({"error": "invalid_grant"}, 400), GrantRefusedError),
            (JSONResponse({"error": "invalid_grant", "error_subtype": "invalid_rapt"}, 400), GrantRefusedError),
            (JSONResponse({"error": "invalid_grant"}), GrantRefusedError),
            (JSONResponse({"error": "invalid_client"}, 401), ProviderRefusedError),
            (JSONResponse({"error": "redirect_uri_mismatch"}, 400), ProviderRefusedError),
            (JSONResponse({"error": "admin_policy_enforced"}, 400), ProviderRefusedError),
            (JSONResponse({"error": "invalid_grant"}, 429), ProviderUnavailableError),
            (JSONResponse({"error": "invalid_grant"}, 500), ProviderUnavailableError),
            (JSONResponse({"error": ["invalid_grant"]}, 400), ProviderUnavailableError),
            (JSONResponse({"detail": "not found"}, 404), ProviderUnavailableError),
            (HTMLResponse("invalid_grant", 400), ProviderUnavailableError),
        ],
    )
    async def test_mean_what_the_status_and_the_error_code_say(
        self, setup: Setup, answer: Response, error: type[ProviderError]
    ) -> None:
        setup.stand_in.oddities.token_answers = [answer]
        with pytest.raises(error) as caught:
            await setup.google.refresh("1//secret", scopes=frozenset(), timeout=5)
        assert type(caught.value) is error
        assert "1//secret" not in str(caught.value)

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
        assert grant.refresh_token is not None
        await setup.google.revoke(grant.refresh_token, timeout=5)
        assert setup.stand_in.refresh_tokens == {}

    async def test_is_content_with_a_grant_that_has_ended(self, setup: Setup) -> None:
        await setup.google.revoke("1//unknown", timeout=5)
        assert setup.stand_in.calls["revoke"] == 1

    async def test_needs_no_endpoint(self, setup: Setup) -> None:
        await setup.google_with(revoke_url=None).revoke("1//unknown", timeout=5)
        assert setup.stand_in.calls["revoke"] == 0

    async def test_may_be_answered_by_no_content(self, setup: Setup) -> None:
        setup.stand_in.oddities.revoke_answer = Response(status_code=204)
        await setup.google.revoke("1//unknown", timeout=5)
        assert setup.stand_in.calls["revoke"] == 1

    @pytest.mark.parametrize("answer", [HTMLResponse("<p>", 503), JSONResponse({"error": "x"}, 429)])
    async def test_reports_an_unavailable_provider(self, setup: Setup, answer: Response) -> None:
        setup.stand_in.oddities.revoke_answer = answer
        with pytest.raises(ProviderUnavailableError):
            await setup.google.revoke("1//unknown", timeout=5)


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
