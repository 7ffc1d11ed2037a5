"""Signing in over gRPC, with mistakes of users and providers, and attacks."""

import asyncio
import base64
import hashlib
import json
import secrets
import time
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import jwt
import pytest
from grpc import aio
from mailroom.auth.v1 import auth_pb2
from redis.asyncio import Redis
from sqlalchemy import func, update
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.responses import HTMLResponse, JSONResponse

from services.auth.cipher import Cipher
from services.auth.sign_in.outcomes import SignInError
from services.auth.store.tables import provider_tokens
from services.kit.rpc.errors import from_rpc_error
from tests.support.auth.client import SECRET_KEY, Client, StartService
from tests.support.auth.stand_in import MAIL_SCOPE, StandIn


async def reason_of(call: object) -> str:
    with pytest.raises(aio.AioRpcError) as caught:
        await call  # type: ignore[misc]  # any RPC
    return from_rpc_error(caught.value).reason


def proof() -> tuple[str, str]:
    """Return a PKCE verifier and its challenge."""
    verifier = secrets.token_urlsafe(48)
    digest = hashlib.sha256(verifier.encode()).digest()
    return verifier, base64.urlsafe_b64encode(digest).decode().rstrip("=")


class TestStart:
    async def test_sends_the_browser_to_the_provider_with_pkce_nonce_and_offline_access(
        self, client: Client, stand_in: StandIn
    ) -> None:
        started = await client.start()
        query = parse_qs(urlsplit(started.authorization_url).query)
        assert started.authorization_url.startswith(f"{stand_in.origin}/authorize?")
        assert query["state"] == [started.state]
        assert query["access_type"] == ["offline"]
        assert query["code_challenge_method"] == ["S256"]
        assert len(query["nonce"][0]) >= 43
        assert MAIL_SCOPE in query["scope"][0].split()
        assert "prompt" not in query

    async def test_refuses_an_unknown_provider(self, client: Client) -> None:
        request = auth_pb2.StartSignInRequest(provider="hotmail")
        assert await reason_of(client.sign_in.StartSignIn(request)) == "unknown_provider"

    @pytest.mark.parametrize("challenge", ["short", "=" * 43, "é" * 43, "a" * 44])
    async def test_refuses_a_malformed_challenge(self, client: Client, challenge: str) -> None:
        request = auth_pb2.StartSignInRequest(provider="google", code_challenge=challenge)
        assert await reason_of(client.sign_in.StartSignIn(request)) == "invalid_code_challenge"

    async def test_keeps_nothing_in_redis_that_could_be_redeemed(self, client: Client, redis: Redis) -> None:
        others = {key async for key in redis.scan_iter("auth:*")}
        started = await client.start()
        query = parse_qs(urlsplit(started.authorization_url).query)
        keys = [key async for key in redis.scan_iter("auth:*") if key not in others]
        stored = " ".join([*keys, *[str(await redis.get(key)) for key in keys]])
        assert keys
        assert started.state not in stored
        assert query["nonce"][0] not in stored


