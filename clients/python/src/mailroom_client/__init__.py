"""Client of Mailroom's REST API.

    with Mailroom("https://mail.example.com", token=token) as mailroom:
        for email in mailroom.emails.list("ada@example.com", "is:unread newer_than:7d"):
            print(email.received_at, email.subject)

AsyncMailroom is the same for asyncio. Calls raise MailroomError. `verify_webhook` returns the event of a delivery.
"""

from mailroom_client._async.client import AsyncMailroom
from mailroom_client._retry import NO_RETRIES, Retries
from mailroom_client._sync.client import Mailroom
from mailroom_client.errors import (
    ApiError,
    MailroomError,
    NotAuthorizedError,
    NotFoundError,
    ResyncRequiredError,
    TooManyRequestsError,
    UnexpectedResponseError,
    UnreachableError,
)
from mailroom_client.signatures import WebhookVerificationError, verify_webhook

__all__ = [
    "NO_RETRIES",
    "ApiError",
    "AsyncMailroom",
    "Mailroom",
    "MailroomError",
    "NotAuthorizedError",
    "NotFoundError",
    "ResyncRequiredError",
    "Retries",
    "TooManyRequestsError",
    "UnexpectedResponseError",
    "UnreachableError",
    "WebhookVerificationError",
    "verify_webhook",
]
