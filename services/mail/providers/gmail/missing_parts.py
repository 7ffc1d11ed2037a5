"""The choice of text parts delivered by reference that are fetched: no more than is stored of them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from services.mail.content import limits
from services.mail.content.model import MissingPart, ParsedMessage

# Each one costs a call, and as many units as a message.
MOST_PARTS = 8
# Text of all other types becomes plain text.
_FORMS_OF_THEIR_OWN = frozenset({"text/html", "text/calendar"})


def parts_to_fetch(missing: Sequence[MissingPart]) -> tuple[MissingPart, ...]:
    """Choose the first parts of each form up to its stored length, at most MOST_PARTS in all."""
    chosen: list[MissingPart] = []
    bytes_of: Counter[str] = Counter()
    for part in missing:
        form = part.mime_type if part.mime_type in _FORMS_OF_THEIR_OWN else "text/plain"
        if bytes_of[form] < limits.BODY_BYTES and len(chosen) < MOST_PARTS:
            chosen.append(part)
        bytes_of[form] += part.size
    return tuple(chosen)


def without_the_rest(content: ParsedMessage) -> ParsedMessage:
    """Drop the parts that were not fetched and mark the message as truncated."""
    if not content.missing_parts:
        return content
    defects = dict.fromkeys((*content.defects, "body-too-long"))
    return replace(content, missing_parts=(), truncated=True, defects=tuple(defects))
