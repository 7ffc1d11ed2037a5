"""Mailboxes and messages put into the store directly, without a sync."""

import random
from collections.abc import Mapping
from dataclasses import replace
from uuid import UUID, uuid4

from services.mail.marks import Mark
from services.mail.model import Account, Mailbox, MailboxStatus, ProviderMessage
from services.mail.store import messages
from services.mail.store.connection import Connection
from services.mail.store.control import mailboxes
from services.mail.store.sync import sync_state
from tests.support.mail.generated_mail import some_message


async def add_mailbox(
    connection: Connection, *, user_id: UUID | None = None, email: str = "ada@example.com"
) -> Mailbox:
    """Add a mailbox with a sync state; by default of a new user."""
    account = Account(
        account_id=uuid4(), user_id=user_id or uuid4(), provider="google", email=email, status=MailboxStatus.ACTIVE
    )
    await mailboxes.upsert(connection, [account])
    known = await mailboxes.of_user(connection, account.user_id)
    [mailbox] = [each for each in known if each.account_id == account.account_id]
    await sync_state.ensure(connection, mailbox.mailbox_id)
    return mailbox


def stored_message(external_id: str, *, version: int | None = 1, labels: tuple[str, ...] = ()) -> ProviderMessage:
    """Return a small message."""
    return replace(
        some_message(1, random.Random(1)),
        external_id=external_id,
        thread_id="t",
        version=version,
        label_ids=labels,
        marks=frozenset({Mark.SEEN}),
    )


async def store(
    connection: Connection, mailbox_id: int, *external_ids: str, version: int = 1, labels: tuple[str, ...] = ()
) -> None:
    """Store small messages with these ids."""
    made = [stored_message(external_id, version=version, labels=labels) for external_id in external_ids]
    await messages.upsert(connection, mailbox_id, made)


async def row_of(connection: Connection, table: str, mailbox_id: int) -> Mapping[str, object]:
    """Return the only row that a mailbox has in this table."""
    [row] = await connection.fetch(f"SELECT * FROM {table} WHERE mailbox_id = $1", mailbox_id)  # noqa: S608 - a constant
    return dict(row)


async def rows_of(connection: Connection, mailbox_id: int, *tables: str) -> list[list[dict[str, object]]]:
    """Return all rows that a mailbox has in these tables."""
    found = [
        await connection.fetch(f"SELECT * FROM {table} t WHERE mailbox_id = $1 ORDER BY t", mailbox_id)  # noqa: S608 - constants
        for table in tables
    ]
    return [[dict(row) for row in rows] for rows in found]
