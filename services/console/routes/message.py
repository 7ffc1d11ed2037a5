"""One message: as text, as HTML, its headers, its bytes, the API's JSON; and its attachments."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from starlette.responses import HTMLResponse, StreamingResponse

from services.console.gateway import calls
from services.console.gateway.calls import Call
from services.console.pages.pictures import has_pictures, with_pictures
from services.console.pages.security import MESSAGE_POLICY
from services.console.pages.visit import Visit, Visited, Watched
from services.console.routes.mail import list_messages

router = APIRouter()

type View = Literal["text", "html", "headers", "raw", "json"]
_VIEWS: tuple[tuple[View, str], ...] = (
    ("html", "HTML"), ("text", "Text"), ("headers", "Headers"), ("raw", "Raw"), ("json", "JSON"),
)  # fmt: skip
# Bytes of a raw message that a page shows; the rest is for downloads.
_RAW_SHOWN = 256 * 1024
_PASSED_ON = ("content-disposition", "content-length")
# Mail is written for paper: the frame is light in both themes, which its colours presume.
_FRAME = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Message</title><meta name="color-scheme" \
content="light"><style>body{{margin:16px;background:#fff;color:#1b1b1f;font:15px/1.5 system-ui,sans-serif;\
overflow-wrap:anywhere}}img{{max-width:100%;height:auto}}table{{max-width:100%}}</style></head><body>{}</body></html>"""


@router.get("/mailboxes/{mailbox_id}/mail/{email_id}")
async def show_message(
    visit: Visited,
    mailbox_id: str,
    email_id: str,
    view: Annotated[View | None, Query()] = None,
    pictures: Annotated[bool, Query()] = False,
    q: Annotated[str, Query(max_length=1000)] = "",
    cursor: Annotated[str, Query(max_length=2048)] = "",
) -> Response:
    """Show a message beside the list that it was chosen from."""
    email = await visit.ask(calls.get_email(email_id))
    page, _ = await list_messages(visit, mailbox_id, query=q, cursor=cursor)
    ids = [each["id"] for each in page["emails"]]
    place = ids.index(email_id) if email_id in ids else None
    return visit.show(
        "message.html",
        mailbox=await visit.ask(calls.get_mailbox(mailbox_id)),
        email=email,
        page=page,
        q=q,
        cursor=cursor,
        view=view or ("html" if email["html"] else "text"),
        views=_VIEWS,
        pictures=pictures,
        has_pictures=has_pictures(email),
        newer=ids[place - 1] if place else None,
        older=ids[place + 1] if place is not None and place + 1 < len(ids) else None,
    )


@router.get("/messages/{email_id}/frame")
async def show_html(visit: Watched, email_id: str, *, pictures: bool = False) -> Response:
    """Show the HTML of a message by itself, for a frame that can do nothing."""
    email = await visit.ask(calls.get_email(email_id))
    html = email["html"] or ""
    if pictures and html:
        html = await with_pictures(email, lambda attachment_id: _bytes(visit, email_id, attachment_id))
    headers = {"content-security-policy": MESSAGE_POLICY}
    return HTMLResponse(_FRAME.format(html), headers=headers)


@router.get("/messages/{email_id}/raw")
async def show_raw(visit: Watched, email_id: str) -> Response:
    """Show the first part of a message's bytes, which the provider is asked for."""
    content = bytearray()
    async with visit.console.gateway.stream(calls.get_raw(email_id), key=visit.session.key) as response:
        async for chunk in response.aiter_bytes():
            content += chunk
            if len(content) > _RAW_SHOWN:
                break
    text = bytes(content[:_RAW_SHOWN]).decode(errors="replace")
    is_cut = len(content) > _RAW_SHOWN
    return visit.show("parts/raw.html", text=text, is_cut=is_cut, email_id=email_id)


@router.get("/messages/{email_id}/message.eml")
async def download_message(visit: Visited, email_id: str) -> Response:
    """Download a message."""
    return await _download(visit, calls.get_raw(email_id))


@router.get("/messages/{email_id}/attachments/{attachment_id}")
async def download_attachment(visit: Visited, email_id: str, attachment_id: str) -> Response:
    """Download an attachment."""
    return await _download(visit, calls.get_attachment(email_id, attachment_id))


async def _bytes(visit: Visit, email_id: str, attachment_id: str) -> bytes:
    """Return the bytes of an attachment. Raises GatewayError."""
    async with visit.console.gateway.stream(
        calls.get_attachment(email_id, attachment_id), key=visit.session.key
    ) as response:
        return b"".join([chunk async for chunk in response.aiter_bytes()])


async def _download(visit: Visit, call: Call) -> Response:
    """Return bytes as they arrive. Of whatever kind they are, no browser shows them. Raises GatewayError."""
    stack = AsyncExitStack()
    response = await stack.enter_async_context(visit.console.gateway.stream(call, key=visit.session.key))

    async def chunks() -> AsyncGenerator[bytes]:
        async with stack:
            async for chunk in response.aiter_bytes():
                yield chunk

    headers = {name: response.headers[name] for name in _PASSED_ON if name in response.headers}
    headers.setdefault("content-disposition", "attachment")
    headers["content-security-policy"] = "sandbox; default-src 'none'"
    return visit.finish(StreamingResponse(chunks(), media_type="application/octet-stream", headers=headers))
