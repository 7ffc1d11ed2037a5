"""The authorization URL, and the evaluation of the granted scopes and tokens."""

from urllib.parse import parse_qs, urlsplit

import pytest
from starlette.responses import JSONResponse

from services.auth.providers.base import IdentityRefusedError, ProviderUnavailableError
from services.auth.providers.google import ISSUER, Google
from tests.auth.providers.conftest import ORIGIN, Setup
from tests.support.auth.stand_in import MAIL_SCOPE


def parameters_of(google: Google, *, force_consent: bool = False, choose_account: bool = False) -> dict[str, list[str]]:
    """Return the query of an authorization URL."""
    url = google.authorization_url(
        state="s",
        nonce="n",
        code_challenge="c",
        force_consent=force_consent,
        choose_account=choose_account,
        max_age=None,
    )
    return parse_qs(urlsplit(url).query)


class TestAuthorizationUrl:
    def test_asks_for_consent_and_for_the_choice_of_an_account_only_if_told_to(self, setup: Setup) -> None:
        assert "prompt" not in parameters_of(setup.google)
        assert parameters_of(setup.google, force_consent=True)["prompt"] == ["consent"]
        assert parameters_of(setup.google, choose_account=True)["prompt"] == ["select_account"]
        both = parameters_of(setup.google, force_consent=True, choose_account=True)
        assert both["prompt"] == ["select_account consent"]

    def test_keeps_the_parameters_of_the_configured_url(self, setup: Setup) -> None:
        google = setup.google_with(authorization_url=f"{ORIGIN}/authorize?tenant=a%26b")
        assert parameters_of(google)["tenant"] == ["a&b"]


class TestIssuer:
    def test_the_redirects_issuer_must_be_the_configured_one_if_present(self, setup: Setup) -> None:
        assert setup.google.accepts_issuer("")
        assert setup.google.accepts_issuer(ORIGIN)
        assert not setup.google.accepts_issuer(f"{ORIGIN}/")
        assert not setup.google.accepts_issuer(ISSUER)

    async def test_both_spellings_of_googles_issuer_are_accepted_in_id_tokens(self, setup: Setup) -> None:
        google = setup.google_with(issuer=ISSUER)
        for issuer in (ISSUER, "accounts.google.com"):
            setup.stand_in.deviations.claims = {"iss": issuer}
            assert await setup.exchange(google=google)
        assert not google.accepts_issuer("accounts.google.com")

    async def test_other_issuers_have_one_spelling(self, setup: Setup) -> None:
        setup.stand_in.deviations.claims = {"iss": "stand-in.example"}
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
        setup.stand_in.deviations.extra = {
            "scope": f"https://www.googleapis.com/auth/userinfo.email {MAIL_SCOPE} openid"
        }
        _, grant = await setup.exchange()
        assert grant.scopes == {"email", "openid", MAIL_SCOPE}

    async def test_no_scope_in_the_answer_means_the_requested_ones(self, setup: Setup) -> None:
        setup.stand_in.deviations.omitted = frozenset({"scope"})
        _, grant = await setup.exchange()
        assert grant.scopes == {"email", "openid", MAIL_SCOPE}

    async def test_malformed_scopes_are_ignored(self, setup: Setup) -> None:
        setup.stand_in.deviations.extra = {"scope": f"openid nul\x00 ü {MAIL_SCOPE}"}
        _, grant = await setup.exchange()
        assert grant.scopes == {"openid", MAIL_SCOPE}

    async def test_a_list_of_them_counts_as_their_text(self, setup: Setup) -> None:
        setup.stand_in.deviations.extra = {"scope": ["openid", "email"]}
        _, grant = await setup.exchange()
        assert grant.scopes == {"openid", "email"}

    async def test_an_empty_scope_in_the_answer_means_none(self, setup: Setup) -> None:
        setup.stand_in.deviations.extra = {"scope": ""}
        _, grant = await setup.exchange()
        assert grant.scopes == frozenset()


class TestTokenAnswers:
    async def test_may_say_created(self, setup: Setup) -> None:
        setup.stand_in.deviations.token_answers = [JSONResponse({"access_token": "a", "expires_in": "60"}, 201)]
        grant = await setup.google.refresh("1//secret", scopes=frozenset({MAIL_SCOPE}), timeout=5)
        assert (grant.access_token, grant.refresh_token, grant.scopes) == ("a", None, frozenset({MAIL_SCOPE}))

    @pytest.mark.parametrize("error", [None, ""])
    async def test_may_say_that_there_is_no_error(self, setup: Setup, error: str | None) -> None:
        setup.stand_in.deviations.extra = {"error": error}
        assert await setup.exchange()

    @pytest.mark.parametrize("kind", ["Bearer", "bearer", "BEARER", None, ""])
    async def test_may_write_the_type_in_any_way_or_leave_it_out(self, setup: Setup, kind: str | None) -> None:
        setup.stand_in.deviations.extra = {"token_type": kind}
        assert await setup.exchange()

    @pytest.mark.parametrize("kind", ["DPoP", "mac", "N_A", 5, ["Bearer"]])
    async def test_of_tokens_of_another_type_are_not_used(self, setup: Setup, kind: object) -> None:
        setup.stand_in.deviations.extra = {"token_type": kind}
        with pytest.raises(ProviderUnavailableError):
            await setup.exchange()
