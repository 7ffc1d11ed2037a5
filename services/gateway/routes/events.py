"""Security events of the user."""

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
from services.gateway.schemas.sessions import EventQuery, SecurityEvent, SecurityEvents
from services.kit.rpc.client import call

router = Router(tags=["sessions"])


@router.get(
    "/auth/events",
    response_model=SecurityEvents,
    responses=problems(*OF_A_USER, "invalid_page_token"),
)
async def list_security_events(
    services: Backends, caller: RequestCaller, query: Annotated[EventQuery, Query()]
) -> Response:
    """List the security events of the user, newest first. They are kept for a year, or as the operator sets."""
    request = auth_pb2.ListSecurityEventsRequest(user_id=caller.user_id, page_size=query.limit, page_token=query.cursor)
    page = await call(services.users.ListSecurityEvents, request)
    return json_response_from(
        {"events": [_event(event) for event in page.events], "next_cursor": page.next_page_token or None}
    )


def _event(event: auth_pb2.SecurityEvent) -> SecurityEvent:
    return {
        "id": event.event_id,
        "type": event.type,
        "created_at": rfc3339(event.create_time),
        "account_id": event.account_id or None,
        "mailbox_id": event.account_id or None,
        "session_id": event.session_id or None,
        "email": event.email or None,
        "client_network": event.client.address or None,
        "client": event.client.user_agent or None,
    }
