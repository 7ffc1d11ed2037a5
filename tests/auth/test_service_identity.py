"""The allowed callers of the RPC services of auth and mail, as auth enforces them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest
from grpc import aio
from mailroom.auth.v1 import auth_pb2, auth_pb2_grpc
from mailroom.mail.v1 import mail_pb2

from services.auth import rpc as auth_rpc
from services.auth.app import serving
from services.auth.model import DEFAULT_APPLICATION
from services.auth.settings import AuthSettings
from services.kit.rpc.client import open_channel
from services.kit.tls.authority import ensure_certificates, identity_in
from services.mail import rpc as mail_rpc

USER = str(uuid4())
ACCOUNT = str(uuid4())


class TestCallers:
    def test_are_listed_for_every_service_of_the_contracts(self) -> None:
        contracts = (auth_pb2.DESCRIPTOR, mail_pb2.DESCRIPTOR)
        named = {service.full_name for file in contracts for service in file.services_by_name.values()}
        assert auth_rpc.CALLERS.keys() | mail_rpc.CALLERS.keys() == named

    def test_of_provider_tokens_are_mail_alone(self) -> None:
        allowed = {service for service, callers in auth_rpc.CALLERS.items() if callers == {"mail"}}
        assert allowed == {
            "mailroom.auth.v1.AccountService",
            "mailroom.auth.v1.ProviderTokenService",
            "mailroom.auth.v1.SigningKeyService",
        }

    def test_of_everything_else_are_the_gateway_alone(self) -> None:
        rest = {**auth_rpc.CALLERS, **mail_rpc.CALLERS}
        assert {callers for callers in rest.values() if callers != {"mail"}} == {frozenset({"gateway"})}


@pytest.fixture(scope="module")
async def dial(
    make_settings: Callable[..., AuthSettings], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Callable[[str], aio.Channel]]:
    """Call it with the name of a service to get its channel, with a certificate, to a running auth."""
    directory = tmp_path_factory.mktemp("tls")
    ensure_certificates(directory, now=datetime.now(UTC))
    async with serving(make_settings(mailroom_insecure_grpc=False, **_files(directory)), stop=asyncio.Event()) as ports:
        address = f"127.0.0.1:{ports.rpc}"
        yield lambda name: open_channel(address, peer="auth", identity=identity_in(directory, name), retried=[])


def _files(directory: Path) -> dict[str, Path]:
    identity = identity_in(directory, "auth")
    return {
        "mailroom_tls_cert": identity.certificate,
        "mailroom_tls_key": identity.key,
        "mailroom_tls_ca": identity.ca,
    }


OF_MAIL = {
    "GetAccessToken": auth_pb2.GetAccessTokenRequest(account_id=ACCOUNT, user_id=USER),
    "ListAccounts": auth_pb2.ListAccountsRequest(user_id=USER),
    "DisconnectAccount": auth_pb2.DisconnectAccountRequest(account_id=ACCOUNT, user_id=USER),
    "DeleteUser": auth_pb2.DeleteUserRequest(user_id=USER),
}
OF_THE_GATEWAY = {
    "StartSignIn": auth_pb2.StartSignInRequest(provider="google"),
    "RefreshSession": auth_pb2.RefreshSessionRequest(refresh_token="made up"),
    "GetUser": auth_pb2.GetUserRequest(user_id=USER),
}


class TestCalls:
    @pytest.mark.parametrize("method", OF_MAIL)
    async def test_of_mails_methods_by_the_gateway_are_refused(
        self, dial: Callable[[str], aio.Channel], method: str
    ) -> None:
        assert await _status(dial("gateway"), method, OF_MAIL[method]) is grpc.StatusCode.PERMISSION_DENIED
        assert await _status(dial("mail"), method, OF_MAIL[method]) is not grpc.StatusCode.PERMISSION_DENIED

    @pytest.mark.parametrize("method", OF_THE_GATEWAY)
    async def test_of_the_gateways_methods_by_mail_are_refused(
        self, dial: Callable[[str], aio.Channel], method: str
    ) -> None:
        assert await _status(dial("mail"), method, OF_THE_GATEWAY[method]) is grpc.StatusCode.PERMISSION_DENIED
        assert await _status(dial("gateway"), method, OF_THE_GATEWAY[method]) is not grpc.StatusCode.PERMISSION_DENIED


class TestStolenCertificate:
    """What a thief of a service's certificate can still do, who sees no request (docs/threat-model.md)."""

    @pytest.mark.parametrize(
        ("method", "request_"),
        [
            ("ExchangeToken", auth_pb2.ExchangeTokenRequest(acting_key_id="0A1b2C3d4E5", user_id=USER)),
            ("CreateApiKey", auth_pb2.CreateApiKeyRequest(manager_key_id="0A1b2C3d4E5", scopes=["mail.read"])),
            ("ListUsers", auth_pb2.ListUsersRequest(application_id=str(DEFAULT_APPLICATION))),
        ],
    )
    async def test_of_the_gateway_makes_no_tokens_and_lists_no_users(
        self, dial: Callable[[str], aio.Channel], method: str, request_: Any
    ) -> None:
        assert await _status(dial("gateway"), method, request_) is grpc.StatusCode.UNAUTHENTICATED

    async def test_of_the_gateway_shows_a_user_whose_id_is_known(self, dial: Callable[[str], aio.Channel]) -> None:
        unknown = auth_pb2.GetUserRequest(user_id=USER)
        assert await _status(dial("gateway"), "GetUser", unknown) is grpc.StatusCode.NOT_FOUND
        sessions = auth_pb2.ListSessionsRequest(user_id=USER)
        assert await _status(dial("gateway"), "ListSessions", sessions) is grpc.StatusCode.OK
        link = auth_pb2.StartSignInRequest(provider="google", user_id=USER)
        assert await _status(dial("gateway"), "StartSignIn", link) is grpc.StatusCode.OK

    async def test_of_mail_lists_the_accounts_of_an_application(self, dial: Callable[[str], aio.Channel]) -> None:
        everyone = auth_pb2.ListAccountsRequest(application_id=str(DEFAULT_APPLICATION))
        assert await _status(dial("mail"), "ListAccounts", everyone) is grpc.StatusCode.OK


async def _status(channel: aio.Channel, method: str, request: Any) -> grpc.StatusCode:
    """Return the status of a call."""
    async with channel:
        stubs = (
            auth_pb2_grpc.SignInServiceStub(channel),
            auth_pb2_grpc.SessionServiceStub(channel),
            auth_pb2_grpc.UserServiceStub(channel),
            auth_pb2_grpc.AccountServiceStub(channel),
            auth_pb2_grpc.ProviderTokenServiceStub(channel),
            auth_pb2_grpc.ApiKeyServiceStub(channel),
            auth_pb2_grpc.ApplicationServiceStub(channel),
        )
        [ask] = [getattr(stub, method) for stub in stubs if hasattr(stub, method)]
        calling = ask(request, timeout=10)
        status: grpc.StatusCode = await calling.code()
        return status
