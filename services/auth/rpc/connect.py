"""mailroom.auth.v1.ConnectService."""

from typing import override

from mailroom.auth.v1 import auth_pb2, auth_pb2_grpc

from services.auth.applications.connect_sessions import ConnectRequest, ConnectSessions
from services.auth.errors import connect_session_not_found
from services.auth.model import Access
from services.auth.rpc.from_proto import client_of, uuid_or_none
from services.auth.rpc.to_proto import account_to_proto, timestamp, user_to_proto
from services.auth.sign_in.sign_in import SignIn
from services.kit.errors import AppError, Kind
from services.kit.rpc.server import Context


class ConnectServicer(auth_pb2_grpc.ConnectServiceServicer):
    """mailroom.auth.v1.ConnectService."""

    def __init__(self, connect_sessions: ConnectSessions, sign_in: SignIn) -> None:
        self._connect_sessions = connect_sessions
        self._sign_in = sign_in

    @override
    async def CreateConnectSession(
        self, request: auth_pb2.CreateConnectSessionRequest, context: Context
    ) -> auth_pb2.CreateConnectSessionResponse:
        session, token = await self._connect_sessions.create(_request_of(request))
        return auth_pb2.CreateConnectSessionResponse(
            session_id=str(session.session_id),
            token=token,
            user_id=str(session.user_id),
            expire_time=timestamp(session.expires_at),
        )

    @override
    async def GetConnectSession(
        self, request: auth_pb2.GetConnectSessionRequest, context: Context
    ) -> auth_pb2.GetConnectSessionResponse:
        page = await self._connect_sessions.page(request.token)
        return auth_pb2.GetConnectSessionResponse(
            application_name=page.application.name,
            providers=page.providers,
            access=sorted(page.access),
            redirect_url=page.redirect_url,
        )

    @override
    async def BeginConnectSession(
        self, request: auth_pb2.BeginConnectSessionRequest, context: Context
    ) -> auth_pb2.BeginConnectSessionResponse:
        started = await self._sign_in.start_connection(request.token, provider=request.provider)
        return auth_pb2.BeginConnectSessionResponse(authorization_url=started.authorization_url)

    @override
    async def CompleteConnectSession(
        self, request: auth_pb2.CompleteConnectSessionRequest, context: Context
    ) -> auth_pb2.CompleteConnectSessionResponse:
        session_id, application_id = uuid_or_none(request.session_id), uuid_or_none(request.application_id)
        if session_id is None or application_id is None:
            raise connect_session_not_found()
        account, user = await self._connect_sessions.complete(
            session_id, code=request.code, application_id=application_id, client=client_of(request.client)
        )
        return auth_pb2.CompleteConnectSessionResponse(account=account_to_proto(account), user=user_to_proto(user))


def _request_of(request: auth_pb2.CreateConnectSessionRequest) -> ConnectRequest:
    application_id = uuid_or_none(request.application_id)
    if application_id is None:
        raise AppError(Kind.INVALID, "invalid_redirect_url", "There is no such application.")
    try:
        access = frozenset(map(Access, request.access))
    except ValueError as error:
        raise AppError(Kind.INVALID, "invalid_request", "There is no such access.") from error
    return ConnectRequest(
        application_id=application_id,
        external_user_id=request.external_user_id,
        redirect_url=request.redirect_url,
        provider=request.provider or None,
        access=access or frozenset({Access.READ}),
        login_hint=request.login_hint,
    )
