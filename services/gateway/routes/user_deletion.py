"""Deletion of the user."""

from http import HTTPStatus

from fastapi import Response
from mailroom.auth.v1.auth_pb2 import RevokeSessionRequest
from mailroom.mail.v1.mail_pb2 import DeleteUserRequest

from services.gateway.bearer import RequestCaller
from services.gateway.client_info import RequestClient
from services.gateway.dependencies import Backends
from services.gateway.openapi import ERASING, problems
from services.gateway.problems.error_codes import OF_A_USER
from services.gateway.recent_sign_in import require_recent_sign_in
from services.gateway.requests.routing import Router
from services.kit.rpc.client import call

router = Router(tags=["sessions"])

# Seconds that the revocation of grants at the provider can take.
_TIMEOUT = 30.0


@router.delete(
    "/auth/me",
    status_code=HTTPStatus.ACCEPTED,
    response_class=Response,
    responses={**ERASING, **problems(*OF_A_USER, "reauthentication_required")},
)
async def delete_user(services: Backends, caller: RequestCaller, client: RequestClient) -> Response:
    """Delete the user: disconnect all addresses and end all sessions. It needs a sign-in of the last 10 minutes.

    A repeat with the same access token answers 202 while that goes on, and 204 when it is done.
    """
    await require_recent_sign_in(services, caller, user_deletion=True)
    answer = await call(services.mailboxes.DeleteUser, DeleteUserRequest(user_id=caller.user_id), timeout=_TIMEOUT)
    # `all` is for an auth of the release before.
    ending = RevokeSessionRequest(user_id=caller.user_id, all=True, user_deletion=True, client=client)
    await call(services.sessions.RevokeSession, ending)
    return Response(status_code=HTTPStatus.NO_CONTENT if answer.erased else HTTPStatus.ACCEPTED)
