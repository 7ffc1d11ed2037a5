"""The benchmarks' COPY loads the same rows that a sync stores."""

import io
from dataclasses import replace
from uuid import uuid4

from benchmarks.message_rows import table_files
from benchmarks.read_ways.mail import LABELS, mail_of
from benchmarks.read_ways.words import Words
from services.kit.settings import Postgres
from services.kit.stores.postgres import create_pool
from services.mail.content.model import AttachedMessage, Attachment
from services.mail.model import Account, MailboxStatus
from services.mail.providers.label_ids import mark_ids
from services.mail.store import labels, messages
from services.mail.store.connection import Connection
from services.mail.store.control import mailboxes

_TABLES = ("messages", "message_contents", "message_search")


async def rows(connection: Connection, mailbox_id: int) -> dict[str, list[dict[str, object]]]:
    """Return all rows of a mailbox by table, without the ids that Postgres assigns."""
    found: dict[str, list[dict[str, object]]] = {}
    for table in _TABLES:
        statement = f"SELECT * FROM {table} WHERE mailbox_id = $1 ORDER BY message_id DESC"  # noqa: S608 - one of ours
        selected = await connection.fetch(statement, mailbox_id)
        found[table] = [{name: value for name, value in row.items() if name != "message_id"} for row in selected]
    return found


class TestPortions:
    def test_count_long_headers_and_attached_messages_like_long_texts(self) -> None:
        [made] = mail_of(1, 1, Words(["the", "invoice"]), email="ada@example.com")
        long = "x" * 400_000
        with_headers = replace(made, content=replace(made.content, headers=(("To", long),)))
        with_texts = replace(made, content=replace(made.content, text=long))
        inner = AttachedMessage(None, None, (), (), None, long, ())
        attachment = Attachment("1", "", "message/rfc822", 1, inline=False, content_id=None, message=inner)
        outer = replace(attachment, part_id="0", message=replace(inner, text=None, attachments=(attachment,)))
        with_messages = replace(made, content=replace(made.content, attachments=(outer,)))
        for message in (with_headers, with_texts, with_messages):
            assert [len(some) for some, _ in messages._portions([message] * 5)] == [2, 2, 1]


class TestTableFiles:
    async def test_hold_what_a_sync_stores(self, mail_database: Postgres) -> None:
        pool = await create_pool(mail_database, application_name="row-tests", size=1)
        user_id, email = uuid4(), "ada@example.com"
        account = Account(
            account_id=uuid4(), user_id=user_id, provider="google", email=email, status=MailboxStatus.ACTIVE
        )
        mail = list(mail_of(1, 40, Words(["the", "invoice", "naïve", "東京", 'quo"ted', "a,b"]), email=email))
        async with pool.acquire() as connection:
            await mailboxes.upsert(connection, [account])
            [mailbox] = await mailboxes.of_user(connection, user_id)
            await labels.record(connection, mailbox.mailbox_id, LABELS, confirm_seconds=0)
            for message in mail:
                await messages.upsert(connection, mailbox.mailbox_id, [message], mark_ids=mark_ids("google"))
            synced = await rows(connection, mailbox.mailbox_id)
            await messages.delete(connection, mailbox.mailbox_id, [message.external_id for message in mail])
            for table, columns, data in table_files(mail, mailbox_id=mailbox.mailbox_id, first_id=10**9):
                await connection.copy_to_table(table, source=io.BytesIO(data), columns=columns, format="csv")
            assert await rows(connection, mailbox.mailbox_id) == synced
        await pool.close()
