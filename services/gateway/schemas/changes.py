"""The feed of changes."""

from typing import Annotated, Literal, TypedDict

from pydantic import Field

from services.gateway.schemas.emails import EmailSummary, LabelRole, LabelType
from services.gateway.schemas.ids import MailboxUuid
from services.gateway.schemas.requests import NO_NUL, MailboxQuery

MAX_CHANGES = 500


type ChangeType = Literal["created", "updated", "deleted", "label_updated", "label_deleted"]


class LabelName(TypedDict):
    """A label, without counts."""

    id: Annotated[str, Field(description="The provider's id")]
    name: Annotated[str, Field(description="As the user sees it")]
    type: LabelType
    role: LabelRole


class Change(TypedDict):
    """A change of a message, or of a label.

    `label_updated` is for created and renamed labels, and for those with another type or role.
    """

    type: Annotated[ChangeType, Field(description="What happened")]
    id: Annotated[str, Field(description="The message's id, or the label's")]
    mailbox_id: MailboxUuid
    email: Annotated[EmailSummary | None, Field(description="As it is now; null if it was deleted, and for a label")]
    label: Annotated[LabelName | None, Field(description="As it is now; null if it was deleted, and for a message")]


class ChangePage(TypedDict):
    """The changes since a position, in order; of each message and label the last one."""

    changes: Annotated[list[Change], Field(description="In the order in which they happened")]
    next_since: Annotated[str, Field(description="Give it as `since` to go on")]
    has_more: Annotated[bool, Field(description="Whether more changes exist already")]


class StreamQuery(MailboxQuery):
    """The position from which changes are followed."""

    since: Annotated[
        str, Field(max_length=200, pattern=NO_NUL, description="`next_since` of an earlier answer; empty: from now on")
    ] = ""


class ChangesQuery(StreamQuery):
    """The position from which changes are listed."""

    limit: Annotated[int, Field(ge=1, le=MAX_CHANGES, description="The most changes of a page")] = 100
