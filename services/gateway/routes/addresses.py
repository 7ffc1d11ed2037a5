"""The user's connected mailboxes."""

from http import HTTPStatus

from fastapi import APIRouter, Response
from mailroom.mail.v1.mail_pb2 import ListMailboxesRequest

from services.gateway import conversions
from services.gateway.answers import json_answer
from services.gateway.dependencies import Backends, UserId
from services.gateway.openapi import problems
from services.gateway.schemas import Addresses
from services.kit.rpc_client import call

router = APIRouter(prefix="/emails/addresses", tags=["addresses"], responses=problems(HTTPStatus.UNAUTHORIZED))


@router.get("", response_model=Addresses)
async def list_addresses(services: Backends, user_id: UserId) -> Response:
    """All connected addresses of the user, oldest first."""
    answer = await call(services.mailboxes.ListMailboxes, ListMailboxesRequest(user_id=user_id))
    return json_answer({"addresses": [conversions.address(mailbox) for mailbox in answer.mailboxes]})
