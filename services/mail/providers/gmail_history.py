"""What a page of Gmail history implies for each message. Source: Gmail API reference, users.history.list."""

from collections.abc import Iterator, Mapping
from typing import Any

from services.mail.content.clean import clean_text
from services.mail.model import Changes, LabelChange
from services.mail.providers.base import ChangePage, ProviderUnavailableError


def parse_history(answer: Mapping[str, Any], *, cursor: int) -> ChangePage:
    """Collapses the records of a history page per message, keeping their order.

    Only the specific arrays are read: `messages` duplicates them.
    """
    changes = Changes()
    last_record: int | None = None
    for record in answer.get("history") or ():
        version = _number(record.get("id"))
        if version is not None:
            last_record = version if last_record is None else max(last_record, version)
        # A record without a number cannot be compared: its message is fetched afresh, whatever is stored.
        _apply(record, changes, cursor + 1 if version is None else version)
    latest = _number(answer.get("historyId"))
    if latest is None and last_record is None and answer.get("history"):
        raise ProviderUnavailableError("history without ids")
    return ChangePage(
        changes=changes,
        last_record=last_record,
        latest=max(cursor, latest if latest is not None else last_record or cursor),
        next_page_token=answer.get("nextPageToken") or None,
    )


def _apply(record: Mapping[str, Any], changes: Changes, version: int) -> None:
    for id_, _ in _events(record, "messagesAdded"):
        changes.added[id_] = max(version, changes.added.get(id_, version))
        changes.deleted.pop(id_, None)
    for id_, labels in _events(record, "labelsAdded"):
        changes.labels.setdefault(id_, []).append(LabelChange(version=version, added=labels))
    for id_, labels in _events(record, "labelsRemoved"):
        changes.labels.setdefault(id_, []).append(LabelChange(version=version, removed=labels))
    for id_, _ in _events(record, "messagesDeleted"):
        changes.deleted[id_] = version
        changes.added.pop(id_, None)
        changes.labels.pop(id_, None)


def _events(record: Mapping[str, Any], kind: str) -> Iterator[tuple[str, frozenset[str]]]:
    for event in record.get(kind) or ():
        id_ = (event.get("message") or {}).get("id")
        if isinstance(id_, str):
            yield clean_text(id_), frozenset(map(clean_text, event.get("labelIds") or ()))


def _number(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError):
        return None
