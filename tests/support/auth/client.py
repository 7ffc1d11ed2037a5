"""A client of the auth service."""

import hashlib
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import jwt
from grpc import aio
from mailroom.auth.v1 import auth_pb2, auth_pb2_grpc

from tests.support.auth.stand_in import Person, StandIn

SECRET_KEY = "a secret key of the tests, long enough"


@dataclass(frozen=True)
class SignedIn:
    """A user with a session and one account."""

    person: Person
    user_id: str
    account_id: str
    access_token: str
    refresh_token: str = ""


class Client:
    """The calls of the gateway and mail, and the browser's part of a sign-in."""

    def __init__(self, channel: aio.Channel, stand_in: StandIn) -> None:
        self.sign_in = auth_pb2_grpc.SignInServiceStub(channel)
        self.sessions = auth_pb2_grpc.SessionServiceStub(channel)
        self.users = auth_pb2_grpc.UserServiceStub(channel)
        self.accounts = auth_pb2_grpc.AccountServiceStub(channel)
        self.connections = auth_pb2_grpc.ConnectServiceStub(channel)
        self.provider_tokens = auth_pb2_grpc.ProviderTokenServiceStub(channel)
        self.api_keys = auth_pb2_grpc.ApiKeyServiceStub(channel)
        self.applications = auth_pb2_grpc.ApplicationServiceStub(channel)
        self._stand_in = stand_in

    async def start(
        self, *, provider: str = "google", code_challenge: str = "", link_to: str = "", max_age: int | None = None
    ) -> auth_pb2.StartSignInResponse:
        return await self.sign_in.StartSignIn(
            auth_pb2.StartSignInRequest(
                provider=provider, code_challenge=code_challenge, user_id=link_to, max_age_seconds=max_age
            )
        )

    async def complete(
        self, *, provider: str = "google", state: str = "", code: str = "", error: str = "", iss: str = ""
    ) -> auth_pb2.CompleteSignInResponse:
        return await self.sign_in.CompleteSignIn(
            auth_pb2.CompleteSignInRequest(provider=provider, state=state, code=code, error=error, iss=iss)
        )

    async def redeem(
        self, login_code: str, *, code_verifier: str = "", user_id: str = ""
    ) -> auth_pb2.RedeemSignInResponse:
        return await self.sign_in.RedeemSignIn(
            auth_pb2.RedeemSignInRequest(login_code=login_code, code_verifier=code_verifier, user_id=user_id)
        )

    async def refresh(self, refresh_token: str) -> auth_pb2.RefreshSessionResponse:
        return await self.sessions.RefreshSession(auth_pb2.RefreshSessionRequest(refresh_token=refresh_token))

    async def revoke_session(
        self,
        *,
        refresh_token: str = "",
        user_id: str = "",
        session_id: str = "",
        all_sessions: bool = False,
        user_deletion: bool = False,
    ) -> None:
        await self.sessions.RevokeSession(
            auth_pb2.RevokeSessionRequest(
                refresh_token=refresh_token,
                user_id=user_id,
                session_id=session_id,
                all=all_sessions,
                user_deletion=user_deletion,
            )
        )

    async def verify_recent(self, user: SignedIn, *, user_deletion: bool = False) -> None:
        """Ask whether the session of the user's access token goes on and is young."""
        claims = jwt.decode(user.access_token, options={"verify_signature": False})
        await self.sessions.VerifyRecentSignIn(
            auth_pb2.VerifyRecentSignInRequest(
                user_id=user.user_id, session_id=claims["sid"], user_deletion=user_deletion
            )
        )

    async def link(self, user_id: str, person: Person) -> str:
        """Link an account, from start to commit; return its id."""
        outcome = await self.connect(person, link_to=user_id)
        return (await self.redeem(outcome.login_code, user_id=user_id)).linked_account_id

    async def disconnect(self, account_id: str, user_id: str) -> None:
        await self.accounts.DisconnectAccount(auth_pb2.DisconnectAccountRequest(account_id=account_id, user_id=user_id))

    async def delete_user(self, user_id: str) -> None:
        await self.accounts.DeleteUser(auth_pb2.DeleteUserRequest(user_id=user_id))

    async def events(self, user_id: str) -> list[str]:
        """Return the types of the user's events, newest first."""
        answer = await self.users.ListSecurityEvents(auth_pb2.ListSecurityEventsRequest(user_id=user_id))
        return [event.type for event in answer.events]

    async def connect(
        self, person: Person, *, granted: str | None = None, code_challenge: str = "", link_to: str = ""
    ) -> auth_pb2.CompleteSignInResponse:
        """Start a sign-in and return the outcome of the provider's redirect."""
        started = await self.start(code_challenge=code_challenge, link_to=link_to)
        return await self.complete(**self._stand_in.consent(started.authorization_url, person, granted=granted))

    async def signed_in(self, person: Person) -> SignedIn:
        """Sign in and return the session."""
        outcome = await self.connect(person)
        return await self.redeemed(person, outcome.login_code)

    async def redeemed(self, person: Person, login_code: str) -> SignedIn:
        """Redeem the login code of a sign-in and return the session."""
        session = await self.redeem(login_code)
        user_id = jwt.decode(session.access_token, options={"verify_signature": False})["sub"]
        account, *_ = await self.list_accounts(user_id)
        return SignedIn(person, user_id, account.account_id, session.access_token, session.refresh_token)

    async def list_accounts(self, user_id: str) -> list[auth_pb2.Account]:
        answer = await self.accounts.ListAccounts(auth_pb2.ListAccountsRequest(user_id=user_id))
        return list(answer.accounts)

    async def report(self, user: SignedIn, *, access_denied_reason: str | None = None, email: str = "") -> None:
        """Report what mail has learned of the user's account."""
        await self.accounts.ReportAccount(
            auth_pb2.ReportAccountRequest(
                account_id=user.account_id,
                user_id=user.user_id,
                access_denied_reason=access_denied_reason,
                email=email,
            )
        )

    async def provider_token(self, user: SignedIn, *, refused_token: str = "") -> auth_pb2.GetAccessTokenResponse:
        fingerprint = hashlib.sha256(refused_token.encode()).hexdigest() if refused_token else ""
        return await self.provider_tokens.GetAccessToken(
            auth_pb2.GetAccessTokenRequest(
                account_id=user.account_id,
                user_id=user.user_id,
                refused_token_fingerprint=fingerprint,
            )
        )


class StartService(Protocol):
    """Start another auth service on the same stores, until the test ends, and return a client of it."""

    async def __call__(self, **overrides: Any) -> Client: ...


class OpenService(Protocol):
    """Run another auth service on the same stores while a block lasts; yields a client of it."""

    def __call__(self, **overrides: Any) -> AbstractAsyncContextManager[Client]: ...
