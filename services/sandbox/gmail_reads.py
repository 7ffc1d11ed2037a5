"""The reading methods of the Gmail API."""

from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

from services.sandbox.gmail_call import GmailCall
from services.sandbox.google_errors import INVALID_ID, NOT_FOUND, GoogleError, Refused, invalid_argument
from services.sandbox.history import Change
from services.sandbox.labels import HIDDEN
from services.sandbox.mailbox import Mailbox, Message
from services.sandbox.pages import Place
from services.sandbox.rendering import to_json
from services.sandbox.search_query import Search, compile_query

SCAN = 50_000
"""A page looks at no more messages than this; what it found by then is the page, maybe an empty one."""
SCAN_CONTENT = 2_000
"""The same for searches that have to read the messages."""
MESSAGE_FORMATS = frozenset({"full", "metadata", "minimal", "raw"})
THREAD_FORMATS = frozenset({"full", "metadata", "minimal"})
_HISTORY_TYPES = frozenset({"messageAdded", "messageDeleted", "labelAdded", "labelRemoved"})
_HEX = frozenset("0123456789abcdef")
ESTIMATE = 201
"""What Gmail estimates for about every listing that has another page."""


def find_message(call: GmailCall, message_id: str) -> Message:
    """The message; Refused: 400 for an id that cannot be one, 404 for one that is not there."""
    message = call.mailbox.messages.get(message_id)
    if message is not None:
        return message
    raise Refused(NOT_FOUND if message_id and set(message_id) <= _HEX and len(message_id) <= 16 else INVALID_ID)


def find_thread(call: GmailCall, thread_id: str) -> list[Message]:
    """The thread's messages, oldest first."""
    thread = call.mailbox.threads.get(thread_id)
    if thread is None:
        raise Refused(NOT_FOUND if thread_id and set(thread_id) <= _HEX and len(thread_id) <= 16 else INVALID_ID)
    return sorted(thread, key=lambda message: (message.internal_date, message.id))


def get_profile(call: GmailCall) -> bytes:
    """users.getProfile."""
    mailbox = call.mailbox
    return to_json(
        {
            "emailAddress": call.user.email,
            "messagesTotal": len(mailbox.messages),
            "threadsTotal": len(mailbox.threads),
            "historyId": str(mailbox.history.current_id),
        }
    )


@dataclass(frozen=True, slots=True)
class _Listing:
    """What a listing is asked for."""

    search: Search
    labels: frozenset[str]
    hidden: frozenset[str]
    limit: int
    start: Place | None
    query: str

    def wants(self, mailbox: Mailbox, message: Message) -> bool:
        labels = message.labels
        if not self.labels <= labels or self.hidden & labels:
            return False
        return self.search.matches(mailbox, message)


def _listing(call: GmailCall, kind: str, *, label: str | None = None) -> _Listing:
    text = call.one("q") or ""
    if text and not call.reads_bodies:
        raise Refused(GoogleError(403, "forbidden", "Metadata scope does not support 'q' parameter"))
    search = compile_query(text, now_ms=int(call.clock.now() * 1000))
    labels = frozenset(call.many("labelIds"))
    if not labels <= call.mailbox.labels.keys():
        raise Refused(NOT_FOUND)
    everywhere = search.everywhere or call.flag("includeSpamTrash")
    query = "|".join((kind, call.user.sub, text, ",".join(sorted(labels)), str(everywhere)))
    token = call.one("pageToken")
    return _Listing(
        search=search,
        labels=labels | {label} if label else labels,
        hidden=frozenset() if everywhere else HIDDEN - labels,
        limit=call.max_results(),
        start=call.pages.read(query, token) if token else None,
        query=query,
    )


