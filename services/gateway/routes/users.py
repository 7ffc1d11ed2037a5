"""The users of an application, whom it names by ids of its own, and access tokens for its front end."""

from http import HTTPStatus
from typing import Annotated

from fastapi import Query, Response
from mailroom.auth.v1 import auth_pb2
from mailroom.mail.v1.mail_pb2 import DeleteUserRequest

from services.gateway.bearer import RequestCaller
from services.gateway.conversions import account, rfc3339, seconds_until
from services.gateway.dependencies import Backends
from services.gateway.openapi import ERASING, problems
from services.gateway.problems.error_codes import OF_A_BODY, OF_A_USER
from services.gateway.requests.form_body import FORM_BODY
from services.gateway.requests.path_parameters import OneUserId
from services.gateway.requests.routing import Router
from services.gateway.responses import json_response_from
from services.gateway.schemas import applications as schemas
from services.kit.rpc.client import call

router = Router(tags=["users"])

# Seconds that the revocation of grants at the provider can take.
_TIMEOUT = 30.0


@router.get("/users", response_model=schemas.UserPage, responses=problems(*OF_A_USER, "invalid_page_token"))
async def list_users(
    services: Backends,
    caller: RequestCaller,
    query: Annotated[schemas.UserQuery, Query()],
) -> Response:
    """List the users of the application, or the one of an external id."""
    request = auth_pb2.ListUsersRequest(
        application_id=caller.application_id,
        external_user_id=query.external_user_id or "",
        page_size=query.limit,
        page_token=query.cursor,
    )
    page = await call(services.applications.ListUsers, request)
    return json_response_from(
        {"users": [_user(user) for user in page.users], "next_cursor": page.next_page_token or None}
    )


@router.post(
    "/users",
    status_code=HTTPStatus.CREATED,
    response_model=schemas.ApplicationUser,
    responses={
        200: {"model": schemas.ApplicationUser, "description": "The user was there already"},
        **problems(*OF_A_USER, *OF_A_BODY),
    },
)
async def add_user(
    services: Backends,
    caller: RequestCaller,
    body: schemas.NewUser,
) -> Response:
    """Add a user under the application's own id, or return the one that has it."""
    request = auth_pb2.AddUserRequest(application_id=caller.application_id, external_user_id=body.external_user_id)
    answer = await call(services.applications.AddUser, request)
    return json_response_from(_user(answer.user), status=HTTPStatus.CREATED if answer.is_new else HTTPStatus.OK)


@router.get(
    "/users/{id}", response_model=schemas.ApplicationUserDetails, responses=problems(*OF_A_USER, "user_not_found")
)
async def get_one_user(
    services: Backends,
    caller: RequestCaller,
    one_user_id: OneUserId,
) -> Response:
    """Get a user of the application with their connected accounts, oldest first."""
    request = auth_pb2.GetApplicationUserRequest(application_id=caller.application_id, user_id=one_user_id)
    answer = await call(services.applications.GetApplicationUser, request)
    return json_response_from({**_user(answer.user), "accounts": [account(item) for item in answer.accounts]})


@router.delete(
    "/users/{id}",
    status_code=HTTPStatus.ACCEPTED,
    response_class=Response,
    responses={**ERASING, **problems(*OF_A_USER, "user_not_found")},
)
async def delete_one_user(services: Backends, caller: RequestCaller, one_user_id: OneUserId) -> Response:
    """Delete a user of the application with their mailboxes. A repeat answers 202 while that goes on, and then 404."""
    known = auth_pb2.GetApplicationUserRequest(application_id=caller.application_id, user_id=one_user_id)
    await call(services.applications.GetApplicationUser, known)
    request = DeleteUserRequest(user_id=caller.user_id, deleted_user_id=one_user_id)
    answer = await call(services.mailboxes.DeleteUser, request, timeout=_TIMEOUT)
    return Response(status_code=HTTPStatus.NO_CONTENT if answer.erased else HTTPStatus.ACCEPTED)


@router.post(
    "/auth/token/exchange",
    response_model=schemas.ExchangedToken,
    dependencies=[FORM_BODY],
    responses=problems(*OF_A_USER, *OF_A_BODY, "invalid_scope", "user_not_found"),
)
async def exchange_token(
    services: Backends,
    caller: RequestCaller,
    body: schemas.TokenExchangeRequest,
) -> Response:
    """Exchange an API key for the access token of one of its application's users (RFC 8693), for a front end.

    The fields may also come as a form, as the RFC has them.

    It lives for 15 minutes, and ends within five seconds of the key. It belongs to no session: nothing refreshes it,
    and it does nothing that only a user who has signed in may do.
    """
    request = auth_pb2.ExchangeTokenRequest(
        acting_key_id=caller.key_id, user_id=body.subject_token, scopes=sorted({*body.scope.split()})
    )
    answer = await call(services.api_keys.ExchangeToken, request)
    token: schemas.ExchangedToken = {
        "access_token": answer.access_token,
        "issued_token_type": schemas.ACCESS_TOKEN_TYPE,
        "token_type": "Bearer",
        "expires_in": seconds_until(answer.expire_time),
        "scope": " ".join(answer.scopes),
    }
    return json_response_from(token)


def _user(user: auth_pb2.User) -> schemas.ApplicationUser:
    return {
        "user_id": user.user_id,
        "external_user_id": user.external_user_id or None,
        "created_at": rfc3339(user.create_time),
    }
