"""The method of the Gmail API that lists changes of a mailbox."""

from itertools import islice

from services.sandbox.google.gmail.errors import NOT_FOUND, CallRefusedError, invalid_argument
from services.sandbox.google.gmail.methods.method_call import GmailCall
from services.sandbox.google.gmail.page_tokens import PagePosition
from services.sandbox.google.gmail.resources import to_json
from services.sandbox.mailboxes.history import Change

_HISTORY_TYPES = frozenset({"messageAdded", "messageDeleted", "labelAdded", "labelRemoved"})


def list_history(call: GmailCall) -> bytes:
    """users.history.list: records after `startHistoryId`. The page size counts filtered records, too."""
    history = call.mailbox.history
    start = _start_history_id(call)
    types = frozenset(call.many("historyTypes")) or _HISTORY_TYPES
    if not types <= _HISTORY_TYPES:
        raise CallRefusedError(invalid_argument(f"Invalid value at 'history_types', \"{min(types - _HISTORY_TYPES)}\""))
    label = call.one("labelId")
    if history.is_too_old(start) or (label is not None and label not in call.mailbox.labels):
        raise CallRefusedError(NOT_FOUND)
    query = "|".join(("history", call.user.sub, str(start), ",".join(sorted(types)), label or ""))
    token = call.one("pageToken")
    position = call.pages.read(query, token) if token else None
    limit = call.max_results()
    changes = list(islice(history.records_after(int(position.name) if position else start), limit + 1))
    records = [record for change in changes[:limit] if (record := _record(change, types, label)) is not None]
    answer: dict[str, object] = {"history": records} if records else {}
    if len(changes) > limit:
        last = changes[limit - 1].id
        answer["nextPageToken"] = call.pages.issue(query, PagePosition(0, str(last), 1))
    return to_json(answer | {"historyId": str(history.current_id)})


def _start_history_id(call: GmailCall) -> int:
    text = call.one("startHistoryId")
    if text is None:
        raise CallRefusedError(invalid_argument("Missing required parameter: startHistoryId"))
    if not (text.isascii() and text.isdigit() and len(text) <= 40):
        raise CallRefusedError(invalid_argument(f"Invalid value at 'start_history_id' (TYPE_UINT64), \"{text[:40]}\""))
    return int(text)


def _record(change: Change, types: frozenset[str], label: str | None) -> dict[str, object] | None:
    touched = change.labels | change.labels_added | change.labels_removed
    if label is not None and label not in touched:
        return None
    bare: dict[str, object] = {"id": change.message_id, "threadId": change.thread_id}
    shown = bare | {"labelIds": sorted(change.labels)} if change.labels else bare
    record: dict[str, object] = {}
    if change.added and "messageAdded" in types:
        record["messagesAdded"] = [{"message": shown}]
    if change.deleted and "messageDeleted" in types:
        record["messagesDeleted"] = [{"message": shown}]
    if change.labels_added and "labelAdded" in types:
        record["labelsAdded"] = [{"message": shown, "labelIds": sorted(change.labels_added)}]
    if change.labels_removed and "labelRemoved" in types:
        record["labelsRemoved"] = [{"message": shown, "labelIds": sorted(change.labels_removed)}]
    return {"id": str(change.id), "messages": [bare]} | record if record else None
