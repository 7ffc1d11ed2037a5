"""Parameters in paths."""

from typing import Annotated

from fastapi import Path

EmailId = Annotated[str, Path(alias="id", description="The `id` of a message")]
AttachmentId = Annotated[str, Path(description="The `id` of an attachment of the message")]
ThreadId = Annotated[str, Path(alias="id", description="The `thread_id` of a message")]
SyncId = Annotated[str, Path(alias="id", description="The `id` of a sync")]
SessionId = Annotated[str, Path(alias="id", description="The `id` of a session")]
KeyId = Annotated[str, Path(alias="id", description="The `id` of an API key")]
ApplicationId = Annotated[str, Path(alias="id", description="The `id` of an application")]
WebhookId = Annotated[str, Path(alias="id", description="The `id` of a webhook")]
DeliveryId = Annotated[str, Path(description="The `id` of a delivery")]
OneUserId = Annotated[str, Path(alias="id", description="The `user_id` of a user of the application")]
ConnectSessionId = Annotated[str, Path(alias="id", description="The `id` of a connect session")]
ProviderName = Annotated[str, Path(description="The provider's name", examples=["google"])]
MailboxAccountId = Annotated[str, Path(description="Older name of `mailbox_id`", json_schema_extra={"format": "uuid"})]
MailboxId = Annotated[str, Path(description="The id of a connected mailbox", json_schema_extra={"format": "uuid"})]
