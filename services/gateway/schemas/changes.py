"""The feed of changes."""

from typing import Annotated, Literal, TypedDict

from pydantic import Field

from services.gateway.schemas.emails import EmailSummary, LabelRole, LabelType
from services.gateway.schemas.ids import MailboxUuid
from services.gateway.schemas.requests import NO_NUL, MailboxQuery

MAX_CHANGES = 500

# Pydantic finds discriminators in plain aliases only.
MessageChangeType = Literal["created", "updated", "deleted"]
LabelChangeType = Literal["label_updated", "label_deleted"]
_TYPE = Field(description="What happened")


class LabelName(TypedDict):
    """A label, without counts."""

    id: Annotated[str, Field(description="The provider's id")]
    name: Annotated[str, Field(description="As the user sees it")]
    type: LabelType
    role: LabelRole


class MessageChange(TypedDict):
    """A change of a message."""

    type: Annotated[MessageChangeType, _TYPE]
    id: Annotated[str, Field(description="The message's id")]
    mailbox_id: MailboxUuid
    email: Annotated[EmailSummary | None, Field(description="As it is now; null if it was deleted")]
    label: Annotated[None, Field(description="Null: it is no change of a label")]


class LabelChange(TypedDict):
    """A change of a label. `label_updated` is for created and renamed ones, and for those with another type or role."""

    type: Annotated[LabelChangeType, _TYPE]
    id: Annotated[str, Field(description="The label's id")]
    mailbox_id: MailboxUuid
    email: Annotated[None, Field(description="Null: it is no change of a message")]
    label: Annotated[LabelName | None, Field(description="As it is now; null if it was deleted")]


type Change = Annotated[
    MessageChange | LabelChange,
    Field(discriminator="type", description="A change of a message, or of a label; ignore types that you do not know"),
]


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
