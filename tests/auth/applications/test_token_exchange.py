"""Tokens that an API key is exchanged for, and the proof that the key asks."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import jwt
import pytest
from mailroom.auth.v1 import auth_pb2

from services.auth.model import DEFAULT_APPLICATION, ApiKey
from services.auth.rpc import CALLERS
from services.auth.rpc.proof import is_proven
from services.kit.context import act_for
from services.kit.errors import AppError
from services.kit.rpc.client import call
from services.kit.scopes import EXCHANGEABLE, OPERATOR_SCOPES, Scope
from tests.support.auth.client import Client
from tests.support.auth.keys import READ, Keys


def claims_in(answer: auth_pb2.ExchangeTokenResponse) -> dict[str, Any]:
    """Return the claims of an access token."""
    return jwt.decode(answer.access_token, options={"verify_signature": False})


class TestExchange:
    async def test_reads_unless_more_is_asked_for(self, keys: Keys) -> None:
        key, user = await keys.made(scopes=EXCHANGEABLE | {Scope.KEYS_MANAGE}), await keys.user()
        assert claims_in(await keys.exchange(key, user.user_id))["scope"] == "mail.read mailboxes.read"
        managing = await keys.exchange(key, user.user_id, "mailboxes.manage")
        assert claims_in(managing)["scope"] == "mailboxes.manage"
        assert list(managing.scopes) == ["mailboxes.manage"]

    async def test_names_user_application_and_actor_and_no_session(self, keys: Keys) -> None:
        key, user = await keys.made(), await keys.user()
        claims = claims_in(await keys.exchange(key, user.user_id))
        assert claims["sub"] == str(user.user_id)
        assert claims["client_id"] == str(DEFAULT_APPLICATION)
        assert claims["act"] == {"sub": f"key:{key.key_id}"}
        assert {"sid", "auth_time"} & claims.keys() == set()

    async def test_ends_with_the_key(self, keys: Keys) -> None:
        end = datetime.now(UTC) + timedelta(minutes=5)
        key, user = await keys.made(expires_at=end), await keys.user()
        assert claims_in(await keys.exchange(key, user.user_id))["exp"] == int(end.timestamp())

    async def test_finds_users_of_its_own_application_only(self, keys: Keys) -> None:
        other, user = await keys.user(await keys.application()), await keys.user()
        key = await keys.made()
        for unknown in (other.user_id, uuid4(), "42", f"key:{key.key_id}"):
            assert await keys.refusal(key, unknown) == "user_not_found"
        await keys.exchange(key, user.user_id)

    @pytest.mark.parametrize("scope", ["mail.send", "keys.manage", "applications.manage", "made.up", "MAIL.READ"])
    async def test_gives_no_scope_that_the_key_lacks_or_that_is_no_users(self, keys: Keys, scope: str) -> None:
        key, user = await keys.made(scopes=READ | {Scope.KEYS_MANAGE}), await keys.user()
        assert await keys.refusal(key, user.user_id, "mail.read", scope) == "invalid_scope"

    async def test_gives_no_token_without_a_scope(self, keys: Keys) -> None:
        key, user = await keys.made(scopes=frozenset({Scope.KEYS_MANAGE})), await keys.user()
        assert await keys.refusal(key, user.user_id) == "invalid_scope"

    async def test_is_none_of_a_key_that_is_limited_to_mailboxes(self, keys: Keys) -> None:
        key, user = await keys.made(mailbox_ids=frozenset({uuid4()})), await keys.user()
        assert await keys.refusal(key, user.user_id) == "wrong_credential"

    async def test_is_refused_to_a_revoked_key_and_to_an_operators(self, keys: Keys, client: Client) -> None:
        user = await keys.user()
        operator = await keys.made(None, scopes=OPERATOR_SCOPES)
        assert await keys.refusal(operator, user.user_id) == "invalid_api_key"
        key = await keys.made(scopes=READ | {Scope.KEYS_MANAGE})
        revocation = auth_pb2.RevokeApiKeyRequest(manager_key_id=key.key_id, key_id=key.key_id)
        await call(client.api_keys.RevokeApiKey, revocation)
        assert await keys.refusal(key, user.user_id) == "invalid_api_key"


def _requests(key: ApiKey, application_id: UUID) -> list[tuple[str, Any]]:
    manager: dict[str, Any] = {"manager_key_id": key.key_id}
    application: dict[str, Any] = {"application_id": str(application_id)}
    return [
        ("ExchangeToken", auth_pb2.ExchangeTokenRequest(acting_key_id=key.key_id, user_id=str(uuid4()))),
        ("CreateApiKey", auth_pb2.CreateApiKeyRequest(**manager, name="more", scopes=["mail.read"])),
        ("ListApiKeys", auth_pb2.ListApiKeysRequest(**manager)),
        ("ListApiKeyEvents", auth_pb2.ListApiKeyEventsRequest(**manager, key_id=key.key_id)),
        ("RevokeApiKey", auth_pb2.RevokeApiKeyRequest(**manager, key_id=key.key_id)),
        ("CreateApplication", auth_pb2.CreateApplicationRequest(operator_key_id=key.key_id, name="more")),
        ("ListApplications", auth_pb2.ListApplicationsRequest(operator_key_id=key.key_id)),
        ("UpdateApplication", auth_pb2.UpdateApplicationRequest(operator_key_id=key.key_id, **application)),
        ("DeleteApplication", auth_pb2.DeleteApplicationRequest(operator_key_id=key.key_id, **application)),
        ("AddUser", auth_pb2.AddUserRequest(**application, external_user_id="42")),
        ("ListUsers", auth_pb2.ListUsersRequest(**application)),
        ("CreateConnectSession", auth_pb2.CreateConnectSessionRequest(**application, external_user_id="42")),
        ("CompleteConnectSession", auth_pb2.CompleteConnectSessionRequest(**application, session_id=str(uuid4()))),
        ("GetApplicationUser", auth_pb2.GetApplicationUserRequest(**application, user_id=str(uuid4()))),
    ]


class TestProof:
    @pytest.mark.parametrize("proof", ["another application's", "none", "made-up"])
    async def test_is_asked_of_each_call_that_acts_for_a_key(self, keys: Keys, proof: str) -> None:
        victim = await keys.made(scopes=READ | {Scope.KEYS_MANAGE})
        await keys.made(await keys.application(), scopes=READ | {Scope.KEYS_MANAGE})
        if proof != "another application's":
            act_for("" if proof == "none" else proof)
        stubs = keys.client.api_keys, keys.client.applications, keys.client.connections
        for method, request in _requests(victim, DEFAULT_APPLICATION):
            [ask] = [getattr(stub, method) for stub in stubs if hasattr(stub, method)]
            with pytest.raises(AppError) as refused:
                await call(ask, request)
            assert (method, refused.value.reason) == (method, "invalid_token")
        assert all(
            key.revoked_at is None for key in await keys.keys.list_of(victim.key_id) if key.key_id == victim.key_id
        )

    def test_is_asked_in_all_calls_of_the_gateway_but_these(self) -> None:
        rpcs = {
            f"/{service}/{method.name}"
            for service, callers in CALLERS.items()
            if callers == {"gateway"}
            for method in auth_pb2.DESCRIPTOR.services_by_name[service.rpartition(".")[2]].methods
        }
        of_users = ("SignInService", "SessionService", "UserService")
        unproven = {rpc for rpc in rpcs if not is_proven(rpc) and rpc.split("/")[1].rpartition(".")[2] not in of_users}
        service = "/mailroom.auth.v1.ApiKeyService"
        of_browsers = {f"/mailroom.auth.v1.ConnectService/{name}ConnectSession" for name in ("Get", "Begin")}
        assert unproven == {f"{service}/VerifyApiKey", f"{service}/ListRevocations", *of_browsers}
