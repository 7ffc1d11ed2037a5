"""An account whose grant lives while its provider denies it access: what mail reports, and what a refresh meets."""

from uuid import uuid4

import pytest
from mailroom.auth.v1 import auth_pb2
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.responses import JSONResponse

from services.kit.rpc.errors import from_rpc_error
from tests.auth.provider_grants.test_provider_tokens import expire, reason_of, status_of
from tests.support.auth.client import Client, SignedIn
from tests.support.auth.stand_in import StandIn


@pytest.fixture
async def user(client: Client, stand_in: StandIn) -> SignedIn:
    return await client.signed_in(stand_in.person())


async def denied_reason(client: Client, user: SignedIn) -> str:
    [account] = await client.list_accounts(user.user_id)
    return account.access_denied_reason


class TestRefresh:
    @pytest.mark.parametrize(
        ("answer", "denial"),
        [
            (JSONResponse({"error": "admin_policy_enforced"}, 400), "admin_policy"),
            (JSONResponse({"error": "policy_enforced"}, 400), "admin_policy"),
            (JSONResponse({"error": "invalid_scope"}, 400), "admin_policy"),
            (
                JSONResponse({"error": "access_denied", "error_description": "Account restricted"}, 403),
                "app_restricted",
            ),
            (JSONResponse({"error": "org_internal"}, 403), "app_restricted"),
            (JSONResponse({"error": "restricted_client"}, 403), "app_restricted"),
            (JSONResponse({"error": "a_code_of_tomorrow"}, 400), "denied"),
            (JSONResponse({"error": {"code": 403, "status": "PERMISSION_DENIED"}}, 403), "denied"),
        ],
    )
    async def test_that_a_policy_refuses_is_told_with_its_reason_and_ends_no_grant(
        self, client: Client, stand_in: StandIn, engine: AsyncEngine, user: SignedIn, answer: JSONResponse, denial: str
    ) -> None:
        await expire(engine, user)
        stand_in.deviations.token_answers = [answer]
        with pytest.raises(Exception) as caught:  # noqa: PT011 - the reason is compared
            await client.provider_token(user)
        error = from_rpc_error(caught.value)  # type: ignore[arg-type]  # an RPC's error
        assert (error.reason, error.metadata) == ("provider_access_denied", {"denial": denial})
        assert await status_of(client, user) == auth_pb2.ACCOUNT_STATUS_ACTIVE
        assert (await client.provider_token(user)).access_token in stand_in.access_tokens

    @pytest.mark.parametrize(
        "error", ["consent_required", "interaction_required", "login_required", "account_selection_required"]
    )
    async def test_that_needs_the_user_asks_for_a_new_sign_in(
        self, client: Client, stand_in: StandIn, engine: AsyncEngine, user: SignedIn, error: str
    ) -> None:
        await expire(engine, user)
        stand_in.deviations.token_answers = [JSONResponse({"error": error}, 400)]
        assert await reason_of(client.provider_token(user)) == "reauth_required"
        assert await status_of(client, user) == auth_pb2.ACCOUNT_STATUS_REAUTH_REQUIRED


class TestReport:
    async def test_of_a_denial_is_kept_and_is_one_event(self, client: Client, user: SignedIn) -> None:
        for reason in ("admin_policy", "admin_policy", "denied"):
            await client.report(user, access_denied_reason=reason)
        assert await denied_reason(client, user) == "denied"
        assert await status_of(client, user) == auth_pb2.ACCOUNT_STATUS_ACTIVE
        assert (await client.events(user.user_id))[0] == "access_denied"
        assert (await client.events(user.user_id)).count("access_denied") == 1

    async def test_that_access_is_back_is_one_event(self, client: Client, user: SignedIn) -> None:
        await client.report(user, access_denied_reason="admin_policy")
        for _ in range(2):
            await client.report(user, access_denied_reason="")
        assert await denied_reason(client, user) == ""
        assert (await client.events(user.user_id))[:2] == ["access_restored", "access_denied"]

    async def test_of_access_that_was_never_denied_is_no_event(self, client: Client, user: SignedIn) -> None:
        before = await client.events(user.user_id)
        await client.report(user, access_denied_reason="")
        assert await client.events(user.user_id) == before

    async def test_leaves_tokens_to_be_given_out_and_refreshed(
        self, client: Client, stand_in: StandIn, engine: AsyncEngine, user: SignedIn
    ) -> None:
        await client.report(user, access_denied_reason="admin_policy")
        await expire(engine, user)
        assert (await client.provider_token(user)).access_token in stand_in.access_tokens
        # A token proves no access to mail.
        assert await denied_reason(client, user) == "admin_policy"

    async def test_is_over_with_a_new_sign_in(self, client: Client, user: SignedIn) -> None:
        await client.report(user, access_denied_reason="admin_policy")
        await client.signed_in(user.person)
        assert await denied_reason(client, user) == ""

    async def test_of_an_ended_grant_changes_nothing(
        self, client: Client, stand_in: StandIn, engine: AsyncEngine, user: SignedIn
    ) -> None:
        stand_in.revoke_everything(user.person)
        await expire(engine, user)
        await reason_of(client.provider_token(user))
        await client.report(user, access_denied_reason="denied")
        assert await denied_reason(client, user) == ""
        await client.report(user, access_denied_reason="")
        assert await status_of(client, user) == auth_pb2.ACCOUNT_STATUS_REAUTH_REQUIRED

    async def test_of_an_address_renames_the_account(self, client: Client, user: SignedIn) -> None:
        for _ in range(2):
            await client.report(user, email="new.name@example.com")
        [account] = await client.list_accounts(user.user_id)
        assert account.email == "new.name@example.com"
        assert (await client.events(user.user_id)).count("account_renamed") == 1

    async def test_about_nothing_changes_nothing(self, client: Client, user: SignedIn) -> None:
        before = await client.list_accounts(user.user_id)
        await client.report(user)
        assert await client.list_accounts(user.user_id) == before

    async def test_of_an_account_of_another_user_or_of_none_is_refused(
        self, client: Client, stand_in: StandIn, user: SignedIn
    ) -> None:
        other = await client.signed_in(stand_in.person())
        for account_id, user_id in [
            (user.account_id, other.user_id),
            (str(uuid4()), user.user_id),
            ("", user.user_id),
            (user.account_id, "x"),
        ]:
            request = auth_pb2.ReportAccountRequest(
                account_id=account_id, user_id=user_id, access_denied_reason="denied", email="x@example.com"
            )
            assert await reason_of(client.accounts.ReportAccount(request)) == "account_not_found"
        [account] = await client.list_accounts(user.user_id)
        assert (account.access_denied_reason, account.email) == ("", user.person.email)
