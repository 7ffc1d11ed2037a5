"""The user's connected mailboxes by their older name, addresses."""

from http import HTTPStatus

from fastapi import Response
from mailroom.mail.v1.mail_pb2 import ListMailboxesRequest

from services.gateway import conversions
from services.gateway.bearer import RequestCaller
from services.gateway.dependencies import Backends
from services.gateway.openapi import ERASING, problems
from services.gateway.problems.error_codes import OF_A_USER
from services.gateway.requests.path_parameters import MailboxAccountId
from services.gateway.requests.routing import Router
from services.gateway.responses import json_response_from
from services.gateway.routes.mailboxes import DISCONNECTING, disconnect
from services.gateway.schemas.addresses import AddressList
from services.kit.rpc.client import call

router = Router(prefix="/emails/addresses", tags=["addresses"], responses=problems(*OF_A_USER))


@router.get("", response_model=AddressList, deprecated=True)
async def list_addresses(services: Backends, caller: RequestCaller) -> Response:
    """List the connected mailboxes by their older name: see listMailboxes."""
    answer = await call(services.mailboxes.ListMailboxes, ListMailboxesRequest(user_id=caller.user_id))
    return json_response_from({"addresses": [conversions.address(mailbox) for mailbox in answer.mailboxes]})


@router.delete(
    "/{account_id}",
    status_code=HTTPStatus.ACCEPTED,
    response_class=Response,
    deprecated=True,
    responses={**ERASING, **problems(*OF_A_USER, *DISCONNECTING)},
)
async def disconnect_address(
    services: Backends,
    caller: RequestCaller,
    account_id: MailboxAccountId,
) -> Response:
    """Disconnect a mailbox by its older name: see disconnectMailbox."""
    return await disconnect(services, caller, account_id)
