"""Disconnecting an address, or deleting a user, while processes die."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import asyncpg
import httpx

from tests.e2e.test_sessions import start_link
from tests.e2e.test_sync import same_as, wait_for
from tests.support.e2e.people import Person, Provider
from tests.support.e2e.running_stack import RunningStack

type Database = asyncpg.Connection[asyncpg.Record]
# Rows of each table that belong to a user.
_OF_USER = {
    "mail": {
        "mailboxes": "user_id = $1 OR mailbox_id IN (SELECT mailbox_id FROM disconnections WHERE user_id = $1)",
        "messages": "mailbox_id IN (SELECT mailbox_id FROM disconnections WHERE user_id = $1)",
        "message_contents": "mailbox_id IN (SELECT mailbox_id FROM disconnections WHERE user_id = $1)",
    },
    "auth": {
        "users": "user_id = $1",
        "accounts": "user_id = $1",
        "sessions": "user_id = $1",
        "provider_tokens": "account_id IN (SELECT account_id FROM security_events WHERE user_id = $1)",
    },
}


@asynccontextmanager
async def database_of(stack: RunningStack, service: str) -> AsyncIterator[Database]:
    """Connect to the database of a service, as its administrator."""
    variables = stack.variables
    connection = await asyncpg.connect(
        host=variables["POSTGRES_HOST"],
        port=int(variables["POSTGRES_PORT"]),
        user=variables["POSTGRES_USER"],
        password=variables["POSTGRES_PASSWORD"],
        database=f"{variables['POSTGRES_DB']}_{service}",
    )
    try:
        yield connection
    finally:
        await connection.close()


async def rows_of(stack: RunningStack, user_id: str) -> dict[str, int]:
    """Count the rows of a user in both databases, by table; empty tables are left out."""
    counts: dict[str, int] = {}
    for service, tables in _OF_USER.items():
        async with database_of(stack, service) as database:
            for table, condition in tables.items():
                query = f"SELECT count(*) FROM {table} WHERE {condition}"  # noqa: S608 - from the table above
                counts[table] = await database.fetchval(query, user_id)
    return {table: count for table, count in counts.items() if count}


async def until_erased(stack: RunningStack, user_id: str) -> None:
    """Wait until a user has no rows: mail records the end of an erasure after auth's."""
    async with asyncio.timeout(30):
        while await rows_of(stack, user_id):  # noqa: ASYNC110 - what is waited for is in databases
            await asyncio.sleep(0.1)


async def until(database: Database, query: str, *args: object) -> None:
    """Wait until a query returns true."""
    async with asyncio.timeout(30):
        while not await database.fetchval(query, *args):  # noqa: ASYNC110 - the condition is in a database
            await asyncio.sleep(0.02)


def live_tokens(provider: Provider, email: str) -> int:
    """Count the person's access tokens that the provider still accepts."""
    return int(provider.post(f"/users/{email}/tokens/expire")["expired"])


def is_erased(person: Person, path: str) -> Callable[[], bool]:
    """Return whether a repeated DELETE finds no more data."""

    def ask() -> bool:
        answer = person.delete(path)
        assert answer.status_code in (202, 204), answer.text
        return answer.status_code == 204

    return ask


class TestDisconnect:
    def test_ends_access_and_erases_the_mail(
        self, http: httpx.Client, new_person: Callable[..., Person], provider: Provider
    ) -> None:
        ada = new_person(messages=20)
        sync = ada.sync()
        path = f"/emails/addresses/{ada.address()['account_id']}"
        message = ada.emails()[0]
        assert ada.delete(path).status_code in (202, 204)
        assert ada.get(f"/emails?user_email={ada.email}").status_code == 404
        assert ada.get(f"/emails/{message['id']}").status_code == 404
        assert ada.get(f"/emails/syncs/{sync['id']}").status_code == 404
        assert ada.get("/emails/addresses").json() == {"addresses": []}
        wait_for(is_erased(ada, path), seconds=30)
        again = Person.sign_in(http, ada.email)
        again.sync()
        same_as(provider, again)
        assert message["id"] not in {email["id"] for email in again.emails()}

    def test_is_finished_after_the_worker_was_killed(
        self, stack: RunningStack, new_person: Callable[..., Person]
    ) -> None:
        ada = new_person(messages=300)
        ada.sync()
        path = f"/emails/addresses/{ada.address()['account_id']}"
        try:
            stack.kill("worker")
            assert ada.delete(path).status_code == 202
            assert ada.get("/emails/addresses").json() == {"addresses": []}
            assert ada.delete(path).status_code == 202
        finally:
            stack.start("worker")
        wait_for(is_erased(ada, path), seconds=30)


