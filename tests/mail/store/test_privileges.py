"""The privileges of mail's roles: enough for each statement that their processes send, and no more than is said."""

import asyncio
from collections.abc import Iterator

import asyncpg
import pytest

from services.kit.settings import Postgres
from services.kit.stores.postgres import connect
from services.mail.store.privileges import MAIL, WORKER
from services.mail.store.tables import metadata
from tests.architecture.test_sql import ROOT, STORE, composed
from tests.mail.conftest import MailRoles
from tests.support.architecture.sql_statements import Statement, statements_of
from tests.support.architecture.store_calls import places_called_by

# The service has these with the constants of turns.
NOT_CALLED_BY_MAIL = {"control/watches.py: keep", "control/watches.py: postpone", "sync/syncs.py: count"}
# Workers have it with the deletion of users, whose mailboxes are known.
NOT_CALLED_BY_WORKERS = {"control/mailboxes.py: upsert"}


def statements() -> Iterator[Statement]:
    """Yield the statements of the store that read or write tables."""
    for statement in statements_of(ROOT, STORE, recorded=composed()):
        if not statement.sql.lstrip().startswith(("NOTIFY", "SET ")):
            yield statement


async def refused_to(database: Postgres) -> set[str]:
    """Return the places with a statement that a role may not execute: EXPLAIN demands the statement's privileges."""
    refused = set()
    connection = await connect(database)
    try:
        # In a thread: some statements are collected by an event loop.
        for statement in await asyncio.to_thread(lambda: list(statements())):
            try:
                await connection.execute(f"EXPLAIN (GENERIC_PLAN) {statement.sql}")
            except asyncpg.InsufficientPrivilegeError:
                refused.add(statement.place)
    finally:
        await connection.close()
    return refused


@pytest.mark.usefixtures("mail_database")
class TestPrivileges:
    async def test_of_mail_suffice_for_what_it_calls(self, mail_databases: MailRoles) -> None:
        called = places_called_by("services.mail.app", root=ROOT, store=STORE)
        assert {"control/mailboxes.py: upsert", "reading/message_list.py: newest_first"} <= called
        refused = await refused_to(mail_databases.mail) & called
        # Passes over folders, and holds, belong to the adapters, which the registry has beside sources of downloads.
        of_adapters = ("folder_history/", "control/holds.py")
        assert {place for place in refused if not place.startswith(of_adapters)} == NOT_CALLED_BY_MAIL
        assert not any(place.endswith((": of_messages", ": all_of", ": load")) for place in refused)

    async def test_of_workers_suffice_for_what_they_call(self, mail_databases: MailRoles) -> None:
        called = places_called_by("services.mail.worker.app", root=ROOT, store=STORE)
        assert {"control/leases.py: claim", "messages.py: upsert"} <= called
        assert await refused_to(mail_databases.worker) & called == NOT_CALLED_BY_WORKERS

    async def test_of_deliverers_suffice_for_what_they_call_and_reach_no_body(self, mail_databases: MailRoles) -> None:
        called = places_called_by("services.mail.deliverer.app", root=ROOT, store=STORE)
        assert {"webhooks/cursors.py: claim", "changes.py: to_tell"} <= called
        refused = await refused_to(mail_databases.deliverer)
        # The service has these with the functions of its modules.
        assert {place for place in refused & called if place.startswith(("webhooks/", "changes.py: to_tell"))} <= {
            *("webhooks/endpoints.py: add", "webhooks/endpoints.py: change", "webhooks/signing_secrets.py: add"),
        }
        for statement in ("SELECT * FROM message_contents", "SELECT email FROM mailboxes", "DELETE FROM messages"):
            await assert_refused(mail_databases.deliverer, statement)

    async def test_let_mail_change_no_copy_and_erase_none(self, mail_databases: MailRoles) -> None:
        refused = await refused_to(mail_databases.mail)
        assert {
            "messages.py: upsert",
            "messages.py: delete",
            "message_labels.py: change",
            "labels.py: take_off_some",
        } <= (refused)
        assert {"control/erasures.py: erase_some", "control/erasures.py: end"} <= refused

    @pytest.mark.parametrize(
        "statement",
        [
            "INSERT INTO mailboxes (account_id) VALUES (gen_random_uuid())",
            "UPDATE mailboxes SET account_id = account_id",
            "UPDATE messages SET mailbox_id = mailbox_id",
            "SELECT * FROM alembic_version",
            "DROP TABLE messages",
            "TRUNCATE messages CASCADE",
            "ALTER TABLE mailboxes ADD note text",
            "CREATE TABLE own (number int)",
        ],
    )
    async def test_do_not_let_workers(self, mail_databases: MailRoles, statement: str) -> None:
        await assert_refused(mail_databases.worker, statement)

    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE messages SET subject = ''",
            "INSERT INTO message_contents SELECT * FROM message_contents",
            "DELETE FROM messages",
            "DELETE FROM mailboxes",
            "UPDATE mailboxes SET account_id = account_id",
            "SELECT * FROM workers",
            "SELECT * FROM alembic_version",
            "DROP TABLE messages",
            "TRUNCATE messages CASCADE",
            "ALTER TABLE mailboxes ADD note text",
            "CREATE TABLE own (number int)",
        ],
    )
    async def test_do_not_let_mail(self, mail_databases: MailRoles, statement: str) -> None:
        await assert_refused(mail_databases.mail, statement)


async def assert_refused(database: Postgres, statement: str) -> None:
    connection = await connect(database)
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    finally:
        await connection.close()


@pytest.mark.parametrize("privileges", [MAIL, WORKER])
def test_name_tables_of_the_service(privileges: dict[str, str]) -> None:
    assert privileges.keys() <= metadata.tables.keys()
