"""The webhooks of an application."""

from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated

from fastapi import Query, Response
from mailroom.mail.v1 import mail_pb2

from services.gateway.bearer import RequestCaller
from services.gateway.conversions import rfc3339
from services.gateway.dependencies import Backends
from services.gateway.openapi import problems
from services.gateway.problems.error_codes import OF_A_BODY, OF_A_USER
from services.gateway.requests.path_parameters import DeliveryId, WebhookId
from services.gateway.requests.routing import Router
from services.gateway.responses import json_response_from
from services.gateway.schemas import webhooks as schemas
from services.kit.rpc.client import call

router = Router(prefix="/webhooks", tags=["webhooks"])
_OF_A_WEBHOOK = (*OF_A_USER, "webhook_not_found")
_DELIVERY_STATE: dict[str, schemas.DeliveryState] = {
    "pending": "pending",
    "delivered": "delivered",
    "failing": "failing",
    "parked": "parked",
    "abandoned": "abandoned",
}


@router.get("", response_model=schemas.WebhookList, responses=problems(*OF_A_USER))
async def list_webhooks(services: Backends, caller: RequestCaller) -> Response:
    """List the webhooks of the application, without their secrets."""
    answer = await call(services.webhooks.ListWebhooks, mail_pb2.ListWebhooksRequest(user_id=caller.user_id))
    return json_response_from({"webhooks": [_webhook(each) for each in answer.webhooks]})


@router.post(
    "",
    status_code=HTTPStatus.CREATED,
    response_model=schemas.CreatedWebhook,
    responses=problems(*OF_A_USER, *OF_A_BODY, "invalid_webhook", "too_many_webhooks", "webhooks_off"),
)
async def create_webhook(services: Backends, caller: RequestCaller, body: schemas.NewWebhook) -> Response:
    """Create a webhook. Its secret is shown this once; the first event is a `webhook.test`."""
    request = mail_pb2.CreateWebhookRequest(
        user_id=caller.user_id,
        url=body.url,
        event_types=body.events,
        is_limited=body.mailbox_ids is not None,
        account_ids=map(str, body.mailbox_ids or ()),
        description=body.description,
        backfill=body.backfill,
        order=body.order,
    )
    answer = await call(services.webhooks.CreateWebhook, request)
    made = {**_webhook(answer.webhook), "secret": answer.secret}
    return json_response_from(made, status=HTTPStatus.CREATED)


@router.get("/{id}", response_model=schemas.Webhook, responses=problems(*_OF_A_WEBHOOK))
async def get_webhook(services: Backends, caller: RequestCaller, webhook_id: WebhookId) -> Response:
    """Return a webhook of the application."""
    request = mail_pb2.GetWebhookRequest(user_id=caller.user_id, webhook_id=webhook_id)
    return json_response_from(_webhook((await call(services.webhooks.GetWebhook, request)).webhook))


@router.patch(
    "/{id}", response_model=schemas.Webhook, responses=problems(*_OF_A_WEBHOOK, *OF_A_BODY, "invalid_webhook")
)
async def update_webhook(
    services: Backends, caller: RequestCaller, webhook_id: WebhookId, body: schemas.WebhookChanges
) -> Response:
    """Change a webhook, disable it or enable it again, which goes on where it stopped.

    Where other events, mailboxes or another order are asked for, `chain_start` is true in the next ones.
    """
    request = mail_pb2.UpdateWebhookRequest(
        user_id=caller.user_id,
        webhook_id=webhook_id,
        url=body.url,
        description=body.description,
        sets_event_types=body.events is not None,
        event_types=body.events or (),
        sets_mailboxes="mailbox_ids" in body.model_fields_set,
        is_limited=body.mailbox_ids is not None,
        account_ids=map(str, body.mailbox_ids or ()),
        order=body.order,
        enabled=None if body.status is None else body.status == "enabled",
    )
    return json_response_from(_webhook((await call(services.webhooks.UpdateWebhook, request)).webhook))


@router.delete("/{id}", status_code=HTTPStatus.NO_CONTENT, responses=problems(*_OF_A_WEBHOOK))
async def delete_webhook(services: Backends, caller: RequestCaller, webhook_id: WebhookId) -> Response:
    """Delete a webhook with its deliveries."""
    request = mail_pb2.DeleteWebhookRequest(user_id=caller.user_id, webhook_id=webhook_id)
    await call(services.webhooks.DeleteWebhook, request)
    return Response(status_code=HTTPStatus.NO_CONTENT)


@router.post(
    "/{id}/rotate",
    response_model=schemas.WebhookSecret,
    responses=problems(*_OF_A_WEBHOOK, *OF_A_BODY, "webhooks_off"),
)
async def rotate_webhook_secret(
    services: Backends, caller: RequestCaller, webhook_id: WebhookId, body: schemas.SecretRotation
) -> Response:
    """Make another secret. Deliveries bear the signatures of both until the overlap ends; an earlier one ends now."""
    request = mail_pb2.RotateWebhookSecretRequest(
        user_id=caller.user_id, webhook_id=webhook_id, overlap_seconds=body.overlap_seconds
    )
    return json_response_from({"secret": (await call(services.webhooks.RotateWebhookSecret, request)).secret})


