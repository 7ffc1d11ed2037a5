"""The servicer of mailroom.mail.v1.WebhookService."""

from collections.abc import Iterable
from datetime import UTC, datetime
from uuid import UUID

from mailroom.mail.v1 import mail_pb2, mail_pb2_grpc

from services.kit.errors import AppError, Kind
from services.kit.principals import current_principal
from services.kit.rpc.server import Context
from services.mail.ids import FeedPosition, PublicIds
from services.mail.rpc.from_proto import id_or_none, position_of
from services.mail.rpc.to_proto import timestamp
from services.mail.webhooks.endpoints import LARGEST_PAGE, RuleChanges, Webhooks
from services.mail.webhooks.model import Delivery, DeliveryOrder, DeliveryState, Endpoint, EndpointRules

_PAGE = 50
# Deliveries are numbered; the number of none.
_NO_DELIVERY = -1


class WebhookServicer(mail_pb2_grpc.WebhookServiceServicer):
    """Webhooks: endpoints, secrets, deliveries."""

    def __init__(self, webhooks: Webhooks, *, ids: PublicIds) -> None:
        self._webhooks = webhooks
        self._ids = ids

    async def CreateWebhook(
        self, request: mail_pb2.CreateWebhookRequest, context: Context
    ) -> mail_pb2.CreateWebhookResponse:
        rules = EndpointRules(
            url=request.url,
            event_types=tuple(request.event_types),
            account_ids=_accounts(request.account_ids) if request.is_limited else None,
            description=request.description,
            backfill=request.backfill,
            order=_order(request.order) if request.order else DeliveryOrder.MAILBOX,
        )
        endpoint, secret = await self._webhooks.create(_application(), rules)
        return mail_pb2.CreateWebhookResponse(webhook=_webhook(endpoint), secret=secret)

    async def ListWebhooks(
        self, request: mail_pb2.ListWebhooksRequest, context: Context
    ) -> mail_pb2.ListWebhooksResponse:
        return mail_pb2.ListWebhooksResponse(webhooks=map(_webhook, await self._webhooks.all_of(_application())))

    async def GetWebhook(self, request: mail_pb2.GetWebhookRequest, context: Context) -> mail_pb2.GetWebhookResponse:
        endpoint = await self._webhooks.get(_application(), _endpoint_id(request.webhook_id))
        return mail_pb2.GetWebhookResponse(webhook=_webhook(endpoint))

    async def UpdateWebhook(
        self, request: mail_pb2.UpdateWebhookRequest, context: Context
    ) -> mail_pb2.UpdateWebhookResponse:
        is_limited = request.sets_mailboxes and request.is_limited
        changes = RuleChanges(
            url=request.url if request.HasField("url") else None,
            event_types=tuple(request.event_types) if request.sets_event_types else None,
            account_ids=_accounts(request.account_ids) if is_limited else None,
            all_mailboxes=request.sets_mailboxes and not request.is_limited,
            description=request.description if request.HasField("description") else None,
            order=_order(request.order) if request.HasField("order") else None,
            is_enabled=request.enabled if request.HasField("enabled") else None,
        )
        endpoint = await self._webhooks.change(_application(), _endpoint_id(request.webhook_id), changes)
        return mail_pb2.UpdateWebhookResponse(webhook=_webhook(endpoint))

    async def DeleteWebhook(
        self, request: mail_pb2.DeleteWebhookRequest, context: Context
    ) -> mail_pb2.DeleteWebhookResponse:
        await self._webhooks.delete(_application(), _endpoint_id(request.webhook_id))
        return mail_pb2.DeleteWebhookResponse()

    async def RotateWebhookSecret(
        self, request: mail_pb2.RotateWebhookSecretRequest, context: Context
    ) -> mail_pb2.RotateWebhookSecretResponse:
        secret = await self._webhooks.rotate(
            _application(), _endpoint_id(request.webhook_id), overlap_seconds=request.overlap_seconds
        )
        return mail_pb2.RotateWebhookSecretResponse(secret=secret)

    async def TestWebhook(self, request: mail_pb2.TestWebhookRequest, context: Context) -> mail_pb2.TestWebhookResponse:
        delivery = await self._webhooks.test(_application(), _endpoint_id(request.webhook_id))
        return mail_pb2.TestWebhookResponse(delivery=self._delivery(delivery))

    async def EnableWebhook(
        self, request: mail_pb2.EnableWebhookRequest, context: Context
    ) -> mail_pb2.EnableWebhookResponse:
        endpoint = await self._webhooks.enable(_application(), _endpoint_id(request.webhook_id))
        return mail_pb2.EnableWebhookResponse(webhook=_webhook(endpoint))

    async def ListWebhookDeliveries(
        self, request: mail_pb2.ListWebhookDeliveriesRequest, context: Context
    ) -> mail_pb2.ListWebhookDeliveriesResponse:
        size = min(request.page_size or _PAGE, LARGEST_PAGE)
        found = await self._webhooks.deliveries(
            _application(),
            _endpoint_id(request.webhook_id),
            state=DeliveryState(request.state) if request.state else None,
            before=_before(request.page_token),
            limit=size + 1,
        )
        page = found[:size]
        return mail_pb2.ListWebhookDeliveriesResponse(
            deliveries=[self._delivery(each) for each in page],
            next_page_token=str(page[-1].delivery_id) if len(found) > size else "",
        )

    async def RetryWebhookDelivery(
        self, request: mail_pb2.RetryWebhookDeliveryRequest, context: Context
    ) -> mail_pb2.RetryWebhookDeliveryResponse:
        delivery = await self._webhooks.retry(
            _application(), _endpoint_id(request.webhook_id), _number(request.delivery_id, otherwise=_NO_DELIVERY)
        )
        return mail_pb2.RetryWebhookDeliveryResponse(delivery=self._delivery(delivery))

    async def ReplayWebhook(
        self, request: mail_pb2.ReplayWebhookRequest, context: Context
    ) -> mail_pb2.ReplayWebhookResponse:
        since: FeedPosition | datetime | None = None
        match request.WhichOneof("since"):
            case "position":
                since = position_of(request.position, self._ids)
            case "time":
                since = request.time.ToDatetime(UTC)
        if since is None:
            raise AppError(Kind.INVALID, "invalid_since", "Name a position or a time.")
        await self._webhooks.replay(_application(), _endpoint_id(request.webhook_id), since=since)
        return mail_pb2.ReplayWebhookResponse()

    def _delivery(self, delivery: Delivery) -> mail_pb2.WebhookDelivery:
        position = ""
        if delivery.mailbox_id is not None and delivery.seq is not None:
            position = self._ids.encode_position(
                FeedPosition(delivery.mailbox_id, delivery.incarnation or 0, delivery.seq)
            )
        return mail_pb2.WebhookDelivery(
            delivery_id=str(delivery.delivery_id),
            event_id=delivery.event_id,
            event_type=delivery.event_type,
            account_id=str(delivery.account_id or ""),
            position=position,
            state=delivery.state.value,
            tries=delivery.tries,
            attempts=[
                mail_pb2.WebhookAttempt(
                    time=timestamp(datetime.fromisoformat(each["at"])),
                    milliseconds=each["milliseconds"],
                    status=each["status"] or 0,
                    error=each["error"],
                    body=each["body"],
                )
                for each in delivery.attempts
            ],
            create_time=timestamp(delivery.created_at),
            due_time=timestamp(delivery.due_at),
            end_time=timestamp(delivery.ended_at),
        )


