"""Reading stored mail."""

from typing import Annotated

from fastapi import Query, Response
from mailroom.mail.v1 import mail_pb2

from services.gateway import conversions
from services.gateway.bearer import RequestCaller
from services.gateway.dependencies import Backends, HtmlSanitiser, UserShares
from services.gateway.html.sanitiser import SafeHtml
from services.gateway.openapi import problems
from services.gateway.problems.error_codes import OF_A_MAILBOX, OF_A_USER
from services.gateway.requests.conditional import CONDITIONAL, NOT_MODIFIED
from services.gateway.requests.path_parameters import EmailId
from services.gateway.requests.routing import Router
from services.gateway.responses import email_response, json_response_from
from services.gateway.routes.downloads import pictures_of
from services.gateway.schemas.emails import Email, Label, LabelList
from services.gateway.schemas.requests import MailboxQuery
from services.kit.rpc.client import call

router = Router(prefix="/emails", tags=["emails"])


@router.get(
    "/labels", response_model=LabelList, dependencies=[CONDITIONAL], responses=NOT_MODIFIED | problems(*OF_A_MAILBOX)
)
async def list_labels(services: Backends, caller: RequestCaller, query: Annotated[MailboxQuery, Query()]) -> Response:
    """List the labels of one mailbox, by name."""
    answer = await call(
        services.messages.ListLabels,
        mail_pb2.ListLabelsRequest(user_id=caller.user_id, mailbox=conversions.selector_of(query)),
    )
    labels = [_label(item, mailbox_id=answer.account_id) for item in answer.labels]
    return json_response_from({"labels": labels})


@router.get(
    "/{id}",
    response_model=Email,
    dependencies=[CONDITIONAL],
    responses=NOT_MODIFIED | problems(*OF_A_USER, "message_not_found"),
)
async def get_email(
    services: Backends,
    safe_html: HtmlSanitiser,
    shares: UserShares,
    caller: RequestCaller,
    email_id: EmailId,
) -> Response:
    """Get one message with headers, bodies and attachments."""
    async with shares.messages.of(caller):
        answer = await call(
            services.messages.GetMessage, mail_pb2.GetMessageRequest(user_id=caller.user_id, message_id=email_id)
        )
        return await email_response(await whole_email(answer, safe_html, user_id=caller.user_id))


async def whole_email(message: mail_pb2.GetMessageResponse, safe_html: SafeHtml, *, user_id: str) -> Email:
    """Return a message with its HTML sanitised."""
    html = None
    if message.HasField("html"):
        html = await safe_html.of(message.html, text=message.text, pictures=pictures_of(message), user_id=user_id)
    return conversions.email(message, html=html)


def _label(value: mail_pb2.Label, *, mailbox_id: str) -> Label:
    """Return a label of the mailbox."""
    return {
        "id": value.label_id,
        "mailbox_id": mailbox_id,
        **conversions.label_name(value),
        "message_count": value.message_count,
        "unread_count": value.unread_count,
        "stale_since": conversions.rfc3339(value.stale_since_time) if value.HasField("stale_since_time") else None,
    }
