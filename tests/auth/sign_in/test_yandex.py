"""Auth with Yandex as the sandbox plays it, from the consent to the end of the grant."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import httpx
import pytest
from grpc import aio
from mailroom.auth.v1 import auth_pb2
from pydantic import SecretStr
from sqlalchemy import func, select, text, update
from sqlalchemy.ext.asyncio import AsyncEngine

from services.auth.sign_in.outcomes import SignInError
from services.auth.store.tables import provider_tokens
from services.kit.rpc.errors import from_rpc_error
from services.sandbox.settings import DEV_CLIENT_ID, DEV_CLIENT_SECRET
from tests.support.auth.client import Client, OpenService, SignedIn
from tests.support.auth.stand_in import Person
from tests.support.auth.yandex_browser import Browser
from tests.support.mail.waiting import eventually


@pytest.fixture(scope="module")
def open_with_yandex(open_service: OpenService, yandex_origin: str) -> OpenService:
    return partial(
        open_service,
        yandex_client_id=DEV_CLIENT_ID,
        yandex_client_secret=SecretStr(DEV_CLIENT_SECRET),
        yandex_auth_url=f"{yandex_origin}/yandex/authorize",
        yandex_token_url=f"{yandex_origin}/yandex/token",
        yandex_userinfo_url=f"{yandex_origin}/yandex/info?format=json",
        yandex_revoke_url=f"{yandex_origin}/yandex/revoke_token",
    )


@pytest.fixture(scope="module")
async def service(open_with_yandex: OpenService) -> AsyncIterator[Client]:
    """Auth with Yandex beside Google."""
    async with open_with_yandex() as client:
        yield client


async def reason_of(call: object) -> str:
    with pytest.raises(aio.AioRpcError) as caught:
        await call  # type: ignore[misc]  # any RPC
    return from_rpc_error(caught.value).reason


async def status_of(client: Client, user: SignedIn) -> auth_pb2.AccountStatus.ValueType:
    [account] = await client.list_accounts(user.user_id)
    return account.status


class TestSignIn:
    async def test_connects_an_account_and_does_so_again_under_the_same_ids(
        self, service: Client, browser: Browser
    ) -> None:
        email = await browser.new_user()
        first, second = await browser.sign_in(service, email), await browser.sign_in(service, email)
        assert (first.user_id, first.account_id) == (second.user_id, second.account_id)
        [account] = await service.list_accounts(first.user_id)
        assert (account.provider, account.email) == ("yandex", email)

    async def test_is_another_user_than_at_another_provider_with_the_same_address(
        self, service: Client, browser: Browser, client: Client
    ) -> None:
        email = await browser.new_user()
        elsewhere = await client.signed_in(Person(f"subject of {email}", email))
        assert (await browser.sign_in(service, email)).user_id != elsewhere.user_id

    async def test_does_not_exist_without_a_client(self, client: Client) -> None:
        assert await reason_of(client.start(provider="yandex")) == "unknown_provider"
        assert await reason_of(client.complete(provider="yandex", state="s")) == "unknown_provider"

    @pytest.mark.parametrize(
        ("form", "error"),
        [({"decision": "deny"}, SignInError.ACCESS_DENIED), ({"decision": "allow"}, SignInError.PROVIDER_ERROR)],
    )
    async def test_says_why_it_was_refused(
        self, service: Client, browser: Browser, form: dict[str, str], error: SignInError
    ) -> None:
        email = await browser.new_user()
        await browser.control("PUT", f"users/{email}/yandex", {"authorize_error": "unauthorized_client"})
        started = await service.start(provider="yandex")
        redirect = await browser.consent(started.authorization_url, email, **form)
        assert (await service.complete(**redirect)).error == error

    async def test_with_a_maximal_age_is_refused_since_yandex_does_not_tell_it(
        self, service: Client, browser: Browser
    ) -> None:
        started = await service.start(provider="yandex", max_age=60)
        redirect = await browser.consent(started.authorization_url, await browser.new_user())
        assert (await service.complete(**redirect)).error == SignInError.REAUTHENTICATION_REQUIRED

    async def test_is_no_sign_up_where_only_verified_addresses_may(
        self, open_with_yandex: OpenService, browser: Browser
    ) -> None:
        async with open_with_yandex(auth_allowed_domains="yandex.example") as guarded:
            started = await guarded.start(provider="yandex")
            redirect = await browser.consent(started.authorization_url, await browser.new_user())
            assert (await guarded.complete(**redirect)).error == SignInError.SIGN_UP_NOT_ALLOWED


class TestLink:
    async def test_lets_the_user_choose_another_account(self, service: Client, browser: Browser) -> None:
        user = await browser.sign_in(service, await browser.new_user())
        signed_in = await service.start(provider="yandex")
        assert "force_confirm" not in parse_qs(urlsplit(signed_in.authorization_url).query)
        started = await service.start(provider="yandex", link_to=user.user_id)
        assert parse_qs(urlsplit(started.authorization_url).query)["force_confirm"] == ["yes"]
        outcome = await service.complete(**await browser.consent(started.authorization_url, await browser.new_user()))
        await service.redeem(outcome.login_code, user_id=user.user_id)
        assert len(await service.list_accounts(user.user_id)) == 2


class TestRefusedToken:
    """A token that the mail server has refused, and mail reports."""

    async def test_that_lives_denies_access_and_rotates_nothing(self, service: Client, browser: Browser) -> None:
        user = await browser.sign_in(service, await browser.new_user())
        token = (await service.provider_token(user)).access_token
        for _ in range(5):
            with pytest.raises(aio.AioRpcError) as caught:
                await service.provider_token(user, refused_token=token)
            error = from_rpc_error(caught.value)
            assert (error.reason, error.metadata["denial"]) == ("provider_access_denied", "imap_disabled")
        assert (await browser.calls(user.person.email))["yandex.token"] == 1
        assert await status_of(service, user) == auth_pb2.ACCOUNT_STATUS_ACTIVE
        assert (await service.provider_token(user)).access_token == token

    async def test_that_is_dead_is_refreshed(self, service: Client, browser: Browser) -> None:
        user = await browser.sign_in(service, await browser.new_user())
        token = (await service.provider_token(user)).access_token
        await browser.control("POST", f"users/{user.person.email}/tokens/expire")
        renewed = (await service.provider_token(user, refused_token=token)).access_token
        assert renewed != token
        assert (await service.provider_token(user)).access_token == renewed

    async def test_that_is_dead_and_comes_back_requires_a_sign_in_after_one_rotation(
        self, service: Client, browser: Browser
    ) -> None:
        user = await browser.sign_in(service, await browser.new_user())
        token = (await service.provider_token(user)).access_token
        # Userinfo refuses the token, which the token endpoint takes for young.
        rule = {"method": "yandex.info", "kind": "error", "status": 401, "user": user.person.email}
        await browser.control("PUT", "faults", {"rules": [rule]})
        for _ in range(5):
            assert await reason_of(service.provider_token(user, refused_token=token)) == "reauth_required"
        assert (await browser.calls(user.person.email))["yandex.token"] == 2
        assert await status_of(service, user) == auth_pb2.ACCOUNT_STATUS_REAUTH_REQUIRED
        await browser.control("DELETE", "faults")
        again = await browser.sign_in(service, user.person.email)
        assert again.account_id == user.account_id
        assert (await service.provider_token(again)).access_token != token

    async def test_is_kept_while_userinfo_does_not_answer(self, service: Client, browser: Browser) -> None:
        user = await browser.sign_in(service, await browser.new_user())
        token = (await service.provider_token(user)).access_token
        await browser.control("PUT", "faults", {"rules": [{"method": "yandex.info", "kind": "html_503"}]})
        assert await reason_of(service.provider_token(user, refused_token=token)) == "provider_unavailable"
        assert (await browser.calls(user.person.email))["yandex.token"] == 1
        assert await status_of(service, user) == auth_pb2.ACCOUNT_STATUS_ACTIVE

    async def test_of_a_user_who_ended_the_grant_requires_a_sign_in(self, service: Client, browser: Browser) -> None:
        user = await browser.sign_in(service, await browser.new_user())
        token = (await service.provider_token(user)).access_token
        await browser.control("POST", f"users/{user.person.email}/revoke")
        assert await reason_of(service.provider_token(user, refused_token=token)) == "reauth_required"


class TestOldGrant:
    async def test_is_refreshed_before_it_expires_unasked(
        self, open_with_yandex: OpenService, service: Client, browser: Browser, engine: AsyncEngine
    ) -> None:
        old = await browser.sign_in(service, await browser.new_user())
        young = await browser.sign_in(service, await browser.new_user())
        await self._age(engine, old, days=91)
        await self._age(engine, young, days=89)

        async def is_refreshed() -> bool:
            return (await browser.calls(old.person.email))["yandex.token"] == 2

        async with open_with_yandex():
            await eventually(is_refreshed)
        await asyncio.gather(*[service.provider_token(user) for user in (old, young)])
        assert (await browser.calls(young.person.email))["yandex.token"] == 1
        query = select(provider_tokens.c.version).where(provider_tokens.c.grant_id == UUID(old.account_id))
        async with engine.connect() as connection:
            assert (await connection.execute(query)).scalar_one() == 2

    async def _age(self, engine: AsyncEngine, user: SignedIn, *, days: int) -> None:
        async with engine.begin() as connection:
            await connection.execute(
                update(provider_tokens)
                .where(provider_tokens.c.grant_id == UUID(user.account_id))
                .values(updated_at=func.now() - text(f"interval '{days} days'"))
            )


class TestDisconnect:
    async def test_revokes_the_access_token(self, service: Client, browser: Browser, yandex_origin: str) -> None:
        user = await browser.sign_in(service, await browser.new_user())
        token = (await service.provider_token(user)).access_token
        await service.disconnect(user.account_id, user.user_id)
        async with httpx.AsyncClient() as http:
            info = await http.get(f"{yandex_origin}/yandex/info", headers={"authorization": f"OAuth {token}"})
        assert info.status_code == 401
        assert (await browser.calls(user.person.email))["yandex.revoke_token"] == 1


class TestReconnect:
    async def test_uses_no_further_device(self, service: Client, browser: Browser) -> None:
        email = await browser.new_user()
        devices = set()
        for _ in range(2):
            started = await service.start(provider="yandex")
            [device] = parse_qs(urlsplit(started.authorization_url).query)["device_id"]
            devices.add(device)
            await service.complete(**await browser.consent(started.authorization_url, email))
        assert len(devices) == 1
