"""The user's connected mailboxes."""

from http import HTTPStatus

from fastapi import Response
from mailroom.mail.v1.mail_pb2 import DisconnectMailboxRequest, ListMailboxesRequest

from services.gateway import conversions
from services.gateway.access_tokens import Caller
from services.gateway.bearer import SignedIn
from services.gateway.clients import Services
from services.gateway.dependencies import Backends, UserId
from services.gateway.openapi import ERASING, problems
from services.gateway.problems.error_codes import OF_A_USER
from services.gateway.recent_sign_in import require_recent_sign_in
from services.gateway.requests.path_parameters import MailboxId
from services.gateway.requests.routing import Router
from services.gateway.responses import json_response_from
from services.gateway.schemas.addresses import Mailbox, MailboxList
from services.kit.errors import AppError, Kind
from services.kit.rpc.client import call

router = Router(prefix="/mailboxes", tags=["mailboxes"], responses=problems(*OF_A_USER))

DISCONNECTING = ("reauthentication_required", "invalid_account_id", "mailbox_not_found")


@router.get("", response_model=MailboxList)
async def list_mailboxes(services: Backends, user_id: UserId) -> Response:
    """List the connected mailboxes of the user, oldest first."""
    return json_response_from({"mailboxes": await _mailboxes(services, user_id)})


@router.get("/{mailbox_id}", response_model=Mailbox, responses=problems(*OF_A_USER, "mailbox_not_found"))
async def get_mailbox(services: Backends, user_id: UserId, mailbox_id: MailboxId) -> Response:
    """Get one connected mailbox."""
    for mailbox in await _mailboxes(services, user_id):
        if mailbox["mailbox_id"] == mailbox_id:
            return json_response_from(mailbox)
    raise AppError(Kind.NOT_FOUND, "mailbox_not_found", "You have not connected such a mailbox.")


@router.delete(
    "/{mailbox_id}",
    status_code=HTTPStatus.ACCEPTED,
    response_class=Response,
    responses={**ERASING, **problems(*OF_A_USER, *DISCONNECTING)},
)
async def disconnect_mailbox(
    services: Backends,
    user_id: UserId,  # noqa: ARG001 - counts the request
    caller: SignedIn,
    mailbox_id: MailboxId,
) -> Response:
    """Disconnect a mailbox: after the response neither it nor its mail is found.

    It needs a sign-in of the last 10 minutes.
    In the background the grant is revoked at the provider and the stored mail is erased. A repeat answers 202 while
    that goes on, and 204 when it is done. Connecting the mailbox again starts with an empty copy.
    """
    return await disconnect(services, caller, mailbox_id)


async def disconnect(services: Services, caller: Caller, mailbox_id: str) -> Response:
    """Disconnect a mailbox. Raises AppError."""
    await require_recent_sign_in(services, caller)
    request = DisconnectMailboxRequest(user_id=caller.user_id, account_id=mailbox_id)
    answer = await call(services.mailboxes.DisconnectMailbox, request)
    return Response(status_code=HTTPStatus.NO_CONTENT if answer.erased else HTTPStatus.ACCEPTED)


async def _mailboxes(services: Services, user_id: str) -> list[Mailbox]:
    answer = await call(services.mailboxes.ListMailboxes, ListMailboxesRequest(user_id=user_id))
    return [conversions.mailbox(mailbox) for mailbox in answer.mailboxes]
