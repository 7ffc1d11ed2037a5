"""The service's gRPC face: each method converts, calls, converts. Protobuf is known here and nowhere else."""

from datetime import datetime
from typing import Any, override
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp
from grpc import aio
from mailroom.auth.v1 import auth_pb2, auth_pb2_grpc

from services.auth.accounts import Accounts
from services.auth.model import Account, AccountStatus
from services.auth.provider_tokens import ProviderTokens
from services.auth.sign_in import Completed, Redirect, Refused, SignIn
from services.auth.signing_keys import SigningKeys
from services.kit.errors import AppError, Kind

_Context = aio.ServicerContext[Any, Any]

_TOKEN_TYPE = "Bearer"  # noqa: S105 - RFC 6750

_STATUS = {
    AccountStatus.ACTIVE: auth_pb2.ACCOUNT_STATUS_ACTIVE,
    AccountStatus.REAUTH_REQUIRED: auth_pb2.ACCOUNT_STATUS_REAUTH_REQUIRED,
}


class SignInServicer(auth_pb2_grpc.SignInServiceServicer):
    """mailroom.auth.v1.SignInService; the proto says what each method does."""

    def __init__(self, sign_in: SignIn) -> None:
        self._sign_in = sign_in

    @override
    async def StartSignIn(
        self, request: auth_pb2.StartSignInRequest, context: _Context
    ) -> auth_pb2.StartSignInResponse:
        started = await self._sign_in.start(request.provider, client_challenge=request.code_challenge)
        return auth_pb2.StartSignInResponse(
            authorization_url=started.authorization_url,
            state=started.state,
            expire_time=_timestamp(started.expires_at),
        )

    @override
    async def CompleteSignIn(
        self, request: auth_pb2.CompleteSignInRequest, context: _Context
    ) -> auth_pb2.CompleteSignInResponse:
        redirect = Redirect(state=request.state, code=request.code, error=request.error, iss=request.iss)
        outcome = await self._sign_in.complete(request.provider, redirect=redirect)
        if isinstance(outcome, Completed):
            return auth_pb2.CompleteSignInResponse(hand_off=outcome.hand_off)
        if isinstance(outcome, Refused):
            return auth_pb2.CompleteSignInResponse(error=outcome.error)
        return auth_pb2.CompleteSignInResponse(authorization_url=outcome.authorization_url)

    @override
    async def RedeemSignIn(
        self, request: auth_pb2.RedeemSignInRequest, context: _Context
    ) -> auth_pb2.RedeemSignInResponse:
        token = await self._sign_in.redeem(request.hand_off, code_verifier=request.code_verifier)
        return auth_pb2.RedeemSignInResponse(
            access_token=token.value, token_type=_TOKEN_TYPE, expire_time=_timestamp(token.expires_at)
        )


class SessionServicer(auth_pb2_grpc.SessionServiceServicer):
    """mailroom.auth.v1.SessionService."""

    def __init__(self, signing_keys: SigningKeys) -> None:
        self._signing_keys = signing_keys

    @override
    async def ListSigningKeys(
        self, request: auth_pb2.ListSigningKeysRequest, context: _Context
    ) -> auth_pb2.ListSigningKeysResponse:
        return auth_pb2.ListSigningKeysResponse(jwks=await self._signing_keys.jwks())


class AccountServicer(auth_pb2_grpc.AccountServiceServicer):
    """mailroom.auth.v1.AccountService."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts

    @override
    async def ListAccounts(
        self, request: auth_pb2.ListAccountsRequest, context: _Context
    ) -> auth_pb2.ListAccountsResponse:
        user_id = _uuid(request.user_id)
        if user_id is None:
            raise AppError(Kind.INVALID, "invalid_user_id", "user_id must be a UUID.")
        accounts = await self._accounts.list_accounts(user_id)
        return auth_pb2.ListAccountsResponse(accounts=[_account(account) for account in accounts])


class ProviderTokenServicer(auth_pb2_grpc.ProviderTokenServiceServicer):
    """mailroom.auth.v1.ProviderTokenService."""

    def __init__(self, provider_tokens: ProviderTokens) -> None:
        self._provider_tokens = provider_tokens

    @override
    async def GetAccessToken(
        self, request: auth_pb2.GetAccessTokenRequest, context: _Context
    ) -> auth_pb2.GetAccessTokenResponse:
        account_id, user_id = _uuid(request.account_id), _uuid(request.user_id)
        if account_id is None or user_id is None:
            # An id that cannot exist is one that does not.
            raise AppError(Kind.NOT_FOUND, "account_not_found", "There is no such account.")
        token = await self._provider_tokens.get(
            account_id=account_id, user_id=user_id, refused_fingerprint=request.refused_token_fingerprint
        )
        return auth_pb2.GetAccessTokenResponse(access_token=token.value, expire_time=_timestamp(token.expires_at))


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _timestamp(moment: datetime) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromDatetime(moment)
    return timestamp


def _account(account: Account) -> auth_pb2.Account:
    return auth_pb2.Account(
        account_id=str(account.account_id),
        user_id=str(account.user_id),
        provider=account.provider,
        email=account.email,
        status=_STATUS[account.status],
        create_time=_timestamp(account.created_at),
    )
