"""Messages for the engine, made from their contents and their places."""

from datetime import UTC, datetime
from typing import Final

from services.mail.content.model import ParsedMessage
from services.mail.model import ProviderMessage
from services.mail.providers.imap.labels import labels_in, marks_in

_SNIPPET: Final = 200
"""Characters, as other providers give them."""
_SCANNED: Final = 2_000
_EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)


def message_of(
    external_id: str,
    content: ParsedMessage,
    *,
    version: int,
    arrived_at: datetime | None,
    labels: frozenset[str],
    size: int,
) -> ProviderMessage:
    """Return a message. Without a time of arrival its own date orders it. `labels` are its folders and marks."""
    return ProviderMessage(
        external_id=external_id,
        thread_id=None,
        version=version,
        received_at=arrived_at or content.sent_at or _EARLIEST,
        label_ids=tuple(sorted(labels_in(labels))),
        marks=marks_in(labels),
        snippet=" ".join((content.text or "")[:_SCANNED].split())[:_SNIPPET],
        size=size,
        content=content,
    )