def _application() -> UUID:
    """Return the application of the API key that asks. Raises AppError wrong_credential."""
    principal = current_principal()
    if principal is None or principal.application_id is None or principal.mailbox_ids is not None:
        raise AppError(Kind.FORBIDDEN, "wrong_credential", "This needs an API key of an application as a whole.")
    return principal.application_id


def _endpoint_id(webhook_id: str) -> UUID:
    found = id_or_none(webhook_id)
    return UUID(int=0) if found is None else found


def _accounts(account_ids: Iterable[str]) -> tuple[UUID, ...]:
    """Return the accounts of mailboxes. Raises AppError invalid_webhook."""
    try:
        return tuple(map(UUID, account_ids))
    except ValueError:
        raise AppError(Kind.INVALID, "invalid_webhook", "mailbox_ids are UUIDs.") from None


def _order(text: str) -> DeliveryOrder:
    """Return the order of this name. Raises AppError invalid_webhook."""
    try:
        return DeliveryOrder(text)
    except ValueError:
        raise AppError(Kind.INVALID, "invalid_webhook", "order is mailbox or none.") from None


def _before(page_token: str) -> int | None:
    number = _number(page_token, otherwise=None)
    if page_token and number is None:
        raise AppError(Kind.INVALID, "invalid_page_token", "The page token is not one of this list.")
    return number


def _number[T](text: str, *, otherwise: T) -> int | T:
    """Return the number of a delivery; it is below that of Postgres's bigint."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else otherwise


def _webhook(endpoint: Endpoint) -> mail_pb2.Webhook:
    rules = endpoint.rules
    return mail_pb2.Webhook(
        webhook_id=str(endpoint.endpoint_id),
        url=rules.url,
        event_types=rules.event_types,
        is_limited=rules.account_ids is not None,
        account_ids=map(str, rules.account_ids or ()),
        description=rules.description,
        backfill=rules.backfill,
        order=rules.order.value,
        disabled_reason=endpoint.disabled_reason,
        disabled_time=timestamp(endpoint.disabled_at),
        failing_since_time=timestamp(endpoint.failing_since),
        create_time=timestamp(endpoint.created_at),
    )
