"""The JSON of usage."""

from typing import Annotated, TypedDict

from pydantic import Field

from services.gateway.schemas.requests import MaybeMailboxQuery
from services.gateway.schemas.times import Time

MOST_HOURS = 168


class UsageQuery(MaybeMailboxQuery):
    """Of which mailbox, or of all, and of how many hours."""

    hours: Annotated[int, Field(ge=1, le=MOST_HOURS, description="The last hours, the present one included")] = 24


class MailboxCounts(TypedDict):
    """Mailboxes by state."""

    active: Annotated[int, Field(description="Those that the provider lets Mailroom read")]
    reauth_required: Annotated[int, Field(description="Those whose users have to sign in again")]
    access_denied: Annotated[int, Field(description="Those to which the provider denies access")]


class Deliveries(TypedDict):
    """What came of events for webhooks."""

    delivered: Annotated[int, Field(description="Events that a webhook took")]
    failed: Annotated[int, Field(description="Tries that failed and are repeated")]
    parked: Annotated[int, Field(description="Events that were given up until they are retried")]


class UsageCounts(TypedDict):
    """What was used in some time."""

    messages_stored: Annotated[int, Field(description="Messages stored, newer versions of them included")]
    changes: Annotated[int, Field(description="Changes of messages and labels, and events, that syncs brought")]
    deliveries: Annotated[Deliveries, Field(description="Events for webhooks, by what came of them")]
    provider_units: Annotated[int, Field(description="What calls cost in the providers' own units")]


class UsageHour(UsageCounts):
    """What was used in an hour."""

    hour: Annotated[Time, Field(description="When the hour begins")]


class Usage(TypedDict):
    """The mailboxes as they are now, and what was used in the last hours."""

    mailboxes: Annotated[MailboxCounts, Field(description="How many are in which state now")]
    total: Annotated[UsageCounts, Field(description="Of all these hours")]
    hours: Annotated[list[UsageHour], Field(description="Oldest first; the last one goes on")]
