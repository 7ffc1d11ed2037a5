"""A fake of auth with state, in this process, behind real gRPC."""

import json
import secrets
import time
import uuid
from dataclasses import dataclass, field
from typing import Any, override

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from mailroom.auth.v1 import auth_pb2
from mailroom.auth.v1.auth_pb2_grpc import SessionServiceServicer, SignInServiceServicer, UserServiceServicer

from services.kit.errors import AppError, Kind
from tests.support.gateway.contract import Context, after

ISSUER = "https://mail.example"


class SigningKey:
    """An ES256 key pair with its public JSON Web Key."""

    def __init__(self, key_id: str) -> None:
        self.key_id = key_id
        self.private = ec.generate_private_key(ec.SECP256R1())
        self.public: dict[str, Any] = jwt.algorithms.ECAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        self.public |= {"kid": key_id, "alg": "ES256", "use": "sig"}

    @property
    def public_pem(self) -> bytes:
        return self.private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def sign(self, claims: dict[str, Any], **headers: str) -> str:
        return jwt.encode(claims, self.private, "ES256", {"kid": self.key_id, "typ": "at+jwt", **headers})


def claims_of(user_id: str, **overrides: Any) -> dict[str, Any]:
    """Return the claims of an access token of auth."""
    now = int(time.time())
    defaults = {"iss": ISSUER, "aud": ISSUER, "sub": user_id, "client_id": "mailroom", "iat": now, "exp": now + 900}
    return {**defaults, "jti": uuid.uuid4().hex, **overrides}


