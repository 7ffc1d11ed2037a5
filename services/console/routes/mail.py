"""Messages of a mailbox: lists, searches, threads."""

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Query, Response

from services.console.gateway import calls
from services.console.gateway.client import Json
from services.console.pages.visit import Visit, Visited
from services.console.words.problems import Explanation

router = APIRouter()

PAGE = 50
_MAILBOXES = 100
# Labels that a page lists: mailboxes can have ten thousand.
_LABELS = 200
# Searches that people want most, by their names.
SHORTCUTS = (
    ("All", ""),
    ("Inbox", "in:inbox"),
    ("Unread", "is:unread"),
    ("Starred", "is:starred"),
    ("With attachments", "has:attachment"),
)
# Operators as the help beside the search box lists them (docs/search.md has the rest).
OPERATORS = (
    ("invoice", "the word, anywhere in the message"),
    ('"purchase order"', "the words in a row"),
    ("invo*", "words that begin like this"),
    ("a OR b", "either; a space means both"),
    ("-order", "without the word"),
    ("from:ada@example.com", "by sender; also to: cc: bcc:"),
    ("subject:lunch", "in the subject"),
    ("filename:pdf", "in the name of an attachment"),
    ("label:Work", "with a label or folder"),
    ("in:inbox", "also sent, drafts, spam, trash, archive"),
    ("is:unread", "also read, starred, important"),
    ("has:attachment", "with an attachment"),
    ("after:2026-01-31", "received since that day; also before:"),
    ("newer_than:7d", "by age: h, d, m, y; also older_than:"),
    ("larger:5M", "by size; also smaller:"),
)


async def mailboxes_of(visit: Visit) -> list[Json]:
    """Return the first mailboxes, among which a page lets people choose."""
    found: list[Json] = (await visit.ask(calls.list_mailboxes(limit=_MAILBOXES)))["mailboxes"]
    return found


async def choose(visit: Visit, part: str, title: str) -> Response:
    """Lead to a part of the only mailbox, or let people choose one."""
    mailboxes = await mailboxes_of(visit)
    chosen = visit.request.query_params.get("mailbox", "")
    if chosen or len(mailboxes) == 1:
        mailbox_id = chosen or mailboxes[0]["mailbox_id"]
        return visit.go(f"/mailboxes/{quote(mailbox_id, safe='')}/{part}")
    return visit.show("choose.html", mailboxes=mailboxes, part=part, title=title)


async def list_messages(visit: Visit, mailbox_id: str, *, query: str, cursor: str) -> tuple[Json, Explanation | None]:
    """Return a page of messages; where the search has a mistake, none and the explanation of it."""
    page, failure = await visit.attempt(calls.list_emails(mailbox_id, query=query, limit=PAGE, cursor=cursor))
    return page or {"emails": [], "next_cursor": None}, failure


@router.get("/mail")
async def choose_mailbox(visit: Visited) -> Response:
    """Lead to the mail of a mailbox."""
    return await choose(visit, "mail", "Mail")


@router.get("/mailboxes/{mailbox_id}/mail")
async def show_mail(
    visit: Visited,
    mailbox_id: str,
    q: Annotated[str, Query(max_length=1000)] = "",
    cursor: Annotated[str, Query(max_length=2048)] = "",
) -> Response:
    """Show messages, newest first, or those that a search finds."""
    mailbox = await visit.ask(calls.get_mailbox(mailbox_id))
    page, failure = await list_messages(visit, mailbox_id, query=q, cursor=cursor)
    answer, _ = await visit.attempt(calls.list_labels(mailbox_id))
    known = (answer or {"labels": []})["labels"]
    labels = [label for label in known if label["message_count"]]
    return visit.show(
        "mail.html",
        mailbox=mailbox,
        page=page,
        failure=failure,
        labels=labels[:_LABELS],
        label_count=len(labels),
        stale_folders=[label for label in known if label.get("stale_since")],
        q=q,
        cursor=cursor,
        shortcuts=SHORTCUTS,
        operators=OPERATORS,
    )


@router.get("/mailboxes/{mailbox_id}/threads")
async def show_threads(
    visit: Visited, mailbox_id: str, cursor: Annotated[str, Query(max_length=2048)] = ""
) -> Response:
    """Show threads, those with the newest messages first."""
    mailbox = await visit.ask(calls.get_mailbox(mailbox_id))
    page = await visit.ask(calls.list_threads(mailbox_id, limit=PAGE, cursor=cursor))
    return visit.show("threads.html", mailbox=mailbox, page=page, cursor=cursor)


@router.get("/mailboxes/{mailbox_id}/threads/{thread_id}")
async def show_thread(visit: Visited, mailbox_id: str, thread_id: str) -> Response:
    """Show a thread with its messages."""
    mailbox = await visit.ask(calls.get_mailbox(mailbox_id))
    thread = await visit.ask(calls.get_thread(thread_id, mailbox_id=mailbox_id))
    return visit.show("thread.html", mailbox=mailbox, thread=thread)
