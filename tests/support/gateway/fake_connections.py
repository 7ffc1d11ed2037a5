"""A fake of auth's connect sessions with state, in this process, behind real gRPC."""

import secrets
import uuid
from dataclasses import dataclass, field
from typing import override

from mailroom.auth.v1 import auth_pb2
from mailroom.auth.v1.auth_pb2_grpc import ConnectServiceServicer

from services.kit.errors import AppError, Kind
from tests.support.gateway.contract import Context, after


@dataclass
class FakeConnections(ConnectServiceServicer):
    """Connect sessions by token and by id; methods raise `failure` while it is set."""

    page: auth_pb2.GetConnectSessionResponse = field(
        default_factory=lambda: auth_pb2.GetConnectSessionResponse(
            application_name="Shop",
            providers=["google"],
            access=["read"],
            redirect_url="https://shop.example/connected",
        )
    )
    created: dict[str, auth_pb2.CreateConnectSessionRequest] = field(default_factory=dict)
    begun: list[auth_pb2.BeginConnectSessionRequest] = field(default_factory=list)
    completions: list[auth_pb2.CompleteConnectSessionRequest] = field(default_factory=list)
    account_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    failure: AppError | None = None

    def token(self) -> str:
        """Return the token of a new session."""
        token = secrets.token_urlsafe()
        self.created[token] = auth_pb2.CreateConnectSessionRequest()
        return token

    @override
    async def CreateConnectSession(
        self, request: auth_pb2.CreateConnectSessionRequest, _: Context
    ) -> auth_pb2.CreateConnectSessionResponse:
        self._check()
        token = self.token()
        self.created[token] = request
        return auth_pb2.CreateConnectSessionResponse(
            session_id=str(uuid.uuid4()), token=token, user_id=str(uuid.uuid4()), expire_time=after(900)
        )

    @override
    async def GetConnectSession(
        self, request: auth_pb2.GetConnectSessionRequest, _: Context
    ) -> auth_pb2.GetConnectSessionResponse:
        self._find(request.token)
        return self.page

    @override
    async def BeginConnectSession(
        self, request: auth_pb2.BeginConnectSessionRequest, _: Context
    ) -> auth_pb2.BeginConnectSessionResponse:
        self._find(request.token)
        if request.provider not in self.page.providers:
            raise AppError(Kind.INVALID, "unknown_provider", "There is no such provider.")
        self.begun.append(request)
        return auth_pb2.BeginConnectSessionResponse(authorization_url="https://provider.example/auth?state=s")

    @override
    async def CompleteConnectSession(
        self, request: auth_pb2.CompleteConnectSessionRequest, _: Context
    ) -> auth_pb2.CompleteConnectSessionResponse:
        self._check()
        self.completions.append(request)
        account = auth_pb2.Account(account_id=self.account_id, email="ada@example.com", provider="google")
        user = auth_pb2.User(user_id=str(uuid.uuid4()), external_user_id="42", create_time=after(0))
        return auth_pb2.CompleteConnectSessionResponse(account=account, user=user)

    def _find(self, token: str) -> None:
        self._check()
        if token not in self.created:
            raise AppError(Kind.NOT_FOUND, "connect_session_not_found", "There is no such connect session.")

    def _check(self) -> None:
        if self.failure:
            raise self.failure
