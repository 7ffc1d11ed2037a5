"""Which of the text parts that a message only refers to are fetched: no more than is stored of them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from services.mail.content import limits
from services.mail.content.model import MissingPart, ParsedMessage

# Each costs a call, and as many units as a message.
MOST_PARTS = 8
# Text of every other type becomes plain text.
_FORMS_OF_THEIR_OWN = frozenset({"text/html", "text/calendar"})


def parts_to_fetch(missing: Sequence[MissingPart]) -> tuple[MissingPart, ...]:
    """Choose the first parts of each form, until they fill what is stored of that form; at most MOST_PARTS."""
    chosen: list[MissingPart] = []
    bytes_of: Counter[str] = Counter()
    for part in missing:
        form = part.mime_type if part.mime_type in _FORMS_OF_THEIR_OWN else "text/plain"
        if bytes_of[form] < limits.BODY_BYTES and len(chosen) < MOST_PARTS:
            chosen.append(part)
        bytes_of[form] += part.size
    return tuple(chosen)


def without_the_rest(content: ParsedMessage) -> ParsedMessage:
    """Drop the parts that were not fetched; the message counts as truncated then."""
    if not content.missing_parts:
        return content
    defects = dict.fromkeys((*content.defects, "body-too-long"))
    return replace(content, missing_parts=(), truncated=True, defects=tuple(defects))
