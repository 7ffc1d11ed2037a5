"""The JSON of an application's events."""

from typing import Annotated, TypedDict
from uuid import UUID

from pydantic import Field

from services.gateway.schemas.ids import NextCursor, Uuid
from services.gateway.schemas.requests import NO_NUL, Cursor, Limit, Request
from services.gateway.schemas.sessions import ClientNetwork, ClientProgram
from services.gateway.schemas.times import Moment, Time


class AuditQuery(Request):
    """Which events of the application are listed."""

    type: Annotated[
        str | None, Field(min_length=1, max_length=64, pattern=NO_NUL, description="Only events of this type")
    ] = None
    user_id: Annotated[UUID | None, Field(description="Only events of this user")] = None
    mailbox_id: Annotated[UUID | None, Field(description="Only events of this mailbox")] = None
    key_id: Annotated[
        str | None, Field(min_length=1, max_length=64, pattern=NO_NUL, description="Only events of this API key")
    ] = None
    since: Annotated[Moment | None, Field(description="Only events from this time on")] = None
    until: Annotated[Moment | None, Field(description="Only events before this time")] = None
    limit: Limit = 50
    cursor: Cursor = ""


class AuditEvent(TypedDict):
    """An event of a user or of an API key of the application."""

    id: Annotated[str, Field(description="The id of the event")]
    type: Annotated[str, Field(description="What happened; types may be added", examples=["signed_in", "key_created"])]
    created_at: Annotated[Time, Field(description="When it happened")]
    user_id: Annotated[Uuid | None, Field(description="The user; null: it is an event of an API key")]
    key_id: Annotated[str | None, Field(description="The `id` of the API key; null: it is an event of a user")]
    mailbox_id: Annotated[Uuid | None, Field(description="The mailbox that it concerns")]
    session_id: Annotated[Uuid | None, Field(description="The session that it concerns")]
    email: Annotated[str | None, Field(description="The mailbox's address at that time")]
    client_network: ClientNetwork
    client: ClientProgram


class AuditEvents(TypedDict):
    """A page of events of the application."""

    events: Annotated[list[AuditEvent], Field(description="Newest first")]
    next_cursor: NextCursor
