"""Methods of the Gmail API that list messages, threads and drafts in pages."""

from collections.abc import Callable
from dataclasses import dataclass

from services.sandbox.google.gmail.errors import NOT_FOUND, CallRefusedError, GoogleError
from services.sandbox.google.gmail.labels import SPAM_AND_TRASH
from services.sandbox.google.gmail.methods.method_call import GmailCall
from services.sandbox.google.gmail.page_tokens import PagePosition
from services.sandbox.google.gmail.resources import to_json
from services.sandbox.google.gmail.search import Search, compile_query
from services.sandbox.mailboxes.mailbox import Mailbox, Message

SCAN = 50_000
"""A page examines at most this many messages; it ends there with what it found, even nothing."""
SCAN_CONTENT = 2_000
"""The same for searches that parse messages."""
ESTIMATE = 201
"""Gmail's estimate for nearly every listing with another page."""


@dataclass(frozen=True, slots=True)
class _Listing:
    """Parameters of a listing."""

    search: Search
    labels: frozenset[str]
    left_out: frozenset[str]
    limit: int
    start: PagePosition | None
    query: str

    def wants(self, mailbox: Mailbox, message: Message) -> bool:
        labels = message.labels
        if not self.labels <= labels or self.left_out & labels:
            return False
        return self.search.matches(mailbox, message)


def _listing(call: GmailCall, kind: str, *, label: str | None = None) -> _Listing:
    text = call.one("q") or ""
    if text and not call.reads_bodies:
        raise CallRefusedError(GoogleError(403, "forbidden", "Metadata scope does not support 'q' parameter"))
    search = compile_query(text, mailbox=call.mailbox, me=call.user.addresses, now_ms=int(call.clock.now() * 1000))
    labels = frozenset(call.many("labelIds"))
    if not labels <= call.mailbox.labels.keys():
        raise CallRefusedError(NOT_FOUND)
    everywhere = search.everywhere or call.flag("includeSpamTrash")
    query = "|".join((kind, call.user.sub, text, ",".join(sorted(labels)), str(everywhere)))
    token = call.one("pageToken")
    return _Listing(
        search=search,
        labels=labels | {label} if label else labels,
        left_out=frozenset() if everywhere else SPAM_AND_TRASH - labels,
        limit=call.max_results(),
        start=call.pages.read(query, token) if token else None,
        query=query,
    )


def _page(
    call: GmailCall, listing: _Listing, wanted: Callable[[Message], bool]
) -> tuple[list[Message], str | None, bool]:
    """Return the messages of a page, the token of the next page, and whether this page is the last."""
    mailbox = call.mailbox
    order = mailbox.order
    page = listing.start.page if listing.start else 1
    index = mailbox.index_before(listing.start.number, listing.start.name) if listing.start else len(order)
    every = mailbox.listing_deviations.empty_page_every
    limit = 0 if every and page % every == 0 and index else listing.limit
    found: list[Message] = []
    edge: PagePosition | None = listing.start
    scans = SCAN_CONTENT if listing.search.reads_content else SCAN
    while index:
        message = order[index - 1]
        if wanted(message):
            if len(found) == limit:
                break
            found.append(message)
        edge = PagePosition(message.internal_date, message.id, page)
        index -= 1
        scans -= 1
        if not scans:
            break
    if not index:
        return found, None, True
    position = PagePosition(edge.number, edge.name, page + 1) if edge else PagePosition(1 << 62, "", page + 1)
    return found, call.pages.issue(listing.query, position), False


def _list_answer(name: str, items: list[bytes], token: str | None, *, last: bool) -> bytes:
    chunks = [b'"%s":[%s]' % (name.encode(), b",".join(items))] if items else []
    if token is not None:
        chunks.append(b'"nextPageToken":"%s"' % token.encode())
    chunks.append(b'"resultSizeEstimate":%d' % (len(items) if last else ESTIMATE))
    return b"{" + b",".join(chunks) + b"}"


def _reference(message: Message) -> bytes:
    return b'{"id":%s,"threadId":%s}' % (to_json(message.id), to_json(message.thread_id))


def list_messages(call: GmailCall) -> bytes:
    """users.messages.list, newest first."""
    listing = _listing(call, "messages")
    deviations, now_ms = call.mailbox.listing_deviations, int(call.clock.now() * 1000)

    def wanted(message: Message) -> bool:
        return listing.wants(call.mailbox, message) and not deviations.is_late(message, now_ms=now_ms)

    found, token, last = _page(call, listing, wanted)
    if listing.start is None and deviations.is_short():
        found, token, last = found[: len(found) // 2], None, True
    return _list_answer("messages", [_reference(message) for message in found], token, last=last)


def list_threads(call: GmailCall) -> bytes:
    """users.threads.list: a thread is listed at its newest matching message."""
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
