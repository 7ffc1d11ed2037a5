"""Verification of JSON Web Tokens: every rule that a token can break, and the fetches of keys meanwhile."""

import base64
import json
import math
from typing import Any

import pytest

from services.kit.jwks import KeySet, KeysUnavailableError
from services.kit.jwt import InvalidTokenError, RememberingVerifier, TokenRules, TokenVerifier
from tests.support.kit.token_issuer import AUDIENCE, ISSUER, NOW, TokenIssuer

LEEWAY = 5
LONGEST = 4096
OTHER_SPELLING = "issuer.example"


@pytest.fixture
def issuer() -> TokenIssuer:
    return TokenIssuer("a")


RULES = TokenRules(
    algorithm="ES256",
    issuers=frozenset({ISSUER, OTHER_SPELLING}),
    audience=AUDIENCE,
    required=frozenset({"sub"}),
    types=frozenset({"at+jwt"}),
    leeway=LEEWAY,
    longest=LONGEST,
)


@pytest.fixture
def keys(issuer: TokenIssuer) -> KeySet:
    return KeySet(issuer.fetch, algorithm="ES256", retry_interval=10, monotonic=lambda: 0.0)


@pytest.fixture
def verifier(keys: KeySet) -> TokenVerifier:
    return TokenVerifier(RULES, keys=keys, now=lambda: NOW)


def encoded(part: Any) -> str:
    """Encode a part of a JWT."""
    return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")


def nested(depth: int) -> str:
    """Encode nested lists in place of a part of a JWT."""
    return base64.urlsafe_b64encode(b"[" * depth).decode().rstrip("=")


async def reason(verifier: TokenVerifier, token: str) -> str:
    """Return the reason for which the token is refused."""
    with pytest.raises(InvalidTokenError) as caught:
        await verifier.verify(token)
    return str(caught.value)


class TestGoodToken:
    async def test_gives_its_claims_and_the_key_that_verified_it(
        self, verifier: TokenVerifier, issuer: TokenIssuer
    ) -> None:
        verified = await verifier.verify(issuer.sign("a", issuer.claims()))
        assert (verified.claims["sub"], verified.key.key_id) == ("ada", "a")

    @pytest.mark.parametrize(
        "claims",
        [
            {"iss": OTHER_SPELLING},
            {"aud": ["https://other.example", AUDIENCE]},
            {"exp": NOW - LEEWAY + 1},
            {"iat": NOW + LEEWAY},
            {"nbf": NOW + LEEWAY},
            {"iat": NOW + 0.5},
        ],
    )
    async def test_may_lie_at_the_edge_of_the_rules(
        self, verifier: TokenVerifier, issuer: TokenIssuer, claims: dict[str, object]
    ) -> None:
        assert await verifier.verify(issuer.sign("a", issuer.claims(**claims)))

    async def test_may_spell_its_type_in_any_case(self, verifier: TokenVerifier, issuer: TokenIssuer) -> None:
        assert await verifier.verify(issuer.sign("a", issuer.claims(), typ="AT+JWT"))


class TestWrongClaim:
    @pytest.mark.parametrize(
        ("claims", "expected"),
        [
            ({"iss": "https://other.example"}, "InvalidIssuerError"),
            ({"iss": [ISSUER]}, "InvalidIssuerError"),
            ({"iss": None}, "MissingRequiredClaimError"),
            ({"aud": "https://other.example"}, "InvalidAudienceError"),
            ({"aud": [5]}, "InvalidAudienceError"),
            ({"aud": None}, "MissingRequiredClaimError"),
            ({"sub": None}, "MissingRequiredClaimError"),
            ({"sub": 5}, "InvalidSubjectError"),
            ({"exp": NOW - LEEWAY}, "expired"),
            ({"exp": None}, "MissingRequiredClaimError"),
            ({"exp": "1900000000"}, "a time that is not a number"),
            ({"exp": math.nan}, "a time that is not a number"),
            ({"exp": math.inf}, "a time that is not a number"),
            ({"exp": -(10**400)}, "expired"),
            ({"iat": 10**400}, "not valid yet"),
            ({"iat": NOW + LEEWAY + 1}, "not valid yet"),
            ({"iat": None}, "MissingRequiredClaimError"),
            ({"iat": [NOW]}, "a time that is not a number"),
            ({"nbf": NOW + LEEWAY + 1}, "not valid yet"),
            ({"nbf": "now"}, "a time that is not a number"),
        ],
    )
    async def test_is_refused_with_its_reason_with_and_without_the_signature(
        self, verifier: TokenVerifier, issuer: TokenIssuer, claims: dict[str, object], expected: str
    ) -> None:
        token = issuer.sign("a", issuer.claims(**claims))
        assert await reason(verifier, token) == expected
        with pytest.raises(InvalidTokenError, match=expected):
            verifier.claims_without_signature(token)


