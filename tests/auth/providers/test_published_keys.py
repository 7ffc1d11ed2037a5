"""The published keys that verify ID tokens."""

import time

import pytest
from starlette.responses import HTMLResponse, JSONResponse, Response

from services.auth.providers.base import (
    IdentityRefusedError,
    ProviderUnavailableError,
)
from tests.auth.providers.conftest import Setup


class TestSigningKeys:
    async def test_are_fetched_once_for_many_sign_ins(self, setup: Setup) -> None:
        for _ in range(3):
            await setup.exchange()
        assert setup.stand_in.calls["jwks"] == 1

    async def test_are_fetched_again_when_their_time_is_up(self, setup: Setup) -> None:
        await setup.exchange()
        setup.time.advance(3601)
        setup.stand_in.deviations.claims = {"exp": int(time.time()) + 7200}
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
            setup.stand_in.deviations.id_token = setup.stand_in.sign(claims, headers={"kid": f"made up {number}"})
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
        setup.stand_in.deviations.claims = {"exp": int(time.time()) + 7200}
        setup.stand_in.deviations.jwks_answer = answer
        assert await setup.exchange()
        assert setup.stand_in.calls["jwks"] == 2

    async def test_of_other_kinds_and_broken_ones_are_skipped(self, setup: Setup) -> None:
        [key] = setup.stand_in.jwks()
        broken = [{"kty": "EC", "kid": "e"}, {"kty": "RSA", "kid": "r", "n": "!", "e": "!"}, 5, {}]
        others = [{**key, "use": "enc"}, {**key, "alg": "RS512"}]
        setup.stand_in.deviations.jwks_answer = JSONResponse({"keys": [*broken, *others, key, *others, *broken]})
        assert await setup.exchange()

    async def test_need_no_id_when_there_is_only_one(self, setup: Setup) -> None:
        setup.stand_in.deviations.names_keys = False
        assert await setup.exchange()

    async def test_need_an_id_when_there_are_several(self, setup: Setup) -> None:
        setup.stand_in.deviations.names_keys = False
        setup.stand_in.deviations.jwks_answer = JSONResponse({"keys": setup.stand_in.jwks() * 2})
        with pytest.raises(IdentityRefusedError, match="unknown key"):
            await setup.exchange()

    async def test_that_are_unavailable_leave_the_identity_to_userinfo_over_tls(self, setup: Setup) -> None:
        setup.stand_in.deviations.jwks_answer = Response(status_code=404)
        person = setup.stand_in.person()
        identity, _ = await setup.exchange(person)
        assert identity.subject == person.subject
        assert setup.stand_in.calls["userinfo"] == 1

    async def test_that_may_have_been_replaced_leave_the_identity_to_userinfo_over_tls(self, setup: Setup) -> None:
        await setup.exchange()
        setup.stand_in.rotate_keys()
        setup.stand_in.deviations.jwks_answer = Response(status_code=503)
        person = setup.stand_in.person()
        identity, _ = await setup.exchange(person)
        assert identity.subject == person.subject
        assert setup.stand_in.calls["userinfo"] == 1

    async def test_that_are_unavailable_do_not_excuse_a_wrong_claim(self, setup: Setup) -> None:
        setup.stand_in.deviations.jwks_answer = Response(status_code=404)
        setup.stand_in.deviations.claims = {"nonce": "of another attempt"}
        with pytest.raises(IdentityRefusedError):
            await setup.exchange()

    async def test_that_are_unavailable_are_required_where_only_they_prove_the_origin(self, setup: Setup) -> None:
        setup.stand_in.deviations.jwks_answer = Response(status_code=404)
        google = setup.google_with(token_url="http://stand-in.example/token")
        with pytest.raises(ProviderUnavailableError):
            await setup.exchange(google=google)

    async def test_that_are_published_are_required_even_over_tls(self, setup: Setup) -> None:
        setup.stand_in.deviations.jwks_answer = JSONResponse({"keys": []})
        with pytest.raises(IdentityRefusedError, match="unknown key"):
            await setup.exchange()
