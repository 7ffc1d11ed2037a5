"""The service's gRPC face: each method converts, calls, converts. Protobuf is known here and nowhere else."""

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any, override
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp
from grpc import aio
from mailroom.auth.v1 import auth_pb2, auth_pb2_grpc

from services.auth.model import Account, AccountStatus, RecordedEvent
from services.auth.provider_grants.access_tokens import ProviderTokens
from services.auth.provider_grants.accounts import Accounts
from services.auth.provider_grants.disconnect import Disconnecting
from services.auth.security_events import SecurityEvents
from services.auth.sessions.sessions import Sessions
from services.auth.sessions.signing_keys import SigningKeys
from services.auth.sign_in.sign_in import AuthorizationResponse, Completed, Refused, SignIn
from services.kit.errors import AppError, Kind

# Tokens of users' mailboxes are mail's business alone, even if the gateway is taken over.
CALLERS = {
    "mailroom.auth.v1.SignInService": frozenset({"gateway"}),
    "mailroom.auth.v1.SessionService": frozenset({"gateway"}),
    "mailroom.auth.v1.UserService": frozenset({"gateway"}),
    "mailroom.auth.v1.AccountService": frozenset({"mail"}),
    "mailroom.auth.v1.ProviderTokenService": frozenset({"mail"}),
}

_Context = aio.ServicerContext[Any, Any]

_TOKEN_TYPE = "Bearer"  # noqa: S105 - RFC 6750

_STATUS = {
    AccountStatus.ACTIVE: auth_pb2.ACCOUNT_STATUS_ACTIVE,
    AccountStatus.REAUTH_REQUIRED: auth_pb2.ACCOUNT_STATUS_REAUTH_REQUIRED,
}


def registrations(
    *,
    sign_in: SignIn,
    sessions: Sessions,
    signing_keys: SigningKeys,
    accounts: Accounts,
    events: SecurityEvents,
    disconnecting: Disconnecting,
    provider_tokens: ProviderTokens,
) -> list[Callable[[aio.Server], None]]:
    """What adds auth's services to a server."""
    return [
        partial(auth_pb2_grpc.add_SignInServiceServicer_to_server, SignInServicer(sign_in)),
        partial(auth_pb2_grpc.add_SessionServiceServicer_to_server, SessionServicer(sessions, signing_keys)),
        partial(auth_pb2_grpc.add_UserServiceServicer_to_server, UserServicer(accounts, events)),
        partial(auth_pb2_grpc.add_AccountServiceServicer_to_server, AccountServicer(accounts, disconnecting)),
        partial(auth_pb2_grpc.add_ProviderTokenServiceServicer_to_server, ProviderTokenServicer(provider_tokens)),
    ]


class SignInServicer(auth_pb2_grpc.SignInServiceServicer):
    """mailroom.auth.v1.SignInService; the proto says what each method does."""

    def __init__(self, sign_in: SignIn) -> None:
        self._sign_in = sign_in

    @override
    async def StartSignIn(
        self, request: auth_pb2.StartSignInRequest, context: _Context
    ) -> auth_pb2.StartSignInResponse:
        link_to = _user_id(request.user_id) if request.user_id else None
        started = await self._sign_in.start(request.provider, client_challenge=request.code_challenge, link_to=link_to)
        return auth_pb2.StartSignInResponse(
            authorization_url=started.authorization_url,
            state=started.state,
            expire_time=_timestamp(started.expires_at),
        )

    @override
    async def CompleteSignIn(
        self, request: auth_pb2.CompleteSignInRequest, context: _Context
    ) -> auth_pb2.CompleteSignInResponse:
        response = AuthorizationResponse(state=request.state, code=request.code, error=request.error, iss=request.iss)
        outcome = await self._sign_in.complete(request.provider, response=response)
        if isinstance(outcome, Completed):
            return auth_pb2.CompleteSignInResponse(login_code=outcome.login_code)
        if isinstance(outcome, Refused):
            return auth_pb2.CompleteSignInResponse(error=outcome.error)
        return auth_pb2.CompleteSignInResponse(authorization_url=outcome.authorization_url)

    @override
    async def RedeemSignIn(
        self, request: auth_pb2.RedeemSignInRequest, context: _Context
    ) -> auth_pb2.RedeemSignInResponse:
        redeemed = await self._sign_in.redeem(
            request.login_code, code_verifier=request.code_verifier, redeemed_by=_uuid(request.user_id)
        )
        if isinstance(redeemed, Account):
            return auth_pb2.RedeemSignInResponse(linked_account_id=str(redeemed.account_id))
        return auth_pb2.RedeemSignInResponse(
            access_token=redeemed.access_token.value,
            token_type=_TOKEN_TYPE,
            expire_time=_timestamp(redeemed.access_token.expires_at),
            refresh_token=redeemed.refresh_token.value,
        )