@dataclass
class FakeAuth(SignInServiceServicer, SessionServiceServicer, UserServiceServicer):
    """A fake of auth; methods raise `failure` while it is set."""

    keys: list[SigningKey] = field(default_factory=lambda: [SigningKey("first")])
    failure: AppError | None = None
    key_requests: int = 0
    challenges: dict[str, str] = field(default_factory=dict)
    login_codes: dict[str, str] = field(default_factory=dict)
    completions: list[auth_pb2.CompleteSignInRequest] = field(default_factory=list)
    outcome: auth_pb2.CompleteSignInResponse | None = None
    # The users that link an account, by state.
    links: dict[str, str] = field(default_factory=dict)
    redemptions: list[auth_pb2.RedeemSignInRequest] = field(default_factory=list)
    linked_account_id: str = ""
    refresh_tokens: dict[str, str] = field(default_factory=dict)
    revocations: list[auth_pb2.RevokeSessionRequest] = field(default_factory=list)
    users: dict[str, auth_pb2.GetUserResponse] = field(default_factory=dict)
    events: list[auth_pb2.SecurityEvent] = field(default_factory=list)
    sessions: list[auth_pb2.Session] = field(default_factory=list)
    refreshes: list[auth_pb2.RefreshSessionRequest] = field(default_factory=list)
    starts: list[auth_pb2.StartSignInRequest] = field(default_factory=list)
    # The requests for a recent sign-in, and the refusal of each session.
    verifications: list[auth_pb2.VerifyRecentSignInRequest] = field(default_factory=list)
    refusals: dict[str, str] = field(default_factory=dict)

    def access_token(self, user_id: str, **overrides: Any) -> str:
        return self.keys[-1].sign(claims_of(user_id, **overrides))

    def login_code(self, user_id: str) -> str:
        value = secrets.token_urlsafe()
        self.login_codes[value] = user_id
        return value

    @override
    async def StartSignIn(self, request: auth_pb2.StartSignInRequest, _: Context) -> auth_pb2.StartSignInResponse:
        self._check(request.provider)
        self.starts.append(request)
        state = secrets.token_urlsafe()
        self.challenges[state] = request.code_challenge
        self.links[state] = request.user_id
        return auth_pb2.StartSignInResponse(
            authorization_url=f"https://provider.example/auth?state={state}", state=state, expire_time=after(600)
        )

    @override
    async def CompleteSignIn(
        self, request: auth_pb2.CompleteSignInRequest, _: Context
    ) -> auth_pb2.CompleteSignInResponse:
        self._check(request.provider)
        self.completions.append(request)
        if self.outcome:
            return self.outcome
        if self.challenges.pop(request.state, None) is None:
            return auth_pb2.CompleteSignInResponse(error="invalid_state")
        return auth_pb2.CompleteSignInResponse(login_code=self.login_code("ada"))

    @override
    async def RedeemSignIn(self, request: auth_pb2.RedeemSignInRequest, _: Context) -> auth_pb2.RedeemSignInResponse:
        self._check("google")
        user_id = self.login_codes.pop(request.login_code, None)
        if user_id is None:
            raise AppError(Kind.INVALID, "invalid_hand_off", "The state is unknown, used or expired.")
        self.redemptions.append(request)
        if self.linked_account_id:
            return auth_pb2.RedeemSignInResponse(linked_account_id=self.linked_account_id)
        return auth_pb2.RedeemSignInResponse(
            access_token=self.access_token(user_id),
            token_type="Bearer",
            expire_time=after(900),
            refresh_token=self._new_refresh_token(user_id),
            user_id=user_id,
        )

    @override
    async def RefreshSession(
        self, request: auth_pb2.RefreshSessionRequest, _: Context
    ) -> auth_pb2.RefreshSessionResponse:
        self.refreshes.append(request)
        user_id = self.refresh_tokens.pop(request.refresh_token, None)
        if user_id is None:
            raise AppError(Kind.UNAUTHENTICATED, "invalid_refresh_token", "The refresh token is not valid.")
        return auth_pb2.RefreshSessionResponse(
            access_token=self.access_token(user_id),
            token_type="Bearer",
            expire_time=after(900),
            refresh_token=self._new_refresh_token(user_id),
        )

    @override
    async def RevokeSession(self, request: auth_pb2.RevokeSessionRequest, _: Context) -> auth_pb2.RevokeSessionResponse:
        self.revocations.append(request)
        mine = [session for session in self.sessions if session.session_id == request.session_id]
        self.sessions = [session for session in self.sessions if session not in mine]
        return auth_pb2.RevokeSessionResponse(ended=bool(mine))

    @override
    async def ListSessions(self, request: auth_pb2.ListSessionsRequest, _: Context) -> auth_pb2.ListSessionsResponse:
        return auth_pb2.ListSessionsResponse(sessions=self.sessions)

    @override
    async def VerifyRecentSignIn(
        self, request: auth_pb2.VerifyRecentSignInRequest, _: Context
    ) -> auth_pb2.VerifyRecentSignInResponse:
        self.verifications.append(request)
        if reason := self.refusals.get(request.session_id):
            raise AppError(Kind.UNAUTHENTICATED, reason, "Sign in again.")
        return auth_pb2.VerifyRecentSignInResponse()

    @override
    async def GetUser(self, request: auth_pb2.GetUserRequest, _: Context) -> auth_pb2.GetUserResponse:
        if request.user_id not in self.users:
            raise AppError(Kind.NOT_FOUND, "user_not_found", "There is no such user.")
        return self.users[request.user_id]

    @override
    async def ListSecurityEvents(
        self, request: auth_pb2.ListSecurityEventsRequest, _: Context
    ) -> auth_pb2.ListSecurityEventsResponse:
        start = int(request.page_token or 0)
        end = start + request.page_size
        more = end < len(self.events)
        return auth_pb2.ListSecurityEventsResponse(
            events=self.events[start:end], next_page_token=str(end) if more else ""
        )

    @override
    async def ListSigningKeys(
        self, _request: auth_pb2.ListSigningKeysRequest, _: Context
    ) -> auth_pb2.ListSigningKeysResponse:
        self.key_requests += 1
        self._check("google")
        return auth_pb2.ListSigningKeysResponse(jwks=json.dumps({"keys": [key.public for key in self.keys]}))

    def _new_refresh_token(self, user_id: str) -> str:
        token = secrets.token_urlsafe()
        self.refresh_tokens[token] = user_id
        return token

    def _check(self, provider: str) -> None:
        if self.failure:
            raise self.failure
        if provider != "google":
            raise AppError(Kind.INVALID, "unknown_provider", "There is no such provider.")