class TestComplete:
    async def test_returns_a_login_code_that_is_not_the_state(self, client: Client, stand_in: StandIn) -> None:
        started = await client.start()
        outcome = await client.complete(**stand_in.consent(started.authorization_url, stand_in.person()))
        assert outcome.WhichOneof("outcome") == "login_code"
        assert outcome.login_code != started.state

    async def test_works_without_an_iss_parameter(self, client: Client, stand_in: StandIn) -> None:
        started = await client.start()
        redirect = stand_in.consent(started.authorization_url, stand_in.person())
        assert (await client.complete(state=redirect["state"], code=redirect["code"])).login_code

    async def test_refuses_a_forged_state(self, client: Client) -> None:
        outcome = await client.complete(state=secrets.token_urlsafe(32), code="4/0anything")
        assert outcome.error == SignInError.INVALID_STATE

    async def test_refuses_an_empty_state(self, client: Client) -> None:
        assert (await client.complete(code="4/0anything")).error == SignInError.INVALID_STATE

    async def test_takes_a_state_once(self, client: Client, stand_in: StandIn) -> None:
        started = await client.start()
        redirect = stand_in.consent(started.authorization_url, stand_in.person())
        await client.complete(**redirect)
        assert (await client.complete(**redirect)).error == SignInError.INVALID_STATE

    async def test_takes_an_expired_state_for_an_unknown_one(
        self, client: Client, stand_in: StandIn, redis: Redis
    ) -> None:
        started = await client.start()
        redirect = stand_in.consent(started.authorization_url, stand_in.person())
        key = f"auth:authorization_request:{hashlib.sha256(started.state.encode()).hexdigest()}"
        assert 590 < await redis.ttl(key) <= 600
        await redis.pexpire(key, 0)
        assert (await client.complete(**redirect)).error == SignInError.INVALID_STATE

    async def test_takes_the_state_of_another_provider_for_an_unknown_one(
        self, client: Client, stand_in: StandIn, redis: Redis
    ) -> None:
        started = await client.start()
        redirect = stand_in.consent(started.authorization_url, stand_in.person())
        digest = hashlib.sha256(started.state.encode()).hexdigest()
        key, field = f"auth:authorization_request:{digest}", "authorization_request"
        cipher = Cipher(SECRET_KEY, previous=None)
        stored = await redis.get(key)
        assert stored is not None
        request = json.loads(cipher.decrypt(base64.b64decode(stored), owner=digest, field=field))
        assert request["provider"] == "google"
        moved = cipher.encrypt(json.dumps(request | {"provider": "other"}), owner=digest, field=field)
        await redis.set(key, base64.b64encode(moved).decode(), ex=60)
        assert (await client.complete(**redirect)).error == SignInError.INVALID_STATE

    async def test_refuses_a_redirect_that_names_another_issuer(self, client: Client, stand_in: StandIn) -> None:
        started = await client.start()
        redirect = stand_in.consent(started.authorization_url, stand_in.person())
        outcome = await client.complete(**(redirect | {"iss": "https://evil.example"}))
        assert outcome.error == SignInError.PROVIDER_ERROR
        assert stand_in.calls["authorization_code"] == 0

    @pytest.mark.parametrize(
        ("error", "outcome"),
        [
            ("access_denied", SignInError.ACCESS_DENIED),
            ("admin_policy_enforced", SignInError.PROVIDER_ERROR),
            ("temporarily_unavailable", SignInError.PROVIDER_UNAVAILABLE),
            ("<script>alert(1)</script>", SignInError.PROVIDER_ERROR),
        ],
    )
    async def test_passes_a_providers_error_on_as_one_of_ours(
        self, client: Client, error: str, outcome: SignInError
    ) -> None:
        started = await client.start()
        assert (await client.complete(state=started.state, error=error)).error == outcome

    async def test_refuses_a_redirect_with_neither_code_nor_error(self, client: Client) -> None:
        started = await client.start()
        assert (await client.complete(state=started.state)).error == SignInError.PROVIDER_ERROR

    async def test_refuses_a_code_that_the_provider_refuses(self, client: Client) -> None:
        started = await client.start()
        outcome = await client.complete(state=started.state, code="4/0never-issued")
        assert outcome.error == SignInError.PROVIDER_ERROR

    async def test_refuses_a_code_of_another_attempt(self, client: Client, stand_in: StandIn) -> None:
        attackers = await client.start()
        victims = await client.start()
        stolen = stand_in.consent(victims.authorization_url, stand_in.person())["code"]
        outcome = await client.complete(state=attackers.state, code=stolen)
        assert outcome.error == SignInError.PROVIDER_ERROR

    @pytest.mark.parametrize(
        "answer",
        [
            HTMLResponse("<h1>502</h1>", 502),
            HTMLResponse("<h1>ok</h1>"),
            JSONResponse({"error": "internal_failure"}, 500),
            JSONResponse({"error": "rate_limit_exceeded"}, 429),
        ],
    )
    async def test_reports_an_unavailable_provider(
        self, client: Client, stand_in: StandIn, answer: JSONResponse
    ) -> None:
        stand_in.deviations.token_answers = [answer]
        assert (await client.connect(stand_in.person())).error == SignInError.PROVIDER_UNAVAILABLE

    async def test_refuses_when_the_mail_scope_was_not_ticked(self, client: Client, stand_in: StandIn) -> None:
        outcome = await client.connect(stand_in.person(), granted="openid email profile")
        assert outcome.error == SignInError.MISSING_SCOPE

    @pytest.mark.parametrize("scope", ["https://mail.google.com/", "https://www.googleapis.com/auth/gmail.modify"])
    async def test_accepts_every_scope_that_can_read_mail(self, client: Client, stand_in: StandIn, scope: str) -> None:
        granted = f"openid https://www.googleapis.com/auth/userinfo.email {scope}"
        assert (await client.connect(stand_in.person(), granted=granted)).login_code

    @pytest.mark.parametrize("verified", [False, "false", "no", 0, 1])
    async def test_refuses_an_unverified_address(self, client: Client, stand_in: StandIn, verified: object) -> None:
        outcome = await client.connect(stand_in.person(email_verified=verified))
        assert outcome.error == SignInError.EMAIL_NOT_VERIFIED

    async def test_refuses_an_unknown_provider(self, client: Client) -> None:
        request = auth_pb2.CompleteSignInRequest(provider="hotmail", state="x", code="y")
        assert await reason_of(client.sign_in.CompleteSignIn(request)) == "unknown_provider"

    async def test_asks_once_more_with_consent_when_there_is_no_refresh_token(
        self, client: Client, stand_in: StandIn
    ) -> None:
        person = stand_in.person()
        first = await client.start()
        stand_in.consent(first.authorization_url, person)
        again = await client.connect(person)
        assert again.WhichOneof("outcome") == "authorization_url"
        query = parse_qs(urlsplit(again.authorization_url).query)
        assert query["prompt"] == ["consent"]
        assert (await client.complete(**stand_in.consent(again.authorization_url, person))).login_code

    async def test_gives_up_when_consent_brings_no_refresh_token_either(
        self, client: Client, stand_in: StandIn
    ) -> None:
        stand_in.deviations.never_offline = True
        person = stand_in.person()
        again = await client.connect(person)
        outcome = await client.complete(**stand_in.consent(again.authorization_url, person))
        assert outcome.error == SignInError.NO_OFFLINE_ACCESS

    async def test_asks_with_consent_when_the_stored_refresh_token_has_ended(
        self, client: Client, stand_in: StandIn, engine: AsyncEngine
    ) -> None:
        person = stand_in.person()
        user = await client.signed_in(person)
        assert (await client.connect(person)).login_code
        async with engine.begin() as connection:
            await connection.execute(
                update(provider_tokens)
                .where(provider_tokens.c.grant_id == UUID(user.account_id))
                .values(refresh_token_expires_at=func.now() - timedelta(seconds=1))
            )
        again = await client.connect(person)
        assert parse_qs(urlsplit(again.authorization_url).query)["prompt"] == ["consent"]

    async def test_keeps_the_clients_challenge_when_asking_again(self, client: Client, stand_in: StandIn) -> None:
        verifier, challenge = proof()
        person = stand_in.person()
        stand_in.consent((await client.start()).authorization_url, person)
        again = await client.connect(person, code_challenge=challenge)
        outcome = await client.complete(**stand_in.consent(again.authorization_url, person))
        assert (await client.redeem(outcome.login_code, code_verifier=verifier)).access_token


