"""Records of a mailbox's history as the engine's pages of changes."""

from collections.abc import Iterable, Sequence

from services.mail.model import HistoryDelta, LabelChange
from services.mail.providers.folder_history.model import Record, RecordKind
from services.mail.providers.imap.labels import FolderLabels, labels_in, marks_in


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
    change = LabelChange(
        version=record.revision,
        added=labels_in(record.added),
        removed=labels_in(record.removed),
        marked=marks_in(record.added),
        unmarked=marks_in(record.removed),
    )
    if not (change.added or change.removed or change.marked or change.unmarked):
        return
    if change.removed & labels.hiding:
        changes.shown.add(record.external_id)
    if change.added & labels.hiding:
        changes.shown.discard(record.external_id)
    changes.labels.setdefault(record.external_id, []).append(change)


def _delete(changes: HistoryDelta, external_id: str) -> None:
    changes.deleted.add(external_id)
    changes.added.pop(external_id, None)
    changes.labels.pop(external_id, None)
    changes.shown.discard(external_id)


def last_of(records: Sequence[Record]) -> int | None:
    """Return the number of the last record."""
    return records[-1].revision if records else None
