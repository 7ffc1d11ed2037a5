"""Ids and counts that several responses show."""

from typing import Annotated

from pydantic import Field

Uuid = Annotated[str, Field(json_schema_extra={"format": "uuid"})]

_EXAMPLE = "0d2f7c5e-93a1-4a7e-9d0c-5b7b2a1f3c11"

MailboxUuid = Annotated[Uuid, Field(description="The id of the connected mailbox", examples=[_EXAMPLE])]
# What mailbox_id was called first.
OlderMailboxUuid = Annotated[
    Uuid,
    Field(description="Older name of `mailbox_id`", examples=[_EXAMPLE], json_schema_extra={"deprecated": True}),
]
AccountUuid = Annotated[Uuid, Field(description="The id of the account; its mailbox has the same", examples=[_EXAMPLE])]
UserUuid = Annotated[
    Uuid,
    Field(description="The id of the user", examples=["6a1f0c1e-8f0f-4a39-b0a5-2f3f6f1b7d20"]),
]
Provider = Annotated[str, Field(description="The provider's name", examples=["google"])]
MailAddress = Annotated[str, Field(description="The address of the mailbox", examples=["ada@example.com"])]
MessageCount = Annotated[int, Field(description="Stored messages")]
UnreadCount = Annotated[int, Field(description="Unread ones among them")]
NextCursor = Annotated[str | None, Field(description="Give it as `cursor` for the next page; null on the last one")]