class TestMaxAge:
    async def refused(self, client: Client, stand_in: StandIn, *, auth_time: object) -> bool:
        """Return whether a sign-in with a largest age of 60 seconds is refused for this claim."""
        stand_in.deviations.claims = {"auth_time": auth_time}
        started = await client.start(max_age=60)
        outcome = await client.complete(**stand_in.consent(started.authorization_url, stand_in.person()))
        assert outcome.error in ("", SignInError.REAUTHENTICATION_REQUIRED)
        return outcome.error != ""

    @pytest.mark.parametrize("max_age", [0, 600])
    async def test_is_passed_on_to_the_provider(self, client: Client, max_age: int) -> None:
        started = await client.start(max_age=max_age)
        assert parse_qs(urlsplit(started.authorization_url).query)["max_age"] == [str(max_age)]

    async def test_is_not_sent_unless_asked_for(self, client: Client) -> None:
        assert "max_age" not in parse_qs(urlsplit((await client.start()).authorization_url).query)

    async def test_is_no_negative_number(self, client: Client) -> None:
        assert await reason_of(client.start(max_age=-1)) == "invalid_max_age"

    async def test_accepts_a_younger_authentication(self, client: Client, stand_in: StandIn) -> None:
        assert not await self.refused(client, stand_in, auth_time=int(time.time()) - 60)

    @pytest.mark.parametrize("auth_time", [None, "now", True, float("nan"), float("inf"), 10**400, 2**40, [], 0])
    async def test_refuses_an_id_token_that_does_not_show_it(
        self, client: Client, stand_in: StandIn, auth_time: object
    ) -> None:
        assert await self.refused(client, stand_in, auth_time=auth_time)

    async def test_refuses_an_older_authentication(self, client: Client, stand_in: StandIn) -> None:
        assert await self.refused(client, stand_in, auth_time=int(time.time()) - 60 - 60 - 5)

    async def test_refuses_a_provider_without_id_tokens(self, client: Client, stand_in: StandIn) -> None:
        stand_in.deviations.omitted = frozenset({"id_token"})
        assert await self.refused(client, stand_in, auth_time=int(time.time()))

    async def test_is_kept_when_consent_is_asked_for_again(self, client: Client, stand_in: StandIn) -> None:
        person = stand_in.person()
        stand_in.consent((await client.start()).authorization_url, person)
        stand_in.deviations.claims = {"auth_time": int(time.time())}
        started = await client.start(max_age=60)
        again = await client.complete(**stand_in.consent(started.authorization_url, person))
        assert parse_qs(urlsplit(again.authorization_url).query)["max_age"] == ["60"]

    async def test_does_not_concern_other_sign_ins(self, client: Client, stand_in: StandIn) -> None:
        stand_in.deviations.claims = {"auth_time": 0}
        assert (await client.connect(stand_in.person())).login_code


