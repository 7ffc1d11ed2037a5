"""The user's connected mailboxes."""

from http import HTTPStatus
from typing import Annotated

from fastapi import Query, Response
from mailroom.auth.v1.auth_pb2 import ListUsersRequest
from mailroom.mail.v1 import mail_pb2

from services.gateway import conversions
from services.gateway.bearer import RequestCaller
from services.gateway.caller import Caller
from services.gateway.clients import Services
from services.gateway.dependencies import Backends
from services.gateway.openapi import ERASING, problems
from services.gateway.problems.error_codes import OF_A_USER
from services.gateway.recent_sign_in import require_recent_sign_in
from services.gateway.requests.path_parameters import MailboxId
from services.gateway.requests.routing import Router
from services.gateway.responses import json_response_from
from services.gateway.schemas.addresses import Mailbox, MailboxList, MailboxListQuery
from services.kit.errors import AppError, Kind
from services.kit.rpc.client import call

router = Router(prefix="/mailboxes", tags=["mailboxes"], responses=problems(*OF_A_USER))

DISCONNECTING = ("reauthentication_required", "invalid_account_id", "mailbox_not_found")


# Mailboxes of a page for an API key that names no limit.
_PAGE = 50
_STATUS = {
    "active": (mail_pb2.MAILBOX_STATUS_ACTIVE, False),
    "access_denied": (mail_pb2.MAILBOX_STATUS_ACTIVE, True),
    "reauth_required": (mail_pb2.MAILBOX_STATUS_REAUTH_REQUIRED, None),
    None: (mail_pb2.MAILBOX_STATUS_UNSPECIFIED, None),
}


@router.get("", response_model=MailboxList, responses=problems(*OF_A_USER, "invalid_page_token"))
async def list_mailboxes(
    services: Backends, caller: RequestCaller, query: Annotated[MailboxListQuery, Query()]
) -> Response:
    """List the connected mailboxes of the user, or with an API key those of its application, oldest first."""
    owner = await _owner(services, caller, query)
    if owner is None:
        return json_response_from({"mailboxes": [], "next_cursor": None})
    status, access_denied = _STATUS[query.status]
    request = mail_pb2.ListMailboxesRequest(
        user_id=caller.user_id,
        owner_id=owner,
        email=query.email,
        provider=query.provider,
        status=status,
        access_denied=access_denied,
        page_size=query.limit or (_PAGE if caller.key_id else 0),
        page_token=query.cursor,
    )
    page = await call(services.mailboxes.ListMailboxes, request)
    mailboxes = [conversions.mailbox(mailbox) for mailbox in page.mailboxes]
    return json_response_from({"mailboxes": mailboxes, "next_cursor": page.next_page_token or None})


async def _owner(services: Services, caller: Caller, query: MailboxListQuery) -> str | None:
    """Return the user whose mailboxes are wanted, empty for any; None for a user that the caller does not have."""
    if not caller.key_id:
        return "" if query.user_id in ("", caller.user_id) and not query.external_user_id else None
    if not query.external_user_id:
        return query.user_id
    request = ListUsersRequest(application_id=caller.application_id, external_user_id=query.external_user_id)
    users = (await call(services.applications.ListUsers, request)).users
    ids = [user.user_id for user in users if query.user_id in ("", user.user_id)]
    return ids[0] if ids else None


@router.get(
    "/{mailbox_id}",
    response_model=Mailbox,
    responses=problems(*OF_A_USER, "invalid_account_id", "mailbox_not_found"),
)
async def get_mailbox(services: Backends, caller: RequestCaller, mailbox_id: MailboxId) -> Response:
    """Get one connected mailbox."""
    request = mail_pb2.ListMailboxesRequest(user_id=caller.user_id, account_id=mailbox_id)
    found = (await call(services.mailboxes.ListMailboxes, request)).mailboxes
    if not found:
        raise AppError(Kind.NOT_FOUND, "mailbox_not_found", "You have not connected such a mailbox.")
    return json_response_from(conversions.mailbox(found[0]))


@router.delete(
    "/{mailbox_id}",
    status_code=HTTPStatus.ACCEPTED,
    response_class=Response,
    responses={**ERASING, **problems(*OF_A_USER, *DISCONNECTING)},
)
async def disconnect_mailbox(
    services: Backends,
    caller: RequestCaller,
    mailbox_id: MailboxId,
) -> Response:
    """Disconnect a mailbox: after the response neither it nor its mail is found.

    It needs a sign-in of the last 10 minutes, an API key, or an access token that was exchanged for one.
    In the background the grant is revoked at the provider and the stored mail is erased. A repeat answers 202 while
    that goes on, and 204 when it is done. Connecting the mailbox again starts with an empty copy.
    """
    return await disconnect(services, caller, mailbox_id)


async def disconnect(services: Services, caller: Caller, mailbox_id: str) -> Response:
    """Disconnect a mailbox. Raises AppError."""
    if not caller.acting_key_id:
        await require_recent_sign_in(services, caller)
    request = mail_pb2.DisconnectMailboxRequest(user_id=caller.user_id, account_id=mailbox_id)
    answer = await call(services.mailboxes.DisconnectMailbox, request)
    return Response(status_code=HTTPStatus.NO_CONTENT if answer.erased else HTTPStatus.ACCEPTED)
