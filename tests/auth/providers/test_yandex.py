"""The adapter for Yandex ID in front of the sandbox, in this process."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from services.auth.providers.base import (
    AccessRefusedError,
    AuthenticationTooOldError,
    Grant,
    GrantRefusedError,
    IdentityRefusedError,
    ProviderError,
    ProviderIdentity,
    ProviderRefusedError,
    ProviderUnavailableError,
)
from services.auth.providers.oauth_client import RegisteredClient
from services.auth.providers.userinfo_oauth import Endpoints, UserinfoOAuth
from services.auth.providers.yandex import device_id_of, yandex
from services.auth.sign_in.pkce import s256
from services.kit.http.outbound import Egress
from services.sandbox.app import open_sandbox
from services.sandbox.clock import Clock
from services.sandbox.settings import DEV_CLIENT_ID, DEV_CLIENT_SECRET, Settings
from tests.support.auth.clock import Time
from tests.support.sandbox.harness import ISSUER
from tests.support.sandbox.key_ring import next_key
from tests.support.sandbox.yandex_client import REDIRECT_URI, SCOPE, YandexClient, redirect_params

VERIFIER = "v" * 43
SECRET = "a secret of the tests"


@dataclass
class Setup:
    """The adapter, the sandbox's client, and both clocks."""

    http: httpx.AsyncClient
    sandbox: YandexClient
    clock: Clock
    time: Time
    yandex: UserinfoOAuth

    def adapter(self, *, client_id: str = DEV_CLIENT_ID, secret: str = DEV_CLIENT_SECRET) -> UserinfoOAuth:
        """Return the adapter of a client."""
        return yandex(
            endpoints=Endpoints(
                authorization_url=f"{ISSUER}/yandex/authorize",
                token_url=f"{ISSUER}/yandex/token",
                userinfo_url=f"{ISSUER}/yandex/info?format=json",
                revoke_url=f"{ISSUER}/yandex/revoke_token",
            ),
            client=RegisteredClient(client_id, secret, REDIRECT_URI, tuple(SCOPE.split())),
            device_id=device_id_of(SECRET, client_id),
            egress=Egress(self.http, unavailable=ProviderUnavailableError),
            clock=self.time.now,
        )

    def authorization_url(self, *, force_consent: bool = False, choose_account: bool = False) -> str:
        """Return the URL for the browser."""
        return self.yandex.authorization_url(
            state="s",
            nonce="n",
            code_challenge=s256(VERIFIER),
            force_consent=force_consent,
            choose_account=choose_account,
            max_age=None,
        )

    async def exchange(self) -> tuple[ProviderIdentity, Grant]:
        """Run Ada's whole sign-in through the adapter."""
        form = {"account": "ada@example.com", "decision": "allow"}
        code = redirect_params(await self.http.post(self.authorization_url(), data=form))["code"]
        return await self.yandex.exchange(code, code_verifier=VERIFIER, nonce="n", max_age=None, timeout=5)

    async def refresh(self, grant: Grant) -> Grant:
        assert grant.refresh_token is not None
        return await self.yandex.refresh(grant.refresh_token, scopes=grant.scopes, timeout=5)

    async def plan(self, method: str, **rule: object) -> None:
        """Let the next call of the method fail."""
        rules = [{"method": f"yandex.{method}", "count": 1, "kind": "error", **rule}]
        await self.sandbox.control("PUT", "faults", {"rules": rules})


@pytest.fixture
async def setup() -> AsyncIterator[Setup]:
    clock = Clock()
    async with (
        open_sandbox(Settings(sandbox_enabled=True, messages=0), clock=clock, new_key=next_key) as app,
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=ISSUER) as http,
    ):
        setup = Setup(http, YandexClient(http), clock, Time(), yandex=None)  # type: ignore[arg-type]  # made in the next line
        setup.yandex = setup.adapter()
        yield setup


