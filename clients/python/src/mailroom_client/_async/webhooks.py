"""The webhooks of an application, for API keys with the scope `webhooks.manage`."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from mailroom_client._async.paging import AsyncPaged
from mailroom_client._async.transport import AsyncTransport
from mailroom_client._request import Request, Sent, parameters, path_of
from mailroom_client.models import CreatedWebhook, Delivery, Model, Webhook, WebhookSecret

_LARGEST_PAGE = 200


class _Webhooks(Model):
    webhooks: list[Webhook]


class AsyncWebhooks:
    """The webhooks of the application."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def list(self) -> tuple[Webhook, ...]:
        """Return all webhooks, without their secrets."""
        return tuple((await self._transport.call(Request("GET", "/webhooks"), _Webhooks)).webhooks)

    async def get(self, webhook_id: UUID | str) -> Webhook:
        """Return a webhook."""
        return await self._transport.call(Request("GET", path_of("/webhooks/{}", webhook_id)), Webhook)

    async def create(
        self,
        url: str,
        *,
        events: Sequence[str] = (),
        mailbox_ids: Sequence[UUID | str] | None = None,
        description: str = "",
        backfill: bool = False,
        order: str = "mailbox",
    ) -> CreatedWebhook:
        """Create a webhook. Its secret is in the answer, and nowhere else.

        With `order` `none` the events of a mailbox come several at a time, in any order.
        """
        body: dict[str, Sent] = {"url": url, "events": [*events], "description": description, "backfill": backfill}
        body["order"] = order
        if mailbox_ids is not None:
            body["mailbox_ids"] = [str(mailbox_id) for mailbox_id in mailbox_ids]
        return await self._transport.call(Request("POST", "/webhooks", body=body, repeatable=False), CreatedWebhook)

    async def update(
        self,
        webhook_id: UUID | str,
        *,
        url: str | None = None,
        events: Sequence[str] | None = None,
        mailbox_ids: Sequence[UUID | str] | None = None,
        all_mailboxes: bool = False,
        description: str | None = None,
        order: str | None = None,
        status: str | None = None,
    ) -> Webhook:
        """Change a webhook; None leaves what it is. `status` is `enabled` or `disabled`.

        `events` () are all; `all_mailboxes` ends the limit to `mailbox_ids`.
        """
        body: dict[str, Sent] = {**parameters(url=url, description=description, order=order, status=status)}
        if events is not None:
            body["events"] = [*events]
        if all_mailboxes:
            body["mailbox_ids"] = None
        elif mailbox_ids is not None:
            body["mailbox_ids"] = [str(mailbox_id) for mailbox_id in mailbox_ids]
        return await self._transport.call(Request("PATCH", path_of("/webhooks/{}", webhook_id), body=body), Webhook)

    async def delete(self, webhook_id: UUID | str) -> None:
        """Delete a webhook with its deliveries."""
        await self._transport.send(Request("DELETE", path_of("/webhooks/{}", webhook_id), repeatable=False))

    async def rotate(self, webhook_id: UUID | str, *, overlap_seconds: int = 86_400) -> WebhookSecret:
        """Return another secret; the one before signs beside it for so many seconds."""
        body: dict[str, Sent] = {"overlap_seconds": overlap_seconds}
        path = path_of("/webhooks/{}/rotate", webhook_id)
        return await self._transport.call(Request("POST", path, body=body, repeatable=False), WebhookSecret)

    async def test(self, webhook_id: UUID | str) -> Delivery:
        """Have a test sent; `deliveries` show what comes of it."""
        path = path_of("/webhooks/{}/test", webhook_id)
        return await self._transport.call(Request("POST", path, repeatable=False), Delivery)

    async def enable(self, webhook_id: UUID | str) -> Webhook:
        """Enable a webhook that was disabled: it goes on where it stopped."""
        return await self._transport.call(Request("POST", path_of("/webhooks/{}/enable", webhook_id)), Webhook)

    def deliveries(
        self, webhook_id: UUID | str, *, state: str | None = None, page_size: int = _LARGEST_PAGE
    ) -> AsyncPaged[Delivery]:
        """List what was sent, newest first."""
        request = Request(
            "GET", path_of("/webhooks/{}/deliveries", webhook_id), parameters(state=state, limit=page_size)
        )
        return AsyncPaged(self._transport, request, field="deliveries", item=Delivery)

    async def retry(self, webhook_id: UUID | str, delivery_id: str) -> Delivery:
        """Have an event sent once more, by itself."""
        path = path_of("/webhooks/{}/deliveries/{}/retry", webhook_id, delivery_id)
        return await self._transport.call(Request("POST", path), Delivery)

    async def replay(self, webhook_id: UUID | str, *, since: str | datetime) -> None:
        """Have sent again what followed a position in its mailbox, or a time in all mailboxes."""
        value = since.isoformat() if isinstance(since, datetime) else since
        body: dict[str, Sent] = {"since": value}
        await self._transport.send(Request("POST", path_of("/webhooks/{}/replay", webhook_id), body=body))
