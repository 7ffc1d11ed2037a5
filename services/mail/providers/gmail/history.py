"""Parsing of a page of Gmail's history into changes per message. Source: Gmail API reference, users.history.list."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from services.mail.content.text.clean import clean_text
from services.mail.model import HistoryDelta, LabelChange
from services.mail.providers.base import HistoryPage
from services.mail.providers.errors import HistoryRestartedError, ProviderUnavailableError
from services.mail.providers.gmail.fields import entries, next_page, number, objects, text
from services.mail.providers.gmail.labels import MARK_IDS

# Listings leave out messages with these labels unless they include Spam and Trash.
_HIDING = frozenset({"SPAM", "TRASH"})
# The specific arrays of a record.
_KINDS = frozenset({"messagesAdded", "messagesDeleted", "labelsAdded", "labelsRemoved"})


def parse_history(answer: Mapping[str, Any], *, cursor: int) -> HistoryPage:
    """Collapse the records of a history page per message, in their order.

    Reads the specific arrays: `messages` duplicates them. A record that has none of these does not tell what changed.
    """
    records = entries(answer, "history")
    changes = HistoryDelta()
    for record in records:
        _apply(record, changes, number(record.get("id")))
    numbers = [version for record in records if (version := number(record.get("id"))) is not None]
    last_record = max(numbers, default=None)
    latest = number(answer.get("historyId"))
    if latest is None:
        latest = last_record
    if records and latest is None:
        # Without ids the cursor could never move on.
        raise ProviderUnavailableError("history without ids")
    if not records and latest is not None and latest < cursor:
        raise HistoryRestartedError(f"{latest} is behind {cursor}")
    return HistoryPage(
        changes=changes,
        last_record=last_record,
        latest=max(cursor, latest or 0),
        next_page_token=next_page(answer),
    )


class _Event(NamedTuple):
    message_id: str
    thread_id: str | None
    labels: frozenset[str]


def _apply(record: Mapping[str, Any], changes: HistoryDelta, version: int | None) -> None:
    for event in _events(record, "messagesAdded"):
        _add(event, changes, version)
    for event in _events(record, "labelsAdded"):
        _relabel(event, changes, version, added=event.labels)
    for event in _events(record, "labelsRemoved"):
        _relabel(event, changes, version, removed=event.labels)
    for event in _events(record, "messagesDeleted"):
        changes.deleted.add(event.message_id)
        changes.added.pop(event.message_id, None)
        changes.labels.pop(event.message_id, None)
        changes.shown.discard(event.message_id)
        changes.unclear.discard(event.message_id)
    if not any(record.get(kind) for kind in _KINDS):
        named = (text(message.get("id")) for message in objects(record.get("messages")))
        changes.unclear.update(id_ for id_ in named if id_ is not None)


def _add(event: _Event, changes: HistoryDelta, version: int | None) -> None:
    id_ = event.message_id
    changes.added[id_] = max(version or 0, changes.added.get(id_, 0))
    changes.deleted.discard(id_)
    if event.thread_id is not None:
        changes.threads[id_] = event.thread_id
    if version is None:
        changes.unclear.add(id_)


def _relabel(
    event: _Event,
    changes: HistoryDelta,
    version: int | None,
    *,
    added: frozenset[str] = frozenset(),
    removed: frozenset[str] = frozenset(),
) -> None:
    if removed & _HIDING:
        changes.shown.add(event.message_id)
    if added & _HIDING:
        changes.shown.discard(event.message_id)
    if version is None:
        changes.unclear.add(event.message_id)
        return
    changes.labels.setdefault(event.message_id, []).append(_change(version, added=added, removed=removed))


def _change(version: int, *, added: frozenset[str], removed: frozenset[str]) -> LabelChange:
    gained, lost = MARK_IDS.read(added), MARK_IDS.read(removed)
    return LabelChange(
        version=version,
        added=frozenset(gained.label_ids),
        removed=frozenset(lost.label_ids),
        marked=gained.marked | lost.unmarked,
        unmarked=gained.unmarked | lost.marked,
    )


def _events(record: Mapping[str, Any], kind: str) -> Iterator[_Event]:
    for event in objects(record.get(kind)):
        for message in objects([event.get("message")]):
            if (id_ := text(message.get("id"))) is not None:
                labels = event.get("labelIds")
                named = labels if isinstance(labels, list) else []
                yield _Event(
                    id_,
                    text(message.get("threadId")),
                    frozenset(clean_text(label) for label in named if isinstance(label, str)),
                )
