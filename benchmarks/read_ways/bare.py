"""The upper bound: bare ASGI and asyncpg, without framework, models or a second process; lists one mailbox only."""

import json
from collections.abc import Mapping
from urllib.parse import parse_qs
from uuid import UUID

import asyncpg
from pydantic_core import to_json
from starlette.types import Receive, Scope, Send

from benchmarks.read_ways.server import POOL, ServerConfig, Tokens, serve
from services.mail.ids import PublicIds
from services.mail.providers.label_ids import marks_of
from services.mail.read_model import MessageFilter, Position
from services.mail.reading.page_tokens import PageTokens

_MAILBOX = """
    SELECT mailbox_id, account_id::text,
        array(SELECT label_id FROM labels l WHERE l.mailbox_id = b.mailbox_id ORDER BY label_id) AS ids,
        array(SELECT name FROM labels l WHERE l.mailbox_id = b.mailbox_id ORDER BY label_id) AS names
    FROM mailboxes b WHERE user_id = $1 AND email = $2
"""
_MESSAGES = """
    SELECT message_id, external_id, thread_id, received_at, from_name, from_email, to_addresses, cc_addresses, subject,
        snippet, label_ids, has_attachments, size
    FROM messages WHERE mailbox_id = $1
        AND (received_at, message_id) < (coalesce($2::timestamptz, 'infinity'), coalesce($3::bigint, 0))
    ORDER BY received_at DESC, message_id DESC LIMIT $4
"""


class Bare:
    """The application."""

    def __init__(self, config: ServerConfig) -> None:
        self._dsn = config.dsn
        self._tokens = Tokens(config)
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "lifespan":
            await receive()
            self._pool = await asyncpg.create_pool(self._dsn, min_size=1, max_size=POOL)
            key = await self._pool.fetchrow("SELECT key, plain_until FROM public_id_key")
            assert key is not None
            self._ids = PublicIds(key["key"], plain_until=key["plain_until"])
            self._page_tokens = PageTokens(key["key"])
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await self._pool.close()
            await send({"type": "lifespan.shutdown.complete"})
            return
        headers = dict(scope["headers"])
        user_id = UUID(self._tokens.user_id(headers[b"authorization"].decode().removeprefix("Bearer ")))
        query = {name: values[0] for name, values in parse_qs(scope["query_string"].decode()).items()}
        body = await self._page(user_id, query)
        length = str(len(body)).encode()
        start = [(b"content-type", b"application/json"), (b"content-length", length)]
        await send({"type": "http.response.start", "status": 200, "headers": start})
        await send({"type": "http.response.body", "body": body})

    async def _page(self, user_id: UUID, query: Mapping[str, str]) -> bytes:
        assert self._pool is not None
        limit = int(query.get("limit", "50"))
        async with self._pool.acquire() as connection:
            mailbox = await connection.fetchrow(_MAILBOX, user_id, query["user_email"])
            assert mailbox is not None
            scope = {"mailbox": mailbox["mailbox_id"], **MessageFilter().fingerprint()}
            after = self._page_tokens.decode(query.get("cursor", ""), scope=scope)
            position = (after and after.received_at, after and after.message_id)
            rows = await connection.fetch(_MESSAGES, mailbox["mailbox_id"], *position, limit + 1)
        names = dict(zip(mailbox["ids"], mailbox["names"], strict=True))
        token = None
        if len(rows) > limit:
            last = Position(received_at=rows[limit - 1]["received_at"], message_id=rows[limit - 1]["message_id"])
            token = self._page_tokens.encode(last, scope=scope)
        return to_json(
            {"emails": [_email(row, mailbox, names, self._ids) for row in rows[:limit]], "next_cursor": token}
        )


def _email(row: asyncpg.Record, mailbox: asyncpg.Record, names: Mapping[str, str], ids: PublicIds) -> dict[str, object]:
    email, is_read = row["from_email"], "UNREAD" not in row["label_ids"]
    return {
        "id": ids.encode(mailbox["mailbox_id"], row["message_id"]),
        "external_id": row["external_id"],
        "mailbox_id": mailbox["account_id"],
        "account_id": mailbox["account_id"],
        "thread_id": row["thread_id"],
        "from_email": email,
        "from": None if email is None else {"name": row["from_name"], "email": email},
        "to": json.loads(row["to_addresses"]),
        "cc": json.loads(row["cc_addresses"]),
        "subject": row["subject"],
        "snippet": row["snippet"],
        "received_at": row["received_at"].isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "is_read": is_read,
        "marks": marks_of(row["label_ids"], is_read=is_read),
        "labels": [names.get(label_id, label_id) for label_id in row["label_ids"]],
        "has_attachments": row["has_attachments"],
        "size": row["size"],
    }


if __name__ == "__main__":
    given = ServerConfig.given()
    serve(Bare(given), given)