@router.post(
    "/{id}/test",
    status_code=HTTPStatus.ACCEPTED,
    response_model=schemas.Delivery,
    responses=problems(*_OF_A_WEBHOOK),
)
async def test_webhook(services: Backends, caller: RequestCaller, webhook_id: WebhookId) -> Response:
    """Send a `webhook.test`, also to a webhook that is disabled; the deliveries show what comes of it."""
    request = mail_pb2.TestWebhookRequest(user_id=caller.user_id, webhook_id=webhook_id)
    delivery = (await call(services.webhooks.TestWebhook, request)).delivery
    return json_response_from(_delivery(delivery), status=HTTPStatus.ACCEPTED)


@router.post("/{id}/enable", response_model=schemas.Webhook, responses=problems(*_OF_A_WEBHOOK))
async def enable_webhook(services: Backends, caller: RequestCaller, webhook_id: WebhookId) -> Response:
    """Enable a webhook: it goes on where it stopped, as far as changes are kept."""
    request = mail_pb2.EnableWebhookRequest(user_id=caller.user_id, webhook_id=webhook_id)
    return json_response_from(_webhook((await call(services.webhooks.EnableWebhook, request)).webhook))


@router.get(
    "/{id}/deliveries",
    response_model=schemas.DeliveryPage,
    responses=problems(*_OF_A_WEBHOOK, "invalid_page_token"),
)
async def list_webhook_deliveries(
    services: Backends, caller: RequestCaller, webhook_id: WebhookId, query: Annotated[schemas.DeliveriesQuery, Query()]
) -> Response:
    """List what was sent, newest first, with the last tries of each: delivered events for some days, others for 30."""
    request = mail_pb2.ListWebhookDeliveriesRequest(
        user_id=caller.user_id,
        webhook_id=webhook_id,
        state=query.state or "",
        page_size=query.limit,
        page_token=query.cursor,
    )
    page = await call(services.webhooks.ListWebhookDeliveries, request)
    found = [_delivery(each) for each in page.deliveries]
    return json_response_from({"deliveries": found, "next_cursor": page.next_page_token or None})


@router.post(
    "/{id}/deliveries/{delivery_id}/retry",
    status_code=HTTPStatus.ACCEPTED,
    response_model=schemas.Delivery,
    responses=problems(*_OF_A_WEBHOOK, "delivery_not_found"),
)
async def retry_webhook_delivery(
    services: Backends, caller: RequestCaller, webhook_id: WebhookId, delivery_id: DeliveryId
) -> Response:
    """Send an event once more by itself, whatever came of it: parked ones are closed in this way."""
    request = mail_pb2.RetryWebhookDeliveryRequest(
        user_id=caller.user_id, webhook_id=webhook_id, delivery_id=delivery_id
    )
    delivery = (await call(services.webhooks.RetryWebhookDelivery, request)).delivery
    return json_response_from(_delivery(delivery), status=HTTPStatus.ACCEPTED)


@router.post(
    "/{id}/replay",
    status_code=HTTPStatus.NO_CONTENT,
    responses=problems(*_OF_A_WEBHOOK, *OF_A_BODY, "invalid_since"),
)
async def replay_webhook(
    services: Backends, caller: RequestCaller, webhook_id: WebhookId, body: schemas.Replay
) -> Response:
    """Send again, in order and with the same ids, what followed a position in its mailbox, or a time in all of them."""
    request = mail_pb2.ReplayWebhookRequest(user_id=caller.user_id, webhook_id=webhook_id)
    if isinstance(body.since, datetime):
        request.time.FromDatetime(body.since.astimezone(UTC))
    else:
        request.position = body.since
    await call(services.webhooks.ReplayWebhook, request)
    return Response(status_code=HTTPStatus.NO_CONTENT)


def _webhook(value: mail_pb2.Webhook) -> schemas.Webhook:
    """Return a webhook without its secret."""
    return {
        "id": value.webhook_id,
        "url": value.url,
        "events": list(value.event_types),
        "mailbox_ids": list(value.account_ids) if value.is_limited else None,
        "description": value.description,
        "backfill": value.backfill,
        "order": "none" if value.order == "none" else "mailbox",
        "status": "disabled" if value.disabled_reason else "enabled",
        "disabled_reason": value.disabled_reason or None,
        "disabled_at": rfc3339(value.disabled_time) if value.HasField("disabled_time") else None,
        "failing_since": rfc3339(value.failing_since_time) if value.HasField("failing_since_time") else None,
        "created_at": rfc3339(value.create_time),
    }


def _delivery(value: mail_pb2.WebhookDelivery) -> schemas.Delivery:
    """Return a delivery with its last tries."""
    return {
        "id": value.delivery_id,
        "event_id": value.event_id,
        "event": value.event_type,
        "mailbox_id": value.account_id or None,
        "position": value.position or None,
        "state": _DELIVERY_STATE[value.state],
        "tries": value.tries,
        "attempts": [
            {
                "at": rfc3339(each.time),
                "status": each.status or None,
                "error": each.error or None,
                "duration_ms": each.milliseconds,
                "body": each.body,
            }
            for each in value.attempts
        ],
        "created_at": rfc3339(value.create_time),
        "ended_at": rfc3339(value.end_time) if value.HasField("end_time") else None,
    }
