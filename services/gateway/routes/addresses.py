"""The user's connected mailboxes."""

from http import HTTPStatus

from fastapi import APIRouter, Response
from mailroom.mail.v1.mail_pb2 import DisconnectMailboxRequest, ListMailboxesRequest

from services.gateway import conversions
from services.gateway.dependencies import Backends, UserId
from services.gateway.openapi import ERASING, problems
from services.gateway.responses import json_response_from
from services.gateway.schemas.addresses import Addresses
from services.kit.rpc.client import call

router = APIRouter(prefix="/emails/addresses", tags=["addresses"], responses=problems(HTTPStatus.UNAUTHORIZED))


@router.get("", response_model=Addresses)
async def list_addresses(services: Backends, user_id: UserId) -> Response:
    """All connected addresses of the user, oldest first."""
    answer = await call(services.mailboxes.ListMailboxes, ListMailboxesRequest(user_id=user_id))
    return json_response_from({"addresses": [conversions.address(mailbox) for mailbox in answer.mailboxes]})


@router.delete(
    "/{account_id}",
    status_code=HTTPStatus.ACCEPTED,
    response_class=Response,
    responses={**ERASING, **problems(HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND)},
)
async def disconnect(services: Backends, user_id: UserId, account_id: str) -> Response:
    """Gives up an address: from the answer on it is not found, nor is any of its mail.

    In the background the grant is revoked at the provider and everything stored is erased. A repeat tells how far that
    is: 202 as long as it goes on, 204 when nothing is left. Connecting the address again begins from nothing.
    """
    request = DisconnectMailboxRequest(user_id=user_id, account_id=account_id)
    answer = await call(services.mailboxes.DisconnectMailbox, request)
    return Response(status_code=HTTPStatus.NO_CONTENT if answer.erased else HTTPStatus.ACCEPTED)
