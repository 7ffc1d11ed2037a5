"""mailroom.auth.v1.SessionService."""

from typing import override

from mailroom.auth.v1 import auth_pb2, auth_pb2_grpc

from services.auth.rpc.from_proto import client_of, user_id_of, uuid_or_none
from services.auth.rpc.to_proto import session_to_proto, session_tokens
from services.auth.sessions.sessions import Sessions
from services.auth.sessions.signing_keys import SigningKeys
from services.kit.rpc.server import Context


class SessionServicer(auth_pb2_grpc.SessionServiceServicer):
    """mailroom.auth.v1.SessionService."""

    def __init__(self, sessions: Sessions, signing_keys: SigningKeys) -> None:
        self._sessions = sessions
        self._signing_keys = signing_keys

    @override
    async def RefreshSession(
        self, request: auth_pb2.RefreshSessionRequest, context: Context
    ) -> auth_pb2.RefreshSessionResponse:
        tokens = await self._sessions.refresh(request.refresh_token, client=client_of(request.client))
        return auth_pb2.RefreshSessionResponse(**session_tokens(tokens))

    @override
    async def RevokeSession(
        self, request: auth_pb2.RevokeSessionRequest, context: Context
    ) -> auth_pb2.RevokeSessionResponse:
        user_id, session_id = uuid_or_none(request.user_id), uuid_or_none(request.session_id)
        client, ended = client_of(request.client), False
        if request.refresh_token:
            ended = await self._sessions.end(request.refresh_token, all_sessions=request.all, client=client)
        elif user_id is not None and request.user_deletion:
            ended = await self._sessions.end_for_deletion(user_id, client=client)
        elif user_id is not None and (request.all or session_id is not None):
            ended = await self._sessions.end_of_user(
                user_id, session_id=None if request.all else session_id, client=client
            )
        return auth_pb2.RevokeSessionResponse(ended=ended)

    @override
    async def ListSessions(
        self, request: auth_pb2.ListSessionsRequest, context: Context
    ) -> auth_pb2.ListSessionsResponse:
        sessions = await self._sessions.list_live(user_id_of(request.user_id))
        return auth_pb2.ListSessionsResponse(sessions=[session_to_proto(session) for session in sessions])

    @override
    async def VerifyRecentSignIn(
        self, request: auth_pb2.VerifyRecentSignInRequest, context: Context
    ) -> auth_pb2.VerifyRecentSignInResponse:
        await self._sessions.verify_recent(
            user_id_of(request.user_id),
            session_id=uuid_or_none(request.session_id),
            user_deletion=request.user_deletion,
        )
        return auth_pb2.VerifyRecentSignInResponse()

    @override
    async def ListSigningKeys(
        self, request: auth_pb2.ListSigningKeysRequest, context: Context
    ) -> auth_pb2.ListSigningKeysResponse:
        return auth_pb2.ListSigningKeysResponse(jwks=await self._signing_keys.jwks())