class TestAuthorizationUrl:
    def test_asks_for_a_device_and_with_pkce(self, setup: Setup) -> None:
        query = parse_qs(urlsplit(setup.authorization_url()).query)
        assert query["scope"] == [SCOPE]
        assert query["code_challenge_method"] == ["S256"]
        assert query["device_id"] == [device_id_of(SECRET, DEV_CLIENT_ID)]
        assert not {"nonce", "access_type", "prompt", "force_confirm"} & query.keys()

    def test_forces_confirmation_where_consent_or_another_account_is_wanted(self, setup: Setup) -> None:
        for wish in ({"force_consent": True}, {"choose_account": True}):
            assert parse_qs(urlsplit(setup.authorization_url(**wish)).query)["force_confirm"] == ["yes"]


class TestDeviceId:
    def test_is_that_of_the_installation_and_client(self) -> None:
        assert device_id_of(SECRET, "a") == device_id_of(SECRET, "a")
        assert len({device_id_of(SECRET, "a"), device_id_of(SECRET, "b"), device_id_of("other", "a")}) == 3
        assert len(device_id_of(SECRET, "a")) == 32


class TestIssuer:
    def test_may_be_any_in_a_redirect(self, setup: Setup) -> None:
        assert setup.yandex.accepts_issuer("")
        assert setup.yandex.accepts_issuer("https://login.yandex.ru")


class TestScopes:
    @pytest.mark.parametrize(
        ("granted", "suffices"),
        [("mail:imap_ro", True), ("mail:imap_full login:email", True), ("mail:smtp", False), ("login:email", False)],
    )
    def test_mail_needs_one_that_reads_it(self, setup: Setup, granted: str, suffices: bool) -> None:
        assert setup.yandex.grants_mail(frozenset(granted.split())) is suffices


class TestExchange:
    async def test_tells_the_identity_whose_address_it_does_not_call_verified(self, setup: Setup) -> None:
        identity, grant = await setup.exchange()
        assert identity.subject.isdigit()
        assert (identity.email, identity.email_verified) == ("ada@example.com", None)
        assert grant.scopes == set(SCOPE.split())
        assert grant.refresh_token
        assert (grant.access_token_expires_at - setup.time.now()).days in (364, 365)
        assert grant.refresh_token_expires_at is None

    async def test_cannot_show_a_recent_authentication(self, setup: Setup) -> None:
        with pytest.raises(AuthenticationTooOldError):
            await setup.yandex.exchange("c", code_verifier=VERIFIER, nonce="n", max_age=60, timeout=5)
        assert (await setup.sandbox.control("GET", "calls"))["methods"] == {}

    async def test_refuses_a_token_that_userinfo_refuses(self, setup: Setup) -> None:
        await setup.plan("info", status=401)
        with pytest.raises(IdentityRefusedError):
            await setup.exchange()

    async def test_refuses_the_token_of_another_client(self, setup: Setup) -> None:
        async def answer(request: httpx.Request) -> httpx.Response:
            token = {"access_token": "y0_x", "refresh_token": "1:x", "expires_in": 60, "token_type": "bearer"}
            info = {"id": "7", "default_email": "ada@example.com", "client_id": "another"}
            return httpx.Response(200, json=info if request.url.path.endswith("/info") else token)

        async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
            setup.http = http
            with pytest.raises(IdentityRefusedError):
                await setup.adapter().exchange("c", code_verifier=VERIFIER, nonce="n", max_age=None, timeout=5)

    @pytest.mark.parametrize("info", [{}, {"id": "7"}, {"id": None, "default_email": "a@b.example"}])
    async def test_refuses_an_identity_without_id_or_address(self, setup: Setup, info: dict[str, object]) -> None:
        async def answer(request: httpx.Request) -> httpx.Response:
            return httpx.Response(200, json=info if request.url.path.endswith("/info") else {"access_token": "y0_x"})

        async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
            setup.http = http
            with pytest.raises(IdentityRefusedError):
                await setup.adapter().exchange("c", code_verifier=VERIFIER, nonce="n", max_age=None, timeout=5)


