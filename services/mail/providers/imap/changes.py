"""Records of a mailbox's history as the engine's pages of changes."""

from collections.abc import Iterable, Sequence

from services.mail.model import HistoryDelta, LabelChange
from services.mail.providers.folder_history.model import Record, RecordKind
from services.mail.providers.imap.labels import HIDING, FolderLabels


def delta_of(records: Iterable[Record], labels: FolderLabels) -> HistoryDelta:
    """Collapse records per message, in their order."""
    changes = HistoryDelta()
    for record in records:
        match record.kind:
            case RecordKind.ADDED:
                changes.added[record.external_id] = record.revision
                changes.deleted.discard(record.external_id)
            case RecordKind.LABELS:
                _relabel(changes, record, labels)
            case RecordKind.DELETED:
                _delete(changes, record.external_id)
    return changes


def _relabel(changes: HistoryDelta, record: Record, labels: FolderLabels) -> None:
    added, removed = labels.change(record.added, record.removed)
    if not added and not removed:
        return
    if removed & HIDING:
        changes.shown.add(record.external_id)
    if added & HIDING:
        changes.shown.discard(record.external_id)
    change = LabelChange(version=record.revision, added=added, removed=removed)
    changes.labels.setdefault(record.external_id, []).append(change)


def _delete(changes: HistoryDelta, external_id: str) -> None:
    changes.deleted.add(external_id)
    changes.added.pop(external_id, None)
    changes.labels.pop(external_id, None)
    changes.shown.discard(external_id)


def last_of(records: Sequence[Record]) -> int | None:
    """Return the number of the last record."""
    return records[-1].revision if records else None
