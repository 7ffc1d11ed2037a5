"""What happened in an application, for API keys with the scope `keys.manage`."""

from datetime import datetime
from uuid import UUID

from mailroom_client._request import Request, parameters
from mailroom_client._sync.paging import Paged
from mailroom_client._sync.transport import Transport
from mailroom_client.models import AuditEvent

_LARGEST_PAGE = 200


class Audit:
    """The events of all users and API keys of the application."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(
        self,
        *,
        type: str | None = None,  # noqa: A002 - the name of the parameter
        user_id: UUID | str | None = None,
        mailbox_id: UUID | str | None = None,
        key_id: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        page_size: int = _LARGEST_PAGE,
    ) -> Paged[AuditEvent]:
        """List events, newest first: all, or those of a type, user, mailbox, key or time; `until` is exclusive."""
        params = parameters(
            type=type,
            user_id=user_id,
            mailbox_id=mailbox_id,
            key_id=key_id,
            since=since,
            until=until,
            limit=page_size,
        )
        return Paged(self._transport, Request("GET", "/audit/events", params), field="events", item=AuditEvent)
