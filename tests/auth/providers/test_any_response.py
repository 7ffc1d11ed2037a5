"""Any response of a provider gives an identity with a grant, or one of our errors."""

import json
from contextlib import suppress
from typing import Any

import jwt
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.responses import Response

from services.auth.providers.base import ProviderError
from tests.auth.providers.conftest import ORIGIN, Setup
from tests.support.auth.stand_in import CLIENT_ID, MAIL_SCOPE

# JSON, with the values beyond the standard that parsers accept.
_TEXT = st.text(max_size=20) | st.sampled_from([CLIENT_ID, ORIGIN, "", "nul\x00", "3599"])
_SOUND = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _TEXT
_ANY = _SOUND | st.floats() | st.sampled_from(["lone\ud83d", 10**400])


def _nested(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=5,
    )


def _some_of(names: str, values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(names.split()), values, min_size=1, max_size=3)


# All examples of a test share one setup; each sets the deviations that it needs.
many = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


async def ends_well(setup: Setup) -> None:
    """Check that the sign-in succeeds or fails with one of our errors."""
    with suppress(ProviderError):
        identity, grant = await setup.exchange()
        assert identity.subject
        assert grant.access_token


class TestAnyAnswer:
    @many
    @given(fields=_some_of("access_token expires_in refresh_token scope token_type id_token error", _nested(_ANY)))
    async def test_of_the_token_endpoint(self, setup: Setup, fields: dict[str, Any]) -> None:
        answer = {"access_token": "a", "expires_in": 60, "scope": MAIL_SCOPE} | fields
        setup.stand_in.deviations.token_answers = [Response(json.dumps(answer))]
        await ends_well(setup)

    @many
    @given(claims=_some_of("iss sub aud azp iat exp nbf nonce email email_verified at_hash jti", _nested(_ANY)))
    async def test_in_the_claims_of_an_id_token(self, setup: Setup, claims: dict[str, Any]) -> None:
        setup.stand_in.deviations.claims = claims
        await ends_well(setup)

    @many
    @given(header=_some_of("kid typ crit jku jwk b64 cty zip", _nested(_SOUND)))
    async def test_in_the_header_of_an_id_token(self, setup: Setup, header: dict[str, Any]) -> None:
        claims = setup.stand_in.id_claims(setup.stand_in.person(), nonce="n" * 43, access_token="x")
        signed = setup.stand_in.sign(claims).split(".")
        head = json.dumps(jwt.get_unverified_header(".".join(signed)) | header).encode()
        signed[0] = jwt.utils.base64url_encode(head).decode()
        setup.stand_in.deviations.id_token = ".".join(signed)
        await ends_well(setup)

    @many
    @given(info=_some_of("sub id email email_verified verified_email", _nested(_SOUND)))
    async def test_of_userinfo(self, setup: Setup, info: dict[str, Any]) -> None:
        setup.stand_in.deviations.omitted = frozenset({"id_token"})
        setup.stand_in.deviations.userinfo = info
        await ends_well(setup)

    @many
    @given(key=_some_of("kid kty alg use n e x5c key_ops", _nested(_ANY)), age=st.text("max-age=0123456789, "))
    async def test_with_keys(self, setup: Setup, key: dict[str, Any], age: str) -> None:
        [good] = setup.stand_in.jwks()
        document = json.dumps({"keys": [key, good | key]})
        setup.stand_in.deviations.jwks_answer = Response(document, headers={"cache-control": age})
        # An adapter that has fetched no keys yet.
        setup.google = setup.google_with()
        await ends_well(setup)
