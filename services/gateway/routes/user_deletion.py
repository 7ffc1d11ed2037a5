"""Leaving for good."""

from http import HTTPStatus

from fastapi import APIRouter, Response
from mailroom.auth.v1.auth_pb2 import RevokeSessionRequest
from mailroom.mail.v1.mail_pb2 import DeleteUserRequest

from services.gateway.dependencies import Backends, UserId
from services.gateway.openapi import ERASING, problems
from services.kit.rpc.client import call

router = APIRouter(tags=["sessions"])

# Revoking grants at the provider can take this many seconds.
_TIMEOUT = 30.0


@router.delete(
    "/auth/me",
    status_code=HTTPStatus.ACCEPTED,
    response_class=Response,
    responses={**ERASING, **problems(HTTPStatus.UNAUTHORIZED)},
)
async def delete_user(services: Backends, user_id: UserId) -> Response:
    """Deletes the user: all addresses are disconnected, all sessions end, and in the end the user does not exist.

    A repeat with the same access token tells how far it is: 202 as long as it goes on, 204 when nothing is left.
    """
    answer = await call(services.mailboxes.DeleteUser, DeleteUserRequest(user_id=user_id), timeout=_TIMEOUT)
    await call(services.sessions.RevokeSession, RevokeSessionRequest(user_id=user_id, all=True))
    return Response(status_code=HTTPStatus.NO_CONTENT if answer.erased else HTTPStatus.ACCEPTED)
