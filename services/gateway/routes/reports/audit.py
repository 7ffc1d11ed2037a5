"""What happened in an application."""

from datetime import UTC
from typing import Annotated

from fastapi import Query, Response
from mailroom.auth.v1 import auth_pb2

from services.gateway.bearer import RequestCaller
from services.gateway.conversions import rfc3339
from services.gateway.dependencies import Backends
from services.gateway.openapi import problems
from services.gateway.problems.error_codes import OF_A_USER
from services.gateway.requests.routing import Router
from services.gateway.responses import json_response_from
from services.gateway.schemas.audit import AuditEvent, AuditEvents, AuditQuery
from services.kit.rpc.client import call

router = Router(prefix="/audit", tags=["audit"])


@router.get("/events", response_model=AuditEvents, responses=problems(*OF_A_USER, "invalid_page_token"))
async def list_audit_events(
    services: Backends,
    caller: RequestCaller,
    query: Annotated[AuditQuery, Query()],
) -> Response:
    """List the events of all users and API keys of the application, newest first.

    They are kept for a year, or as the operator sets. Of a deleted user only the deletion is kept.
    """
    request = auth_pb2.ListAuditEventsRequest(
        manager_key_id=caller.key_id,
        page_size=query.limit,
        page_token=query.cursor,
        type=query.type or "",
        user_id=str(query.user_id or ""),
        account_id=str(query.mailbox_id or ""),
        key_id=query.key_id or "",
    )
    if query.since is not None:
        request.since_time.FromDatetime(query.since.astimezone(UTC))
    if query.until is not None:
        request.until_time.FromDatetime(query.until.astimezone(UTC))
    page = await call(services.api_keys.ListAuditEvents, request)
    return json_response_from(
        {"events": [_event(event) for event in page.events], "next_cursor": page.next_page_token or None}
    )


def _event(audited: auth_pb2.AuditEvent) -> AuditEvent:
    event = audited.event
    return {
        "id": event.event_id,
        "type": event.type,
        "created_at": rfc3339(event.create_time),
        "user_id": audited.user_id or None,
        "key_id": audited.key_id or None,
        "mailbox_id": event.account_id or None,
        "session_id": event.session_id or None,
        "email": event.email or None,
        "client_network": event.client.address or None,
        "client": event.client.user_agent or None,
    }