class TestWrongHeader:
    @pytest.mark.parametrize(
        ("header", "expected"),
        [
            ({"alg": "none"}, "another algorithm"),
            ({"alg": "HS256"}, "another algorithm"),
            ({"alg": ["ES256"]}, "another algorithm"),
            ({"typ": "JWT"}, "another type"),
            ({"typ": None}, "another type"),
            ({"typ": ["at+jwt"]}, "another type"),
            ({"kid": 5}, "InvalidTokenError"),
        ],
    )
    async def test_is_refused_before_any_key_is_fetched(
        self, verifier: TokenVerifier, issuer: TokenIssuer, header: dict[str, object], expected: str
    ) -> None:
        _, payload, signature = issuer.sign("a", issuer.claims()).split(".")
        usual = {"alg": "ES256", "typ": "at+jwt", "kid": "a"}
        token = f"{encoded(usual | header)}.{payload}.{signature}"
        assert await reason(verifier, token) == expected
        assert issuer.fetches == 0
        with pytest.raises(InvalidTokenError, match=expected):
            verifier.claims_without_signature(token)

    @pytest.mark.parametrize(
        "token",
        [
            "",
            "x",
            "a.b.c",
            "....",
            "é.é.é",
            "\ud83d.a.b",
            "\0",
            "e30.e30.e30",
            "W10.W10.W10",
            f"{nested(1500)}.e30.e30",
        ],
    )
    async def test_of_text_that_is_no_token_is_refused(
        self, verifier: TokenVerifier, issuer: TokenIssuer, token: str
    ) -> None:
        with pytest.raises(InvalidTokenError):
            await verifier.verify(token)
        assert issuer.fetches == 0

    async def test_is_not_even_read_in_a_token_that_is_too_long(
        self, verifier: TokenVerifier, issuer: TokenIssuer
    ) -> None:
        token = issuer.sign("a", issuer.claims(padding="x" * LONGEST))
        assert await reason(verifier, token) == "too long"
        assert issuer.fetches == 0


class TestSignature:
    async def test_of_another_key_with_the_same_id_is_refused(
        self, verifier: TokenVerifier, issuer: TokenIssuer
    ) -> None:
        assert await reason(verifier, TokenIssuer("a").sign("a", issuer.claims())) == "InvalidSignatureError"

    async def test_of_an_unpublished_key_is_refused(self, verifier: TokenVerifier, issuer: TokenIssuer) -> None:
        assert await reason(verifier, TokenIssuer("b").sign("b", issuer.claims())) == "unknown key"

    async def test_is_left_open_while_no_keys_can_be_fetched(
        self, verifier: TokenVerifier, issuer: TokenIssuer
    ) -> None:
        issuer.failure = "HTTP 503"
        token = issuer.sign("a", issuer.claims())
        with pytest.raises(KeysUnavailableError):
            await verifier.verify(token)
        assert verifier.claims_without_signature(token)["sub"] == "ada"

    async def test_that_is_wrong_is_reported_without_the_token(
        self, verifier: TokenVerifier, issuer: TokenIssuer
    ) -> None:
        token = issuer.sign("a", issuer.claims(sub="secret-subject"))
        forged = token[:-8] + "AAAAAAAA"
        for part in forged.split("."):
            assert part not in await reason(verifier, forged)


class TestRememberedTokens:
    async def test_are_the_last_ones_until_they_expire(self, issuer: TokenIssuer, keys: KeySet) -> None:
        read: list[str] = []
        now = [NOW]

        def content_of(token: str, claims: dict[str, Any]) -> str:
            read.append(token)
            return str(claims["sub"])

        verifier = RememberingVerifier(RULES, keys=keys, now=lambda: now[0], content_of=content_of, most=2)
        first, second, third = (issuer.sign("a", issuer.claims(sub=name)) for name in ("ada", "grace", "joan"))
        for token, subject in ((first, "ada"), (first, "ada"), (second, "grace"), (third, "joan"), (second, "grace")):
            assert await verifier.read(token) == subject
        assert read == [first, second, third]
        assert await verifier.read(first) == "ada"
        assert read == [first, second, third, first]
        now[0] = issuer.claims()["exp"] + LEEWAY
        with pytest.raises(InvalidTokenError, match="expired"):
            await verifier.read(first)
