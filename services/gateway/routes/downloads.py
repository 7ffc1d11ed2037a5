"""Downloads of messages and attachments, streamed from mail."""

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import Depends, Header, Response
from mailroom.mail.v1.mail_pb2 import (
    DownloadAttachmentRequest,
    DownloadCondition,
    DownloadRawRequest,
    GetMessageResponse,
)

from services.gateway.bearer import RequestCaller
from services.gateway.dependencies import Backends, UserShares
from services.gateway.downloads import Download, condition_of
from services.gateway.openapi import problems
from services.gateway.problems.error_codes import OF_A_PROVIDER, OF_A_USER
from services.gateway.requests.path_parameters import AttachmentId, EmailId
from services.gateway.requests.routing import Router
from services.kit.rpc.client import stream

router = Router(prefix="/emails", tags=["emails"])

# Seconds until the first byte: mail waits for quota and then downloads the whole content from the provider.
_FIRST_BYTE_SECONDS = 150.0
_BYTES: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    206: {"description": "The bytes of the range that was asked for"},
    304: {"description": "One of the ETags in If-None-Match is the present one"},
}
_CODES = (
    *OF_A_USER,
    *OF_A_PROVIDER,
    *("message_not_found", "message_gone", "range_not_satisfiable"),
    *("provider_rate_limited", "provider_misconfigured", "provider_unavailable", "service_unavailable"),
)


async def _condition(
    wanted: Annotated[str, Header(alias="Range", description="A single range of bytes; others are ignored")] = "",
    if_range: Annotated[
        str, Header(alias="If-Range", description="The ETag for which the range holds, else the whole is sent")
    ] = "",
    if_none_match: Annotated[
        str, Header(alias="If-None-Match", description="ETags that the client has: 304 if one is the present one")
    ] = "",
) -> DownloadCondition:
    return condition_of(wanted=wanted, if_range=if_range, if_none_match=if_none_match)


Condition = Annotated[DownloadCondition, Depends(_condition)]


@router.get(
    "/{id}/raw",
    response_class=Response,
    responses={
        200: {"description": "RFC 5322", "content": {"message/rfc822": _BYTES}},
        **_RESPONSES,
        **problems(*_CODES),
    },
)
async def get_raw_email(
    services: Backends,
    shares: UserShares,
    caller: RequestCaller,
    condition: Condition,
    email_id: EmailId,
) -> Response:
    """Download one message as it was sent (RFC 5322), from the provider or from mail's cache."""
    request = DownloadRawRequest(user_id=caller.user_id, message_id=email_id, condition=condition)
    parts = stream(services.messages.DownloadRaw, request, first_seconds=_FIRST_BYTE_SECONDS)
    return Download(parts, share=shares.downloads.of(caller))


@router.get(
    "/{id}/attachments/{attachment_id}",
    response_class=Response,
    responses={
        200: {"description": "The bytes, as what the sender says they are", "content": {"*/*": _BYTES}},
        **_RESPONSES,
        **problems(*_CODES, "attachment_not_found"),
    },
)
async def get_attachment(
    services: Backends,
    shares: UserShares,
    caller: RequestCaller,
    condition: Condition,
    email_id: EmailId,
    attachment_id: AttachmentId,
) -> Response:
    """Download one attachment, from the provider or from mail's cache."""
    request = DownloadAttachmentRequest(
        user_id=caller.user_id, message_id=email_id, attachment_id=attachment_id, condition=condition
    )
    parts = stream(services.messages.DownloadAttachment, request, first_seconds=_FIRST_BYTE_SECONDS)
    return Download(parts, share=shares.downloads.of(caller))


def pictures_of(message: GetMessageResponse) -> Mapping[str, str]:
    """Return the paths of the message's own parts by Content-ID, Content-Location and file name, in this order."""
    paths: dict[str, str] = {}
    for field in ("content_id", "content_location", "filename"):
        for item in message.attachments:
            name: str = getattr(item, field)
            if name:
                attachment_id = quote(item.attachment_id, safe="")
                paths.setdefault(name, f"/emails/{message.summary.message_id}/attachments/{attachment_id}")
    return paths
