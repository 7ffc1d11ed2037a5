"""What a page of Gmail history implies for each message. Source: Gmail API reference, users.history.list."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

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


class _Event(NamedTuple):
    message_id: str
    thread_id: str | None
    labels: frozenset[str]


def _apply(record: Mapping[str, Any], changes: Changes, version: int) -> None:
    for id_, thread_id, _ in _events(record, "messagesAdded"):
        changes.added[id_] = max(version, changes.added.get(id_, version))
        changes.deleted.pop(id_, None)
        if thread_id is not None:
            changes.threads[id_] = thread_id
    for id_, _, labels in _events(record, "labelsAdded"):
        changes.labels.setdefault(id_, []).append(LabelChange(version=version, added=labels))
    for id_, _, labels in _events(record, "labelsRemoved"):
        changes.labels.setdefault(id_, []).append(LabelChange(version=version, removed=labels))
    for id_, _, _ in _events(record, "messagesDeleted"):
        changes.deleted[id_] = version
        changes.added.pop(id_, None)
        changes.labels.pop(id_, None)


def _events(record: Mapping[str, Any], kind: str) -> Iterator[_Event]:
    for event in record.get(kind) or ():
        message = event.get("message") or {}
        if isinstance(message.get("id"), str):
            thread_id = message.get("threadId")
            yield _Event(
                clean_text(message["id"]),
                clean_text(thread_id) if isinstance(thread_id, str) else None,
                frozenset(map(clean_text, event.get("labelIds") or ())),
            )


def _number(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError):
        return None