class TestDeleteUser:
    def test_erases_everything_and_the_next_sign_in_is_another_user(
        self, http: httpx.Client, new_person: Callable[..., Person]
    ) -> None:
        ada = new_person(messages=5)
        ada.sync()
        user_id = ada.get("/auth/me").json()["user_id"]
        wait_for(is_erased(ada, "/auth/me"), seconds=30)
        assert ada.get("/auth/me").status_code == 404
        again = Person.sign_in(http, ada.email)
        assert again.get("/auth/me").json()["user_id"] != user_id
        assert again.address()["message_count"] == 0

    async def test_is_finished_by_itself_when_mail_and_worker_were_killed_in_the_middle(
        self, stack: RunningStack, http: httpx.Client, new_person: Callable[..., Person], provider: Provider
    ) -> None:
        ada, work = new_person(messages=30), provider.new_user(messages=30)
        assert ada.post("/auth/token", {"state": start_link(http, ada, work)}).status_code == 200
        for email in (ada.email, work):
            Person(http=http, email=email, token=ada.token).sync()
        user_id = ada.get("/auth/me").json()["user_id"]
        async with database_of(stack, "mail") as database:
            try:
                async with database.transaction():
                    # The worker that erases the rows waits for the one that is locked here.
                    await database.execute(
                        """
                        SELECT FROM messages JOIN mailboxes USING (mailbox_id) WHERE email = $1
                        LIMIT 1 FOR UPDATE OF messages
                        """,
                        work,
                    )
                    assert ada.delete("/auth/me").status_code == 202
                    await until(
                        database,
                        """
                        SELECT EXISTS (SELECT FROM pg_stat_activity
                            WHERE application_name = 'mail-worker' AND wait_event_type = 'Lock')
                        """,
                    )
                    stack.kill("worker")
                    stack.kill("mail")
            finally:
                for name in {"mail", "worker"} - set(stack.running()):
                    stack.start(name)
            await until(
                database, "SELECT ended_at IS NOT NULL FROM user_deletions WHERE user_id = $1::text::uuid", user_id
            )
        wait_for(lambda: ada.get("/auth/me").status_code == 404, seconds=30)
        await until_erased(stack, user_id)
        # A minute later auth repeats a revocation that the kill interrupted.
        wait_for(lambda: [live_tokens(provider, email) for email in (ada.email, work)] == [0, 0], seconds=100)

    def test_changes_nothing_while_auth_is_down(
        self, stack: RunningStack, new_person: Callable[..., Person], provider: Provider
    ) -> None:
        ada = new_person()
        # Until the gateway has keys, and mail runs again after the previous test, the gateway refuses requests itself.
        wait_for(lambda: ada.get("/emails/syncs/none").status_code == 404, seconds=30)
        stack.kill("auth")
        try:
            assert ada.delete("/auth/me").json()["code"] == "service_unavailable"
        finally:
            stack.start("auth")
        wait_for(lambda: ada.get("/auth/me").status_code == 200, seconds=30)
        assert ada.address()["status"] == "active"
        wait_for(is_erased(ada, "/auth/me"), seconds=30)
        assert (live_tokens(provider, ada.email), live_tokens(provider, new_person().email)) == (0, 1)
