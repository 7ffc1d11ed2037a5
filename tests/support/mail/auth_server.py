"""The fake auth behind real gRPC, for processes and for AuthClient."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp
from grpc import aio
from mailroom.auth.v1 import auth_pb2, auth_pb2_grpc

from services.auth.rpc import CALLERS
from services.kit.rpc.server import serve_rpc
from services.mail.model import MailboxStatus
from tests.support.mail.fake_auth import FakeAuth

type Context = aio.ServicerContext[Any, Any]
_STATUS = {
    MailboxStatus.ACTIVE: auth_pb2.ACCOUNT_STATUS_ACTIVE,
    MailboxStatus.REAUTH_REQUIRED: auth_pb2.ACCOUNT_STATUS_REAUTH_REQUIRED,
}


class AccountServicer(auth_pb2_grpc.AccountServiceServicer):
    """mailroom.auth.v1.AccountService."""

    def __init__(self, auth: FakeAuth) -> None:
        self._auth = auth

    async def ListAccounts(  # noqa: N802 - the contract's name
        self,
        request: auth_pb2.ListAccountsRequest,
        context: Context,  # noqa: ARG002 - as gRPC calls it
    ) -> auth_pb2.ListAccountsResponse:
        if request.application_id:
            accounts = await self._auth.list_application_accounts(
                UUID(request.application_id), account_id=UUID(request.account_id) if request.account_id else None
            )
        else:
            accounts = await self._auth.list_accounts(UUID(request.user_id))
        return auth_pb2.ListAccountsResponse(
            accounts=[
                auth_pb2.Account(
                    account_id=str(account.account_id),
                    user_id=str(account.user_id),
                    application_id=str(account.application_id),
                    provider=account.provider,
                    provider_identity=account.provider_identity or "",
                    email=account.email,
                    status=_STATUS[account.status],
                    access_denied_reason=account.access_denied_reason,
                )
                for account in accounts
            ]
        )

    async def ListDeletedApplications(  # noqa: N802 - the contract's name
        self,
        request: auth_pb2.ListDeletedApplicationsRequest,  # noqa: ARG002 - as gRPC calls it
        context: Context,  # noqa: ARG002
    ) -> auth_pb2.ListDeletedApplicationsResponse:
        requested = await self._auth.list_deleted_applications()
        return auth_pb2.ListDeletedApplicationsResponse(application_ids=map(str, requested))

    async def EraseApplication(  # noqa: N802 - the contract's name
        self,
        request: auth_pb2.EraseApplicationRequest,
        context: Context,  # noqa: ARG002 - as gRPC calls it
    ) -> auth_pb2.EraseApplicationResponse:
        erased = await self._auth.erase_application(UUID(request.application_id))
        return auth_pb2.EraseApplicationResponse(erased=erased)

    async def ReportAccount(  # noqa: N802 - the contract's name
        self,
        request: auth_pb2.ReportAccountRequest,
        context: Context,  # noqa: ARG002 - as gRPC calls it
    ) -> auth_pb2.ReportAccountResponse:
        await self._auth.report_account(
            UUID(request.account_id),
            UUID(request.user_id),
            access_denied_reason=request.access_denied_reason if request.HasField("access_denied_reason") else None,
            email=request.email,
        )
        return auth_pb2.ReportAccountResponse()

    async def DisconnectAccount(  # noqa: N802 - the contract's name
        self,
        request: auth_pb2.DisconnectAccountRequest,
        context: Context,  # noqa: ARG002 - as gRPC calls it
    ) -> auth_pb2.DisconnectAccountResponse:
        await self._auth.disconnect_account(UUID(request.account_id), UUID(request.user_id))
        return auth_pb2.DisconnectAccountResponse()

    async def DeleteUser(  # noqa: N802 - the contract's name
        self,
        request: auth_pb2.DeleteUserRequest,
        context: Context,  # noqa: ARG002 - as gRPC calls it
    ) -> auth_pb2.DeleteUserResponse:
        await self._auth.delete_user(UUID(request.user_id))
        return auth_pb2.DeleteUserResponse()


class ProviderTokenServicer(auth_pb2_grpc.ProviderTokenServiceServicer):
    """mailroom.auth.v1.ProviderTokenService."""

    def __init__(self, auth: FakeAuth) -> None:
        self._auth = auth

    async def GetAccessToken(  # noqa: N802 - the contract's name
        self,
        request: auth_pb2.GetAccessTokenRequest,
        context: Context,  # noqa: ARG002 - as gRPC calls it
    ) -> auth_pb2.GetAccessTokenResponse:
        token, expires_at = await self._auth.access_token(
            UUID(request.account_id),
            UUID(request.user_id),
            refused_fingerprint=request.refused_token_fingerprint,
        )
        expire_time = Timestamp()
        expire_time.FromDatetime(expires_at)
        return auth_pb2.GetAccessTokenResponse(access_token=token, expire_time=expire_time)


class SigningKeyServicer(auth_pb2_grpc.SigningKeyServiceServicer):
    """mailroom.auth.v1.SigningKeyService."""

    def __init__(self, jwks: str) -> None:
        self._jwks = jwks

    async def ListVerificationKeys(  # noqa: N802 - the contract's name
        self,
        request: auth_pb2.ListVerificationKeysRequest,  # noqa: ARG002 - as gRPC calls it
        context: Context,  # noqa: ARG002 - as gRPC calls it
    ) -> auth_pb2.ListVerificationKeysResponse:
        return auth_pb2.ListVerificationKeysResponse(jwks=self._jwks)


@asynccontextmanager
async def served_auth(auth: FakeAuth, *, jwks: str = '{"keys": []}') -> AsyncIterator[str]:
    """Serves the fake on loopback; yields its address. `jwks` are the keys of its tokens."""
    accounts = AccountServicer(auth)
    register = [
        partial(auth_pb2_grpc.add_AccountServiceServicer_to_server, accounts),
        partial(auth_pb2_grpc.add_SigningKeyServiceServicer_to_server, SigningKeyServicer(jwks)),
        partial(auth_pb2_grpc.add_ProviderTokenServiceServicer_to_server, ProviderTokenServicer(auth)),
    ]
    async with serve_rpc(host="127.0.0.1", port=0, register=register, callers=CALLERS, identity=None) as port:
        yield f"127.0.0.1:{port}"
