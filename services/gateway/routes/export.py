"""Export of stored messages."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

from fastapi import Query, Response
from mailroom.mail.v1.mail_pb2 import ExportMessagesRequest, ExportMessagesResponse
from pydantic_core import to_json

from services.gateway import conversions
from services.gateway.bearer import RequestCaller
from services.gateway.dependencies import Backends, HtmlSanitiser, UserShares
from services.gateway.html.sanitiser import SafeHtml
from services.gateway.openapi import problems
from services.gateway.problems.error_codes import OF_A_MAILBOX
from services.gateway.requests.routing import Router
from services.gateway.routes.messages import whole_email
from services.gateway.schemas.emails import FilterQuery
from services.gateway.streaming import JsonLines
from services.kit.rpc.client import stream

router = Router(prefix="/emails", tags=["emails"])


@router.get(
    "/export",
    response_class=Response,
    responses={
        200: {
            "description": "One message a line (as `GET /emails/{id}` shows it). After an error the last line is "
            '`{"problem": ...}`, and the connection ends before the body does.',
            "content": {"application/x-ndjson": {"schema": {"type": "string", "format": "binary"}}},
        },
        **problems(*OF_A_MAILBOX, "invalid_query"),
    },
)
async def export_emails(
    services: Backends,
    safe_html: HtmlSanitiser,
    shares: UserShares,
    caller: RequestCaller,
    query: Annotated[FilterQuery, Query()],
) -> Response:
    """Export the stored messages of one mailbox that match all filters, whole, newest first, as NDJSON."""
    request = ExportMessagesRequest(
        user_id=caller.user_id,
        **conversions.filter_fields(query),
    )
    parts = stream(services.messages.ExportMessages, request)
    lines = _lines(parts, safe_html, user_id=caller.user_id)
    return JsonLines(lines, filename="emails.ndjson", share=shares.exports.of(caller))


async def _lines(
    parts: AsyncGenerator[ExportMessagesResponse], safe_html: SafeHtml, *, user_id: str
) -> AsyncGenerator[bytes]:
    async with aclosing(parts):
        async for part in parts:
            yield to_json(await whole_email(part.message, safe_html, user_id=user_id))