class SessionServicer(auth_pb2_grpc.SessionServiceServicer):
    """mailroom.auth.v1.SessionService."""

    def __init__(self, sessions: Sessions, signing_keys: SigningKeys) -> None:
        self._sessions = sessions
        self._signing_keys = signing_keys

    @override
    async def RefreshSession(
        self, request: auth_pb2.RefreshSessionRequest, context: _Context
    ) -> auth_pb2.RefreshSessionResponse:
        tokens = await self._sessions.refresh(request.refresh_token)
        return auth_pb2.RefreshSessionResponse(
            access_token=tokens.access_token.value,
            token_type=_TOKEN_TYPE,
            expire_time=_timestamp(tokens.access_token.expires_at),
            refresh_token=tokens.refresh_token.value,
        )

    @override
    async def RevokeSession(
        self, request: auth_pb2.RevokeSessionRequest, context: _Context
    ) -> auth_pb2.RevokeSessionResponse:
        user_id, session_id = _uuid(request.user_id), _uuid(request.session_id)
        if request.refresh_token:
            await self._sessions.end(request.refresh_token, all_sessions=request.all)
        elif user_id is not None and (request.all or session_id is not None):
            await self._sessions.end_of_user(user_id, session_id=None if request.all else session_id)
        return auth_pb2.RevokeSessionResponse()

    @override
    async def ListSigningKeys(
        self, request: auth_pb2.ListSigningKeysRequest, context: _Context
    ) -> auth_pb2.ListSigningKeysResponse:
        return auth_pb2.ListSigningKeysResponse(jwks=await self._signing_keys.jwks())


class UserServicer(auth_pb2_grpc.UserServiceServicer):
    """mailroom.auth.v1.UserService."""

    def __init__(self, accounts: Accounts, events: SecurityEvents) -> None:
        self._accounts = accounts
        self._events = events

    @override
    async def GetUser(self, request: auth_pb2.GetUserRequest, context: _Context) -> auth_pb2.GetUserResponse:
        user, accounts = await self._accounts.describe(_user_id(request.user_id))
        return auth_pb2.GetUserResponse(
            user_id=str(user.user_id),
            create_time=_timestamp(user.created_at),
            accounts=[_account(account) for account in accounts],
        )

    @override
    async def ListSecurityEvents(
        self, request: auth_pb2.ListSecurityEventsRequest, context: _Context
    ) -> auth_pb2.ListSecurityEventsResponse:
        events, next_page_token = await self._events.list_newest(
            _user_id(request.user_id), page_size=request.page_size, page_token=request.page_token
        )
        return auth_pb2.ListSecurityEventsResponse(
            events=[_event(event) for event in events], next_page_token=next_page_token
        )


class AccountServicer(auth_pb2_grpc.AccountServiceServicer):
    """mailroom.auth.v1.AccountService."""

    def __init__(self, accounts: Accounts, disconnecting: Disconnecting) -> None:
        self._accounts = accounts
        self._disconnecting = disconnecting

    @override
    async def ListAccounts(
        self, request: auth_pb2.ListAccountsRequest, context: _Context
    ) -> auth_pb2.ListAccountsResponse:
        accounts = await self._accounts.list_accounts(_user_id(request.user_id))
        return auth_pb2.ListAccountsResponse(accounts=[_account(account) for account in accounts])

    @override
    async def DisconnectAccount(
        self, request: auth_pb2.DisconnectAccountRequest, context: _Context
    ) -> auth_pb2.DisconnectAccountResponse:
        account_id, user_id = _uuid(request.account_id), _uuid(request.user_id)
        if account_id is not None and user_id is not None:
            await self._disconnecting.disconnect(account_id=account_id, user_id=user_id)
        return auth_pb2.DisconnectAccountResponse()

    @override
    async def DeleteUser(self, request: auth_pb2.DeleteUserRequest, context: _Context) -> auth_pb2.DeleteUserResponse:
        await self._disconnecting.delete_user(_user_id(request.user_id))
        return auth_pb2.DeleteUserResponse()


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


def _user_id(text: str) -> UUID:
    user_id = _uuid(text)
    if user_id is None:
        raise AppError(Kind.INVALID, "invalid_user_id", "user_id must be a UUID.")
    return user_id


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
        reconnect_by_time=None if account.reconnect_by is None else _timestamp(account.reconnect_by),
    )


def _event(recorded: RecordedEvent) -> auth_pb2.SecurityEvent:
    event = recorded.event
    return auth_pb2.SecurityEvent(
        event_id=str(recorded.event_id),
        type=event.type,
        create_time=_timestamp(recorded.created_at),
        account_id="" if event.account_id is None else str(event.account_id),
        session_id="" if event.session_id is None else str(event.session_id),
        email=event.email or "",
    )
