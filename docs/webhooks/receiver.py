"""A receiver of webhooks with FastAPI: verifies deliveries, stores them, and keeps a copy of mailboxes.

    pip install fastapi uvicorn httpx standardwebhooks
    MAILROOM=https://mail.example API_KEY=mr_... WEBHOOK_SECRET=whsec_... uvicorn receiver:app --port 3000

One process: events are applied in the order in which they are stored.
"""

import asyncio
import json
import logging
import os
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from typing import Any

import httpx
from fastapi import FastAPI, HTTPException, Request
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

WEBHOOK = Webhook(os.environ["WEBHOOK_SECRET"])
MAILROOM = httpx.Client(
    base_url=os.environ["MAILROOM"], headers={"Authorization": f"Bearer {os.environ['API_KEY']}"}, timeout=30
)
DATABASE = os.environ.get("DATABASE", "receiver.sqlite3")
RETRY_SECONDS = float(os.environ.get("RETRY_SECONDS", "5"))
SCHEMA = """
    CREATE TABLE IF NOT EXISTS events (
        number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, body TEXT NOT NULL, is_applied BOOLEAN DEFAULT FALSE
    );
    CREATE TABLE IF NOT EXISTS mailboxes (id TEXT PRIMARY KEY, position TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS emails (id TEXT PRIMARY KEY, mailbox_id TEXT NOT NULL, email TEXT NOT NULL);
"""
news = asyncio.Event()
log = logging.getLogger(__name__)


@contextmanager
def transaction() -> Iterator[sqlite3.Connection]:
    """Open the database; commit at the end of the block."""
    with closing(sqlite3.connect(DATABASE)) as connection, connection:
        yield connection


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Apply events while the application runs."""
    with transaction() as connection:
        connection.executescript(SCHEMA)
    applying = asyncio.create_task(apply_for_ever())
    yield
    applying.cancel()


app = FastAPI(lifespan=lifespan)


@app.post("/mailroom", status_code=204)
async def take(request: Request) -> None:
    """Store an event, once, and answer: what is not answered 2xx is delivered again."""
    body = await request.body()
    try:
        WEBHOOK.verify(body, dict(request.headers))
    except (WebhookVerificationError, ValueError) as error:
        raise HTTPException(400, "the signature does not verify") from error
    await asyncio.to_thread(store_event, request.headers["webhook-id"], body.decode())
    news.set()


def store_event(event_id: str, body: str) -> None:
    """Store an event unless its id is stored."""
    with transaction() as connection:
        statement = "INSERT INTO events (id, body) VALUES (?, ?) ON CONFLICT (id) DO NOTHING"
        connection.execute(statement, (event_id, body))


async def apply_for_ever() -> None:
    """Apply stored events when one comes, and again later if one could not be applied."""
    while True:
        news.clear()
        are_applied = await asyncio.to_thread(apply_all)
        with suppress(TimeoutError):
            await asyncio.wait_for(news.wait(), None if are_applied else RETRY_SECONDS)


def apply_all() -> bool:
    """Apply what is stored, and return whether all could be; a failure keeps back the rest of its mailbox only."""
    failed = set()
    try:
        with transaction() as connection:
            waiting = connection.execute(
                "SELECT number, body FROM events WHERE NOT is_applied ORDER BY number"
            ).fetchall()
    except sqlite3.Error:
        log.exception("the events cannot be read")
        return False
    for number, body in waiting:
        event = json.loads(body)
        mailbox_id = event["data"].get("mailbox_id")
        if mailbox_id not in failed:
            try:
                apply(number, event)
            except Exception:
                log.exception("event %s is not applied", number)
                failed.add(mailbox_id)
    return not failed


def apply(number: int, event: dict[str, Any]) -> None:
    """Apply an event, after what was missed before it."""
    data = event["data"]
    mailbox_id = data.get("mailbox_id", "")
    with transaction() as connection:
        row = connection.execute("SELECT position FROM mailboxes WHERE id = ?", (mailbox_id,)).fetchone()
    position = row and row[0]
    # Without `previous_position` an event stands apart from its chain: a test, or one that was asked for again.
    is_in_chain = data.get("previous_position") is not None
    if event["type"] == "mailbox.resync_required":
        copy_anew(mailbox_id)
    elif is_in_chain and not data["chain_start"] and data["previous_position"] != position:
        close_gap(mailbox_id, since=position)
    with transaction() as connection:
        if event["type"] == "mailbox.disconnected":
            connection.execute("DELETE FROM emails WHERE mailbox_id = ?", (mailbox_id,))
            connection.execute("DELETE FROM mailboxes WHERE id = ?", (mailbox_id,))
        elif is_in_chain:
            store_position(connection, mailbox_id, data["position"])
        if "email_id" in data:
            store_email(connection, mailbox_id, data["email_id"], data["email"])
        connection.execute("UPDATE events SET is_applied = TRUE WHERE number = ?", (number,))


def close_gap(mailbox_id: str, *, since: str | None) -> None:
    """Apply the changes after a position; copy the mailbox anew where there is none, or it is too old."""
    has_more = True
    while has_more:
        page = get("/emails/changes", mailbox_id=mailbox_id, since=since) if since else None
        if page is None:
            copy_anew(mailbox_id)
            return
        with transaction() as connection:
            for change in page["changes"]:
                if not change["type"].startswith("label_"):
                    store_email(connection, mailbox_id, change["id"], change["email"])
            store_position(connection, mailbox_id, page["next_since"])
        since, has_more = page["next_since"], page["has_more"]


def copy_anew(mailbox_id: str) -> None:
    """Copy all emails of a mailbox; of one that was disconnected there are none."""
    with transaction() as connection:
        connection.execute("DELETE FROM emails WHERE mailbox_id = ?", (mailbox_id,))
    cursor: str | None = ""
    while cursor is not None:
        page = get("/emails", mailbox_id=mailbox_id, limit="200", cursor=cursor) or {"emails": [], "next_cursor": None}
        with transaction() as connection:
            for email in page["emails"]:
                store_email(connection, mailbox_id, email["id"], email)
        cursor = page["next_cursor"]


def get(path: str, **parameters: str) -> dict[str, Any] | None:
    """Return the answer of Mailroom; None: the position is too old (410), or the mailbox was disconnected (404)."""
    answer = MAILROOM.get(path, params=parameters)
    if answer.status_code in (404, 410):
        return None
    page: dict[str, Any] = answer.raise_for_status().json()
    return page


def store_email(connection: sqlite3.Connection, mailbox_id: str, email_id: str, email: dict[str, Any] | None) -> None:
    """Store an email over the copy of it; None: it was deleted."""
    connection.execute("DELETE FROM emails WHERE id = ?", (email_id,))
    if email is not None:
        connection.execute("INSERT INTO emails VALUES (?, ?, ?)", (email_id, mailbox_id, json.dumps(email)))


def store_position(connection: sqlite3.Connection, mailbox_id: str, position: str) -> None:
    """Store up to which position the changes of a mailbox are applied."""
    connection.execute("INSERT OR REPLACE INTO mailboxes VALUES (?, ?)", (mailbox_id, position))
