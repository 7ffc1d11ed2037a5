"""The feed of changes."""

from typing import Annotated, Literal, TypedDict

from pydantic import Field

from services.gateway.schemas.emails import EmailSummary
from services.gateway.schemas.requests import NO_NUL, MailboxQuery

MAX_CHANGES = 500


class Change(TypedDict):
    """What happened to a message."""

    type: Literal["created", "updated", "deleted"]
    id: str
    email: Annotated[EmailSummary | None, Field(description="As it is now; null if it was deleted")]


class ChangePage(TypedDict):
    """What happened since a position, in order; of each message the last change."""

    changes: list[Change]
    next_since: Annotated[str, Field(description="Give it as `since` to go on")]
    has_more: Annotated[bool, Field(description="Whether more changes are there already")]


class ChangesQuery(MailboxQuery):
    """From where to follow the changes."""

    since: Annotated[
        str, Field(max_length=200, pattern=NO_NUL, description="`next_since` of an earlier answer; empty: from now on")
    ] = ""
    limit: Annotated[int, Field(ge=1, le=MAX_CHANGES)] = 100
