"""What an application uses."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import Query, Response
from mailroom.mail.v1 import mail_pb2

from services.gateway import conversions
from services.gateway.bearer import RequestCaller
from services.gateway.dependencies import Backends
from services.gateway.openapi import problems
from services.gateway.problems.error_codes import OF_A_USER
from services.gateway.requests.routing import Router
from services.gateway.responses import json_response_from
from services.gateway.schemas.usage import Usage, UsageCounts, UsageQuery
from services.kit.rpc.client import call

router = Router(prefix="/usage", tags=["usage"])


@router.get(
    "",
    response_model=Usage,
    responses=problems(*OF_A_USER, "invalid_account_id", "mailbox_not_found", "ambiguous_address"),
)
async def get_usage(services: Backends, caller: RequestCaller, query: Annotated[UsageQuery, Query()]) -> Response:
    """Count what the application, or one of its mailboxes, used by the hour, and its mailboxes by state.

    The counts of the present hour lag by some seconds. They are kept for a week, also of disconnected mailboxes.
    """
    request = mail_pb2.GetUsageRequest(
        user_id=caller.user_id, mailbox=conversions.selector_of(query), hours=query.hours
    )
    answer = await call(services.usage.GetUsage, request)
    return json_response_from(
        {
            "mailboxes": {
                "active": answer.active_count,
                "reauth_required": answer.reauth_required_count,
                "access_denied": answer.access_denied_count,
            },
            "total": _sum(answer.hours),
            "hours": [{"hour": conversions.rfc3339(hour.hour_time), **_sum([hour])} for hour in answer.hours],
        }
    )


def _sum(hours: Sequence[mail_pb2.UsageHour]) -> UsageCounts:
    return {
        "messages_stored": sum(hour.stored_count for hour in hours),
        "changes": sum(hour.change_count for hour in hours),
        "deliveries": {
            "delivered": sum(hour.delivered_count for hour in hours),
            "failed": sum(hour.failed_count for hour in hours),
            "parked": sum(hour.parked_count for hour in hours),
        },
        "provider_units": sum(hour.provider_units for hour in hours),
    }