class TestRefresh:
    async def test_rotates_and_may_bring_the_same_access_token(self, setup: Setup) -> None:
        _, first = await setup.exchange()
        second = await setup.refresh(first)
        assert second.access_token == first.access_token
        assert second.refresh_token not in (None, first.refresh_token)
        assert second.scopes == first.scopes
        with pytest.raises(GrantRefusedError):
            await setup.refresh(first)

    async def test_of_a_grant_that_was_not_refreshed_for_a_year_is_refused(self, setup: Setup) -> None:
        _, grant = await setup.exchange()
        setup.clock.advance(366 * 86_400)
        with pytest.raises(GrantRefusedError):
            await setup.refresh(grant)

    @pytest.mark.parametrize(
        ("reason", "status", "error"),
        [
            ("expired_token", 400, GrantRefusedError),
            ("invalid_grant", 400, GrantRefusedError),
            ("invalid_scope", 400, ProviderRefusedError),
            ("unauthorized_client", 401, ProviderRefusedError),
            ("Basic auth required", 401, ProviderRefusedError),
            ("Malformed Authorization header", 400, ProviderRefusedError),
            ("an error of many words, with a token", 400, ProviderUnavailableError),
            ("expired_token", 503, ProviderUnavailableError),
        ],
    )
    async def test_maps_error_names_to_errors(
        self, setup: Setup, reason: str, status: int, error: type[ProviderError]
    ) -> None:
        _, grant = await setup.exchange()
        await setup.plan("token", reason=reason, status=status)
        with pytest.raises(error) as caught:
            await setup.refresh(grant)
        assert type(caught.value) is error
        assert "many words" not in str(caught.value)

    async def test_with_a_wrong_secret_is_the_operators_fault(self, setup: Setup) -> None:
        _, grant = await setup.exchange()
        assert grant.refresh_token is not None
        with pytest.raises(ProviderRefusedError):
            await setup.adapter(secret="wrong").refresh(grant.refresh_token, scopes=frozenset(), timeout=5)


class TestRefusedToken:
    """What the mail server refuses alike: a dead token, and a mailbox that IMAP is switched off for."""

    async def test_is_dead_if_userinfo_refuses_it_too(self, setup: Setup) -> None:
        _, grant = await setup.exchange()
        await setup.sandbox.control("POST", "users/ada@example.com/tokens/expire")
        assert await setup.yandex.is_dead(grant.access_token, timeout=5)

    async def test_lives_if_userinfo_takes_it_so_that_imap_is_off(self, setup: Setup) -> None:
        _, grant = await setup.exchange()
        with pytest.raises(AccessRefusedError) as caught:
            await setup.yandex.is_dead(grant.access_token, timeout=5)
        assert caught.value.denial == "imap_disabled"

    @pytest.mark.parametrize("rule", [{"kind": "html_503"}, {"status": 429}, {"kind": "html_503", "status": 403}])
    async def test_is_neither_while_userinfo_does_not_tell(self, setup: Setup, rule: dict[str, object]) -> None:
        _, grant = await setup.exchange()
        await setup.plan("info", **rule)
        with pytest.raises(ProviderUnavailableError):
            await setup.yandex.is_dead(grant.access_token, timeout=5)


class TestRevoke:
    async def test_ends_the_grant_by_its_access_token(self, setup: Setup) -> None:
        _, grant = await setup.exchange()
        await setup.yandex.revoke(grant, timeout=5)
        assert await setup.yandex.is_dead(grant.access_token, timeout=5)
        await setup.yandex.revoke(grant, timeout=5)

    async def test_of_a_token_without_a_device_counts_as_done(self, setup: Setup) -> None:
        tokens = await setup.sandbox.sign_in(device_id=None)
        _, grant = await setup.exchange()
        without = Grant(tokens["access_token"], grant.access_token_expires_at, "1:x", None, grant.scopes)
        await setup.yandex.revoke(without, timeout=5)

    async def test_with_a_wrong_secret_is_not_done(self, setup: Setup) -> None:
        _, grant = await setup.exchange()
        with pytest.raises(ProviderRefusedError):
            await setup.adapter(secret="wrong").revoke(grant, timeout=5)