class TestRedeem:
    async def test_gives_a_session_of_the_user(self, client: Client, stand_in: StandIn) -> None:
        outcome = await client.connect(stand_in.person(email="Ada.Lovelace@Example.ORG"))
        session = await client.redeem(outcome.login_code)
        keys = jwt.PyJWKSet.from_json((await client.sessions.ListSigningKeys(auth_pb2.ListSigningKeysRequest())).jwks)
        header = jwt.get_unverified_header(session.access_token)
        claims = jwt.decode(
            session.access_token,
            keys[header["kid"]],
            algorithms=["ES256"],
            issuer="https://mailroom.example",
            audience="https://mailroom.example",
        )
        assert session.token_type == "Bearer"
        assert header["typ"] == "at+jwt"
        assert claims["exp"] - claims["iat"] == 900
        [account] = await client.list_accounts(claims["sub"])
        assert account.email == "Ada.Lovelace@Example.ORG"

    async def test_refuses_the_start_value(self, client: Client, stand_in: StandIn) -> None:
        started = await client.start()
        await client.complete(**stand_in.consent(started.authorization_url, stand_in.person()))
        assert await reason_of(client.redeem(started.state)) == "invalid_hand_off"

    async def test_refuses_a_start_value_that_was_not_completed_yet(self, client: Client, stand_in: StandIn) -> None:
        started = await client.start()
        redirect = stand_in.consent(started.authorization_url, stand_in.person())
        assert await reason_of(client.redeem(started.state)) == "invalid_hand_off"
        assert (await client.complete(**redirect)).login_code

    @pytest.mark.parametrize("value", ["", "never-issued", "\x00\U0001f600" * 500])
    async def test_refuses_a_value_that_was_never_issued(self, client: Client, value: str) -> None:
        assert await reason_of(client.redeem(value)) == "invalid_hand_off"

    async def test_refuses_a_used_value(self, client: Client, stand_in: StandIn) -> None:
        outcome = await client.connect(stand_in.person())
        await client.redeem(outcome.login_code)
        assert await reason_of(client.redeem(outcome.login_code)) == "invalid_hand_off"

    async def test_refuses_an_expired_value(self, client: Client, stand_in: StandIn, redis: Redis) -> None:
        outcome = await client.connect(stand_in.person())
        key = f"auth:login_code:{hashlib.sha256(outcome.login_code.encode()).hexdigest()}"
        assert 110 < await redis.ttl(key) <= 120
        await redis.pexpire(key, 0)
        assert await reason_of(client.redeem(outcome.login_code)) == "invalid_hand_off"

    async def test_refuses_a_record_moved_to_a_value_of_the_attackers(
        self, client: Client, stand_in: StandIn, redis: Redis
    ) -> None:
        outcome = await client.connect(stand_in.person())
        key = f"auth:login_code:{hashlib.sha256(outcome.login_code.encode()).hexdigest()}"
        await redis.rename(key, f"auth:login_code:{hashlib.sha256(b'mine').hexdigest()}")
        assert await reason_of(client.redeem("mine")) == "invalid_hand_off"

    async def test_refuses_a_record_that_another_release_has_left(
        self, client: Client, redis: Redis, capfd: pytest.CaptureFixture[str]
    ) -> None:
        digest = hashlib.sha256(b"value").hexdigest()
        record = json.dumps({"user_of_another_release": "secret"})
        encrypted = Cipher(SECRET_KEY, previous=None).encrypt(record, owner=digest, field="login_code")
        await redis.set(f"auth:login_code:{digest}", base64.b64encode(encrypted).decode(), ex=60)
        assert await reason_of(client.redeem("value")) == "invalid_hand_off"
        assert "secret" not in "".join(capfd.readouterr())

    async def test_lets_one_of_eight_concurrent_callers_win(self, client: Client, stand_in: StandIn) -> None:
        outcome = await client.connect(stand_in.person())
        results = await asyncio.gather(*[client.redeem(outcome.login_code) for _ in range(8)], return_exceptions=True)
        [winner] = [result for result in results if isinstance(result, auth_pb2.RedeemSignInResponse)]
        losers = [from_rpc_error(result).reason for result in results if isinstance(result, aio.AioRpcError)]
        assert winner.access_token
        assert losers == ["invalid_hand_off"] * 7


