"""The user's connected mailboxes."""

from http import HTTPStatus

from fastapi import Response
from mailroom.mail.v1.mail_pb2 import DisconnectMailboxRequest, ListMailboxesRequest

from services.gateway import conversions
from services.gateway.bearer import SignedIn
from services.gateway.dependencies import Backends, UserId
from services.gateway.openapi import ERASING, problems
from services.gateway.problems.error_codes import OF_A_USER
from services.gateway.recent_sign_in import require_recent_sign_in
from services.gateway.requests.path_parameters import MailboxAccountId
from services.gateway.requests.routing import Router
from services.gateway.responses import json_response_from
from services.gateway.schemas.addresses import AddressList
from services.kit.rpc.client import call

router = Router(prefix="/emails/addresses", tags=["addresses"], responses=problems(*OF_A_USER))


@router.get("", response_model=AddressList)
async def list_addresses(services: Backends, user_id: UserId) -> Response:
    """List the connected addresses of the user, oldest first."""
    answer = await call(services.mailboxes.ListMailboxes, ListMailboxesRequest(user_id=user_id))
    return json_response_from({"addresses": [conversions.address(mailbox) for mailbox in answer.mailboxes]})


@router.delete(
    "/{account_id}",
    status_code=HTTPStatus.ACCEPTED,
    response_class=Response,
    responses={
        **ERASING,
        **problems(*OF_A_USER, "reauthentication_required", "invalid_account_id", "mailbox_not_found"),
    },
)
async def disconnect_mailbox(
    services: Backends, user_id: UserId, caller: SignedIn, account_id: MailboxAccountId
) -> Response:
    """Disconnect an address: after the response neither it nor its mail is found.

    It needs a sign-in of the last 10 minutes.
    In the background the grant is revoked at the provider and the stored mail is erased. A repeat answers 202 while
    that goes on, and 204 when it is done. Connecting the address again starts with an empty copy.
    """
    await require_recent_sign_in(services, caller)
    request = DisconnectMailboxRequest(user_id=user_id, account_id=account_id)
    answer = await call(services.mailboxes.DisconnectMailbox, request)
    return Response(status_code=HTTPStatus.NO_CONTENT if answer.erased else HTTPStatus.ACCEPTED)
