"""Conversion of Gmail's message resource to ours. Any field but the content may be missing or malformed.

Source: Gmail API reference, users.messages.
"""

import html
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from services.mail.content.model import ParsedMessage
from services.mail.content.text.clean import clean_line, clean_text
from services.mail.marks import Mark
from services.mail.model import ProviderMessage
from services.mail.providers.gmail.fields import number, text
from services.mail.providers.gmail.labels import MARK_IDS

# Characters that senders put behind the text of a preview, to keep the rest of the message out of it.
_PADDING = re.compile("(?:[\u00ad\u034f\u061c\u180e\u200b-\u200d\u2060\ufeff]\\s*){2,}")
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = datetime(9999, 1, 1, tzinfo=UTC)
# Every known stand-in sends at least one of them.
_OF_A_MESSAGE = frozenset({"id", "threadId", "payload", "labelIds", "snippet", "internalDate", "historyId"})
# The range of Postgres's bigint.
_LARGEST_SIZE = 2**63 - 1


def is_message(resource: Mapping[str, Any]) -> bool:
    """Return whether a JSON object is a message resource."""
    return bool(_OF_A_MESSAGE & resource.keys())


def message_of(external_id: str, resource: Mapping[str, Any], content: ParsedMessage) -> ProviderMessage:
    """Return the message requested as `external_id`, with its content parsed."""
    labels = MARK_IDS.read(_label_ids(resource.get("labelIds")))
    return ProviderMessage(
        external_id=external_id,
        thread_id=text(resource.get("threadId")) or external_id,
        version=number(resource.get("historyId")),
        received_at=_received_at(number(resource.get("internalDate")), content),
        label_ids=labels.label_ids,
        marks=labels.marked | ({Mark.SEEN} - labels.unmarked),
        snippet=plain_snippet(text(resource.get("snippet")) or ""),
        size=min(max(0, number(resource.get("sizeEstimate")) or 0), _LARGEST_SIZE),
        content=content,
    )


def plain_snippet(value: str) -> str:
    """Return a snippet as plain text: entities resolved exactly once, without zero-width padding.

    Single zero-width joiners stay, since emoji and several scripts need them.
    """
    return clean_line(_PADDING.sub(" ", html.unescape(value)))


def _label_ids(labels: Any) -> tuple[str, ...]:
    if not isinstance(labels, list):
        return ()
    return tuple(dict.fromkeys(clean_text(label) for label in labels if isinstance(label, str) and label))


def _received_at(internal_date: int | None, content: ParsedMessage) -> datetime:
    """Return the time to order by: the provider's (epoch ms), else the Date header's, within the storable range."""
    moment = content.sent_at or _EARLIEST
    if internal_date is not None:
        try:
            moment = datetime.fromtimestamp(internal_date / 1000, UTC)
        except (ValueError, OverflowError, OSError):
            moment = _LATEST if internal_date > 0 else _EARLIEST
    return min(max(moment, _EARLIEST), _LATEST)
