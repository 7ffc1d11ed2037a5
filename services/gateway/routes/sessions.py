"""Refreshing and ending sessions, and the signed-in user."""

from http import HTTPStatus

from fastapi import Request, Response
from mailroom.auth.v1 import auth_pb2

from services.gateway.bearer import Credentials, RequestCaller, caller_of
from services.gateway.client_info import RequestClient
from services.gateway.conversions import account, rfc3339, session_tokens
from services.gateway.dependencies import Backends
from services.gateway.openapi import problems
from services.gateway.problems.error_codes import OF_A_BODY, OF_A_USER
from services.gateway.requests.path_parameters import SessionId
from services.gateway.requests.routing import Router
from services.gateway.responses import json_response_from
from services.gateway.schemas.sessions import LogoutRequest, Me, RefreshRequest, Session, SessionList, Token
from services.kit.errors import AppError, Kind
from services.kit.rpc.client import call

router = Router(tags=["sessions"])


@router.post(
    "/auth/refresh", response_model=Token, responses=problems(*OF_A_BODY, "invalid_refresh_token", "too_many_requests")
)
async def refresh_session(services: Backends, client: RequestClient, body: RefreshRequest) -> Response:
    """Exchange a refresh token for the next one and a new access token.

    A token that was used more than 15 seconds ago ends its session: it has been copied.
    """
    request = auth_pb2.RefreshSessionRequest(refresh_token=body.refresh_token, client=client)
    answer = await call(services.sessions.RefreshSession, request)
    return json_response_from(session_tokens(answer))


@router.post(
    "/auth/logout",
    status_code=HTTPStatus.NO_CONTENT,
    response_class=Response,
    responses=problems(*OF_A_BODY, *OF_A_USER),
)
async def end_session(
    request: Request,
    services: Backends,
    credentials: Credentials,
    client: RequestClient,
    body: LogoutRequest | None = None,
) -> Response:
    """End the session of the refresh token, or else of the access token; with `all` every session of the user.

    Its refresh tokens are invalid from then on, its access tokens within five seconds.
    """
    body = body or LogoutRequest()
    ending = auth_pb2.RevokeSessionRequest(all=body.all, client=client)
    if body.refresh_token is not None:
        ending.refresh_token = body.refresh_token
    else:
        caller = await caller_of(request, credentials)
        ending.user_id, ending.session_id = caller.user_id, caller.session_id
    await call(services.sessions.RevokeSession, ending)
    return Response(status_code=HTTPStatus.NO_CONTENT)


@router.get("/auth/me", response_model=Me, responses=problems(*OF_A_USER, "user_not_found"))
async def get_user(services: Backends, caller: RequestCaller) -> Response:
    """Get the user with their connected accounts, oldest first."""
    answer = await call(services.users.GetUser, auth_pb2.GetUserRequest(user_id=caller.user_id))
    return json_response_from(
        {
            "user_id": answer.user_id,
            "created_at": rfc3339(answer.create_time),
            "accounts": [account(item) for item in answer.accounts],
        }
    )


@router.get("/auth/sessions", response_model=SessionList, responses=problems(*OF_A_USER))
async def list_sessions(services: Backends, caller: RequestCaller) -> Response:
    """List the sessions of the user that go on, the last used one first, 200 at most."""
    answer = await call(services.sessions.ListSessions, auth_pb2.ListSessionsRequest(user_id=caller.user_id))
    return json_response_from(
        {
            "sessions": [
                _session(session, is_current=session.session_id == caller.session_id) for session in answer.sessions
            ]
        }
    )


@router.delete(
    "/auth/sessions/{id}",
    status_code=HTTPStatus.NO_CONTENT,
    response_class=Response,
    responses=problems(*OF_A_USER, "session_not_found"),
)
async def end_one_session(
    services: Backends, caller: RequestCaller, client: RequestClient, session_id: SessionId
) -> Response:
    """End one session of the user, such as one of a lost device.

    Its refresh tokens are invalid from then on, its access tokens within five seconds.
    """
    ending = auth_pb2.RevokeSessionRequest(user_id=caller.user_id, session_id=session_id, client=client)
    if not (await call(services.sessions.RevokeSession, ending)).ended:
        raise AppError(Kind.NOT_FOUND, "session_not_found", "There is no such session.")
    return Response(status_code=HTTPStatus.NO_CONTENT)


def _session(session: auth_pb2.Session, *, is_current: bool) -> Session:
    return {
        "id": session.session_id,
        "is_current": is_current,
        "created_at": rfc3339(session.create_time),
        "last_used_at": rfc3339(session.use_time),
        "client_network": session.client.address or None,
        "client": session.client.user_agent or None,
    }
