"""Auth with the sandbox as its provider, as in `make run`."""

from collections.abc import AsyncIterator
from urllib.parse import parse_qs, urlsplit

import httpx
import jwt
import pytest
from grpc import aio
from mailroom.auth.v1 import auth_pb2
from pydantic import SecretStr

from deploy.local.ports import Ports
from services.auth.sign_in.outcomes import SignInError
from services.kit.http.server import serve_http
from services.kit.rpc.errors import from_rpc_error
from services.sandbox.app import open_sandbox
from services.sandbox.settings import DEV_CLIENT_ID, DEV_CLIENT_SECRET, Settings
from tests.support.auth.client import Client, OpenService, SignedIn
from tests.support.auth.stand_in import REDIRECT_URI, Person


class Browser:
    """The user's browser at the sandbox, and the sandbox's control API."""

    def __init__(self, http: httpx.AsyncClient, origin: str) -> None:
        self._http = http
        self._origin = origin

    async def control(self, method: str, path: str, body: object = None) -> None:
        answer = await self._http.request(method, f"{self._origin}/_sandbox/{path}", json=body)
        assert answer.is_success, answer.text

    async def consent(self, authorization_url: str, email: str, **form: object) -> dict[str, str]:
        """Answer the consent page and return the parameters of the redirect."""
        data = {"account": email, "decision": "allow", **form}
        answer = await self._http.post(authorization_url, data=data)
        assert answer.status_code in (302, 303), answer.text
        location = urlsplit(answer.headers["location"])
        assert location.geturl().startswith(REDIRECT_URI)
        return {
            name: values[0]
            for name, values in parse_qs(location.query).items()
            if name in ("state", "code", "error", "iss")
        }

    async def sign_in(self, client: Client, email: str) -> SignedIn:
        started = await client.start()
        outcome = await client.complete(**await self.consent(started.authorization_url, email))
        session = await client.redeem(outcome.login_code)
        user_id = jwt.decode(session.access_token, options={"verify_signature": False})["sub"]
        [account] = await client.list_accounts(user_id)
        return SignedIn(Person("", email), user_id, account.account_id, session.access_token)


@pytest.fixture(scope="module")
async def origin(ports: Ports) -> AsyncIterator[str]:
    port = ports.free()
    origin = f"http://127.0.0.1:{port}"
    settings = Settings(sandbox_enabled=True, public_url=origin, users=("ada@example.com",), messages=0)
    async with open_sandbox(settings) as app, serve_http(app, host="127.0.0.1", port=port):
        yield origin


@pytest.fixture
async def browser(origin: str) -> AsyncIterator[Browser]:
    async with httpx.AsyncClient() as http:
        browser = Browser(http, origin)
        yield browser
        await browser.control("DELETE", "faults")


@pytest.fixture(scope="module")
async def sandboxed(open_service: OpenService, origin: str) -> AsyncIterator[Client]:
    """Auth with the sandbox as its provider."""
    async with open_service(
        google_client_id=DEV_CLIENT_ID,
        google_client_secret=SecretStr(DEV_CLIENT_SECRET),
        google_issuer=origin,
        google_auth_url=f"{origin}/o/oauth2/v2/auth",
        google_token_url=f"{origin}/token",
        google_userinfo_url=f"{origin}/v1/userinfo",
        google_jwks_url=f"{origin}/oauth2/v3/certs",
        google_revoke_url=f"{origin}/revoke",
    ) as client:
        yield client


async def reason_of(call: object) -> str:
    with pytest.raises(aio.AioRpcError) as caught:
        await call  # type: ignore[misc]  # any RPC
    return from_rpc_error(caught.value).reason


class TestSignIn:
    async def test_connects_a_mailbox_and_does_so_again_without_new_consent(
        self, sandboxed: Client, browser: Browser
    ) -> None:
        first = await browser.sign_in(sandboxed, "ada@example.com")
        second = await browser.sign_in(sandboxed, "ada@example.com")
        assert (first.user_id, first.account_id) == (second.user_id, second.account_id)

    async def test_says_that_the_user_declined(self, sandboxed: Client, browser: Browser) -> None:
        started = await sandboxed.start()
        redirect = await browser.consent(started.authorization_url, "ada@example.com", decision="deny")
        assert (await sandboxed.complete(**redirect)).error == SignInError.ACCESS_DENIED

    async def test_says_that_the_mail_permission_was_not_ticked(self, sandboxed: Client, browser: Browser) -> None:
        await browser.control("POST", "users", {"email": "unticked@example.com"})
        started = await sandboxed.start()
        redirect = await browser.consent(
            started.authorization_url, "unticked@example.com", scope=["openid", "email", "profile"]
        )
        assert (await sandboxed.complete(**redirect)).error == SignInError.MISSING_SCOPE

    async def test_refuses_an_unverified_address(self, sandboxed: Client, browser: Browser) -> None:
        await browser.control("POST", "users", {"email": "unverified@example.com", "email_verified": False})
        started = await sandboxed.start()
        redirect = await browser.consent(started.authorization_url, "unverified@example.com")
        assert (await sandboxed.complete(**redirect)).error == SignInError.EMAIL_NOT_VERIFIED

    async def test_survives_new_signing_keys_of_the_provider(self, sandboxed: Client, browser: Browser) -> None:
        await browser.control("POST", "keys/rotate")
        assert (await browser.sign_in(sandboxed, "ada@example.com")).user_id


class TestAccessToken:
    async def test_is_refreshed_when_the_provider_refused_it(self, sandboxed: Client, browser: Browser) -> None:
        user = await browser.sign_in(sandboxed, "ada@example.com")
        old = (await sandboxed.provider_token(user)).access_token
        await browser.control("POST", "users/ada@example.com/tokens/expire")
        new = await sandboxed.provider_token(user, refused_token=old)
        assert new.access_token != old

    async def test_is_refused_without_the_grant_until_the_user_signs_in_again(
        self, sandboxed: Client, browser: Browser
    ) -> None:
        await browser.control("POST", "users", {"email": "leaving@example.com"})
        user = await browser.sign_in(sandboxed, "leaving@example.com")
        old = (await sandboxed.provider_token(user)).access_token
        await browser.control("POST", "users/leaving@example.com/revoke")
        assert await reason_of(sandboxed.provider_token(user, refused_token=old)) == "reauth_required"
        [account] = await sandboxed.list_accounts(user.user_id)
        assert account.status == auth_pb2.ACCOUNT_STATUS_REAUTH_REQUIRED
        assert (await browser.sign_in(sandboxed, "leaving@example.com")).account_id == user.account_id
        assert (await sandboxed.provider_token(user)).access_token != old

    async def test_survives_an_outage_of_the_provider(self, sandboxed: Client, browser: Browser) -> None:
        user = await browser.sign_in(sandboxed, "ada@example.com")
        old = (await sandboxed.provider_token(user)).access_token
        await browser.control("PUT", "faults", {"rules": [{"method": "oauth.token", "kind": "html_503", "count": 1}]})
        assert await reason_of(sandboxed.provider_token(user, refused_token=old)) == "provider_unavailable"
        assert (await sandboxed.provider_token(user, refused_token=old)).access_token != old