class TestPkce:
    async def test_redeems_with_the_verifier_of_the_challenge(self, client: Client, stand_in: StandIn) -> None:
        verifier, challenge = proof()
        outcome = await client.connect(stand_in.person(), code_challenge=challenge)
        assert (await client.redeem(outcome.login_code, code_verifier=verifier)).access_token

    async def test_uses_the_login_code_up_when_the_verifier_is_wrong(self, client: Client, stand_in: StandIn) -> None:
        verifier, challenge = proof()
        outcome = await client.connect(stand_in.person(), code_challenge=challenge)
        assert await reason_of(client.redeem(outcome.login_code, code_verifier="w" * 43)) == "invalid_code_verifier"
        assert await reason_of(client.redeem(outcome.login_code, code_verifier=verifier)) == "invalid_hand_off"

    async def test_demands_the_verifier_that_was_announced(self, client: Client, stand_in: StandIn) -> None:
        _, challenge = proof()
        outcome = await client.connect(stand_in.person(), code_challenge=challenge)
        assert await reason_of(client.redeem(outcome.login_code)) == "invalid_code_verifier"

    async def test_refuses_a_verifier_that_was_not_announced(self, client: Client, stand_in: StandIn) -> None:
        verifier, _ = proof()
        outcome = await client.connect(stand_in.person())
        assert await reason_of(client.redeem(outcome.login_code, code_verifier=verifier)) == "invalid_code_verifier"

    async def test_can_be_demanded_of_every_client(self, start_service: StartService) -> None:
        strict = await start_service(auth_require_client_proof=True)
        assert await reason_of(strict.start()) == "client_proof_required"
        _, challenge = proof()
        assert (await strict.start(code_challenge=challenge)).state

    async def test_is_demanded_of_sign_ins_that_began_before_it_was(
        self, client: Client, start_service: StartService, stand_in: StandIn
    ) -> None:
        outcome = await client.connect(stand_in.person())
        strict = await start_service(auth_require_client_proof=True)
        assert await reason_of(strict.redeem(outcome.login_code)) == "invalid_code_verifier"