def _page(
    call: GmailCall, listing: _Listing, wanted: Callable[[Message], bool]
) -> tuple[list[Message], str | None, bool]:
    """The messages of a page, the token of the next, and whether this is the last."""
    mailbox = call.mailbox
    order = mailbox.order
    page = listing.start.page if listing.start else 1
    index = mailbox.index_before(listing.start.number, listing.start.name) if listing.start else len(order)
    every = mailbox.unlike_google.empty_page_every
    limit = 0 if every and page % every == 0 and index else listing.limit
    found: list[Message] = []
    edge: Place | None = listing.start
    scans = SCAN_CONTENT if listing.search.reads_content else SCAN
    while index:
        message = order[index - 1]
        if wanted(message):
            if len(found) == limit:
                break
            found.append(message)
        edge = Place(message.internal_date, message.id, page)
        index -= 1
        scans -= 1
        if not scans:
            break
    if not index:
        return found, None, True
    place = Place(edge.number, edge.name, page + 1) if edge else Place(1 << 62, "", page + 1)
    return found, call.pages.issue(listing.query, place), False


def _list_answer(name: str, items: list[bytes], token: str | None, *, last: bool) -> bytes:
    chunks = [b'"%s":[%s]' % (name.encode(), b",".join(items))] if items else []
    if token is not None:
        chunks.append(b'"nextPageToken":"%s"' % token.encode())
    chunks.append(b'"resultSizeEstimate":%d' % (len(items) if last else ESTIMATE))
    return b"{" + b",".join(chunks) + b"}"


def _reference(message: Message) -> bytes:
    return b'{"id":%s,"threadId":%s}' % (to_json(message.id), to_json(message.thread_id))


def list_messages(call: GmailCall) -> bytes:
    """users.messages.list: newest first."""
    listing = _listing(call, "messages")
    found, token, last = _page(call, listing, lambda message: listing.wants(call.mailbox, message))
    return _list_answer("messages", [_reference(message) for message in found], token, last=last)


def list_threads(call: GmailCall) -> bytes:
    """users.threads.list: a thread stands where its newest wanted message stands."""
    listing = _listing(call, "threads")
    mailbox = call.mailbox

    def newest_of_thread(message: Message) -> bool:
        if not listing.wants(mailbox, message):
            return False
        thread = mailbox.threads[message.thread_id]
        mine = (message.internal_date, message.id)
        return not any((other.internal_date, other.id) > mine and listing.wants(mailbox, other) for other in thread)

    found, token, last = _page(call, listing, newest_of_thread)
    items = []
    for message in found:
        newest = max(other.history_id for other in mailbox.threads[message.thread_id])
        snippet = call.renderer.snippet(mailbox, message)
        items.append(b'{"id":%s,"snippet":%s,"historyId":"%d"}' % (to_json(message.thread_id), snippet, newest))
    return _list_answer("threads", items, token, last=last)


def list_drafts(call: GmailCall) -> bytes:
    """users.drafts.list."""
    listing = _listing(call, "drafts", label="DRAFT")
    names = {message.id: draft_id for draft_id, message in call.mailbox.drafts.items()}

    def is_draft(message: Message) -> bool:
        return message.id in names and listing.wants(call.mailbox, message)

    found, token, last = _page(call, listing, is_draft)
    items = [b'{"id":%s,"message":%s}' % (to_json(names[item.id]), _reference(item)) for item in found]
    return _list_answer("drafts", items, token, last=last)


def _form(call: GmailCall, allowed: frozenset[str]) -> tuple[str, frozenset[str]]:
    form = call.choice("format", "full", allowed)
    if form in ("full", "raw") and not call.reads_bodies:
        raise Refused(GoogleError(403, "forbidden", f"Metadata scope doesn't allow format {form.upper()}"))
    return form, frozenset(name.lower() for name in call.many("metadataHeaders"))


def get_message(call: GmailCall) -> bytes:
    """users.messages.get in all formats."""
    form, headers = _form(call, MESSAGE_FORMATS)
    message = find_message(call, call.path[0])
    return call.renderer.message(call.mailbox, message, form=form, metadata_headers=headers)


