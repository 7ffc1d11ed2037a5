"""Connect sessions: a back end has its user connect a mailbox in a browser."""

from http import HTTPStatus
from urllib.parse import urlencode

from fastapi import Request, Response
from mailroom.auth.v1 import auth_pb2

from services.gateway.bearer import RequestCaller
from services.gateway.client_info import RequestClient
from services.gateway.conversions import rfc3339
from services.gateway.dependencies import Backends
from services.gateway.openapi import problems
from services.gateway.problems.error_codes import OF_A_BODY, OF_A_USER
from services.gateway.requests.path_parameters import ConnectSessionId
from services.gateway.requests.routing import Router
from services.gateway.responses import json_response_from
from services.gateway.routes.sign_in import refresh_mailboxes
from services.gateway.schemas.connect import ConnectCode, ConnectedMailbox, ConnectSession, NewConnectSession
from services.kit.errors import AppError, Kind
from services.kit.rpc.client import call

router = Router(prefix="/connect/sessions", tags=["connect"])


@router.post(
    "",
    status_code=HTTPStatus.CREATED,
    response_model=ConnectSession,
    responses=problems(*OF_A_USER, *OF_A_BODY, "invalid_redirect_url", "unknown_provider"),
)
async def create_connect_session(
    request: Request,
    services: Backends,
    caller: RequestCaller,
    body: NewConnectSession,
) -> Response:
    """Create a session in which a user of the application connects a mailbox: send their browser to its `url`.

    A user that is not known yet is added. The page opens for 15 minutes; it names the application and what that asks
    for. After the user's consent the browser goes to `redirect_url` with `session` and `code`, or with `error`.
    """
    answer = await call(
        services.connect.CreateConnectSession,
        auth_pb2.CreateConnectSessionRequest(
            application_id=caller.application_id,
            external_user_id=body.external_user_id,
            redirect_url=body.redirect_url,
            provider=body.provider or "",
            access=body.access,
            login_hint=body.login_hint or "",
        ),
    )
    session: ConnectSession = {
        "id": answer.session_id,
        "url": f"{request.app.state.public_url}/connect?{urlencode({'token': answer.token})}",
        "user_id": answer.user_id,
        "expires_at": rfc3339(answer.expire_time),
    }
    return json_response_from(session, status=HTTPStatus.CREATED)


@router.post(
    "/{id}/complete",
    response_model=ConnectedMailbox,
    responses=problems(
        *OF_A_USER,
        *OF_A_BODY,
        *("connect_session_not_found", "invalid_connect_code", "account_of_another_user", "no_offline_access"),
    ),
)
async def complete_connect_session(
    services: Backends,
    caller: RequestCaller,
    client: RequestClient,
    session_id: ConnectSessionId,
    body: ConnectCode,
) -> Response:
    """Connect the mailbox, after checking that the browser that brought `code` is the one of the session's user.

    The code is valid for 10 minutes. For another 10 minutes a repeat gets the same answer. A mailbox that the
    application had connected before keeps its id and its mail.
    """
    request = auth_pb2.CompleteConnectSessionRequest(
        application_id=caller.application_id, session_id=session_id, code=body.code, client=client
    )
    answer = await call(services.connect.CompleteConnectSession, request)
    if await refresh_mailboxes(services, caller.user_id, caller.token, account_id=answer.account.account_id):
        raise AppError(
            Kind.INVALID, "invalid_connect_code", "The mailbox is being disconnected; start again in a moment."
        )
    mailbox: ConnectedMailbox = {
        "mailbox_id": answer.account.account_id,
        "email": answer.account.email,
        "provider": answer.account.provider,
        "user_id": answer.user.user_id,
        "external_user_id": answer.user.external_user_id,
    }
    return json_response_from(mailbox)