class TestAccounts:
    async def test_recognises_the_subject_and_not_the_address(self, client: Client, stand_in: StandIn) -> None:
        person = stand_in.person()
        first = await client.signed_in(person)
        person.email = "renamed@example.net"
        second = await client.signed_in(person)
        [account] = await client.list_accounts(first.user_id)
        assert (second.user_id, second.account_id) == (first.user_id, first.account_id)
        assert account.email == "renamed@example.net"

    async def test_gives_another_subject_with_the_same_address_a_user_of_its_own(
        self, client: Client, stand_in: StandIn
    ) -> None:
        first = await client.signed_in(stand_in.person(email="shared@example.com"))
        second = await client.signed_in(stand_in.person(email="SHARED@example.com"))
        assert first.user_id != second.user_id

    async def test_makes_one_user_of_concurrent_first_sign_ins(self, client: Client, stand_in: StandIn) -> None:
        stand_in.deviations.always_consents = True
        person = stand_in.person()
        outcomes = await asyncio.gather(*[client.connect(person) for _ in range(8)])
        sessions = await asyncio.gather(*[client.redeem(outcome.login_code) for outcome in outcomes])
        users = {jwt.decode(s.access_token, options={"verify_signature": False})["sub"] for s in sessions}
        assert len(users) == 1

    async def test_loses_none_of_many_concurrent_sign_ins(self, client: Client, stand_in: StandIn) -> None:
        people = [stand_in.person() for _ in range(60)]
        users = await asyncio.gather(*[client.signed_in(person) for person in people])
        assert len({user.user_id for user in users}) == len(people)
        assert len({user.account_id for user in users}) == len(people)

    async def test_lists_none_for_an_unknown_user(self, client: Client) -> None:
        assert await client.list_accounts("0b6f3b0e-6f4f-4a44-8a57-000000000000") == []

    async def test_refuses_a_malformed_user_id(self, client: Client) -> None:
        request = auth_pb2.ListAccountsRequest(user_id="ada")
        assert await reason_of(client.accounts.ListAccounts(request)) == "invalid_user_id"


class TestStrangeProviders:
    """Providers that keep the protocol and differ from Google."""

    @pytest.mark.parametrize(
        "omitted",
        [
            {"id_token"},
            {"scope"},
            {"expires_in"},
            {"token_type"},
            {"id_token", "scope", "expires_in", "token_type"},
        ],
    )
    async def test_sign_in_works_without_optional_fields(
        self, client: Client, stand_in: StandIn, omitted: set[str]
    ) -> None:
        stand_in.deviations.omitted = frozenset(omitted)
        user = await client.signed_in(stand_in.person())
        assert (await client.provider_token(user)).access_token in stand_in.access_tokens

    @pytest.mark.parametrize("lifetime", ["3599", 3599.5, None, -1, 0, "soon", 10**30])
    async def test_sign_in_works_with_odd_lifetimes(self, client: Client, stand_in: StandIn, lifetime: object) -> None:
        stand_in.deviations.lifetime = lifetime
        user = await client.signed_in(stand_in.person())
        assert (await client.provider_token(user)).access_token in stand_in.access_tokens

    async def test_sign_in_works_with_a_verified_flag_that_is_text(self, client: Client, stand_in: StandIn) -> None:
        assert (await client.connect(stand_in.person(email_verified="true"))).login_code

    async def test_sign_in_works_with_googles_older_userinfo(self, client: Client, stand_in: StandIn) -> None:
        stand_in.deviations.omitted = frozenset({"id_token"})
        stand_in.deviations.userinfo = {"id": "42", "email": "old@example.com", "verified_email": True}
        assert (await client.connect(stand_in.person())).login_code

    async def test_an_unverified_address_in_userinfo_is_refused(self, client: Client, stand_in: StandIn) -> None:
        stand_in.deviations.omitted = frozenset({"id_token"})
        stand_in.deviations.userinfo = {"id": "43", "email": "old@example.com", "verified_email": False}
        assert (await client.connect(stand_in.person())).error == SignInError.EMAIL_NOT_VERIFIED

    async def test_extra_fields_of_any_kind_are_ignored(self, client: Client, stand_in: StandIn) -> None:
        stand_in.deviations.extra = {"not_before_policy": [], "session_state": {"a": None}, "token_type": "bearer"}
        assert (await client.connect(stand_in.person())).login_code

    async def test_a_provider_known_by_two_urls_only_is_asked_for_userinfo(
        self, start_service: StartService, stand_in: StandIn
    ) -> None:
        bare = await start_service(google_issuer=None, google_jwks_url=None, google_revoke_url=None)
        user = await bare.signed_in(stand_in.person())
        assert stand_in.calls["userinfo"] == 1
        assert stand_in.calls["jwks"] == 0
        assert user.user_id