def get_thread(call: GmailCall) -> bytes:
    """users.threads.get; there is no raw."""
    form, headers = _form(call, THREAD_FORMATS)
    thread = find_thread(call, call.path[0])
    messages = [call.renderer.message(call.mailbox, item, form=form, metadata_headers=headers) for item in thread]
    newest = max(message.history_id for message in thread)
    return b'{"id":%s,"historyId":"%d","messages":[%s]}' % (to_json(call.path[0]), newest, b",".join(messages))


def get_draft(call: GmailCall) -> bytes:
    """users.drafts.get."""
    form, headers = _form(call, MESSAGE_FORMATS)
    message = call.mailbox.drafts.get(call.path[0])
    if message is None:
        raise Refused(NOT_FOUND)
    resource = call.renderer.message(call.mailbox, message, form=form, metadata_headers=headers)
    return b'{"id":%s,"message":%s}' % (to_json(call.path[0]), resource)


def get_attachment(call: GmailCall) -> bytes:
    """users.messages.attachments.get."""
    message = find_message(call, call.path[0])
    part_id = call.renderer.attachment_ids.part_id(message.id, call.path[1])
    if part_id is None:
        raise Refused(invalid_argument("Invalid attachment token"))
    part = call.mailbox.content(message).tree().find(part_id)
    if part is None:
        raise Refused(NOT_FOUND)
    data = part.read()
    return b'{"size":%d,"data":"%s"}' % (len(data), urlsafe_b64encode(data))


def list_labels(call: GmailCall) -> bytes:
    """users.labels.list: no counters."""
    return to_json({"labels": [label.resource() for label in call.mailbox.labels.values()]})


def get_label(call: GmailCall) -> bytes:
    """users.labels.get: with counters, which cost one pass over the mailbox."""
    label = call.mailbox.labels.get(call.path[0])
    if label is None:
        raise Refused(NOT_FOUND)
    counts = [0, 0]
    threads: tuple[set[str], set[str]] = (set(), set())
    for message in call.mailbox.order:
        if label.id in message.labels:
            for i in range(1 + ("UNREAD" in message.labels)):
                counts[i] += 1
                threads[i].add(message.thread_id)
    return to_json(
        label.resource()
        | {
            "messagesTotal": counts[0],
            "messagesUnread": counts[1],
            "threadsTotal": len(threads[0]),
            "threadsUnread": len(threads[1]),
        }
    )


def list_history(call: GmailCall) -> bytes:
    """users.history.list: records after `startHistoryId`. A page covers so many records, shown or filtered out."""
    history = call.mailbox.history
    start = _start_history_id(call)
    types = frozenset(call.many("historyTypes")) or _HISTORY_TYPES
    if not types <= _HISTORY_TYPES:
        raise Refused(invalid_argument(f"Invalid value at 'history_types', \"{min(types - _HISTORY_TYPES)}\""))
    label = call.one("labelId")
    if history.is_too_old(start) or (label is not None and label not in call.mailbox.labels):
        raise Refused(NOT_FOUND)
    query = "|".join(("history", call.user.sub, str(start), ",".join(sorted(types)), label or ""))
    token = call.one("pageToken")
    place = call.pages.read(query, token) if token else None
    limit = call.max_results()
    changes = list(islice(history.after(int(place.name) if place else start), limit + 1))
    records = [record for change in changes[:limit] if (record := _record(change, types, label)) is not None]
    answer: dict[str, object] = {"history": records} if records else {}
    if len(changes) > limit:
        last = changes[limit - 1].id
        answer["nextPageToken"] = call.pages.issue(query, Place(0, str(last), 1))
    return to_json(answer | {"historyId": str(history.current_id)})


def _start_history_id(call: GmailCall) -> int:
    text = call.one("startHistoryId")
    if text is None:
        raise Refused(invalid_argument("Missing required parameter: startHistoryId"))
    if not (text.isascii() and text.isdigit() and len(text) <= 40):
        raise Refused(invalid_argument(f"Invalid value at 'start_history_id' (TYPE_UINT64), \"{text[:40]}\""))
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
