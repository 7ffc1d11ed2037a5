"""Calls to auth over gRPC: what mail reports arrives, and what auth knows comes back."""

import hashlib
from collections.abc import AsyncIterator

import pytest

from services.kit.errors import AppError, Kind
from services.mail import auth_client
from services.mail.auth_client import AuthClient
from services.mail.sync.accounts.access import denial_of
from tests.mail.conftest import OpenStage
from tests.support.mail.auth_server import served_auth
from tests.support.mail.stage import Stage


@pytest.fixture
async def s(stage: OpenStage) -> AsyncIterator[Stage]:
    async with stage(workers=0) as s:
        yield s


@pytest.fixture
async def client(s: Stage) -> AsyncIterator[AuthClient]:
    """A client of the stage's auth, served over gRPC."""
    async with (
        served_auth(s.auth) as address,
        auth_client.connect(address, identity=None, tracer=None) as channel,
    ):
        yield AuthClient(channel)


class TestReport:
    async def test_of_denied_and_granted_access_arrives(self, s: Stage, client: AuthClient) -> None:
        account = s.account
        for reason in ("admin_policy", ""):
            await client.report_account(account.account_id, account.user_id, access_denied_reason=reason)
            [known] = await client.list_accounts(account.user_id)
            assert known.access_denied_reason == reason
        assert (s.auth.denials, s.auth.addresses) == (["admin_policy", ""], [])

    async def test_of_an_address_says_nothing_of_access(self, s: Stage, client: AuthClient) -> None:
        await client.report_account(s.account.account_id, s.user_id, email="new@example.com")
        assert (s.auth.denials, s.auth.addresses) == ([], ["new@example.com"])

    async def test_of_an_unknown_account_is_refused(self, s: Stage, client: AuthClient) -> None:
        with pytest.raises(AppError) as caught:
            await client.report_account(s.user_id, s.user_id, access_denied_reason="denied")
        assert (caught.value.kind, caught.value.reason) == (Kind.NOT_FOUND, "account_not_found")


async def test_a_policy_that_refuses_a_token_arrives_with_its_reason(s: Stage, client: AuthClient) -> None:
    token, _ = await client.access_token(s.account.account_id, s.user_id)
    s.auth.refresh_denial = "app_restricted"
    with pytest.raises(AppError) as caught:
        await client.access_token(s.account.account_id, s.user_id, refused_fingerprint=fingerprint(token))
    assert denial_of(caught.value) == "app_restricted"


def fingerprint(token: str) -> str:
    """The name by which a token is reported as refused."""
    return hashlib.sha256(token.encode()).hexdigest()
