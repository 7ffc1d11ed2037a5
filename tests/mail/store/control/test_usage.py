"""The counts of usage by the hour."""

from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest

from services.mail.model import DEFAULT_APPLICATION, Mailbox, MailboxCounts, Measure, Reach
from services.mail.store.connection import Connection, Pool
from services.mail.store.control import mailbox_overviews, usage
from tests.support.mail.stored import add_mailbox

OTHER_APPLICATION = uuid4()


@pytest.fixture
async def connection(pool: Pool) -> AsyncIterator[Connection]:
    """Yield a connection within a transaction, in which the hour stays the same."""
    async with pool.acquire() as connection, connection.transaction():
        yield connection


async def used(
    connection: Connection, measure: Measure, *account_ids: UUID, application_id: UUID = DEFAULT_APPLICATION
) -> list[int]:
    """Return what was counted in the last three hours, of the application as a whole if no account is named."""
    hours = await usage.of_application(connection, application_id, account_ids=account_ids or None, hours=3)
    return [hour.counts[measure] for hour in hours]


class TestAdd:
    async def test_counts_for_the_mailbox_and_for_its_application(self, connection: Connection) -> None:
        ada = await add_mailbox(connection)
        grace = await add_mailbox(connection, email="grace@example.org")
        for _ in range(2):
            await usage.add(
                connection,
                {
                    ada.mailbox_id: {Measure.MESSAGES_STORED: 3, Measure.PROVIDER_UNITS: 20},
                    grace.mailbox_id: {Measure.MESSAGES_STORED: 1},
                },
            )
        assert await used(connection, Measure.MESSAGES_STORED) == [0, 0, 8]
        assert await used(connection, Measure.MESSAGES_STORED, ada.account_id) == [0, 0, 6]
        assert await used(connection, Measure.MESSAGES_STORED, ada.account_id, grace.account_id) == [0, 0, 8]
        assert await used(connection, Measure.PROVIDER_UNITS, grace.account_id) == [0, 0, 0]
        # Two mailboxes and their application: rows do not grow with what is counted.
        assert await connection.fetchval("SELECT count(*) FROM usage_hours") == 3

    async def test_counts_nothing_for_another_application(self, connection: Connection, mailbox: Mailbox) -> None:
        await usage.add(connection, {mailbox.mailbox_id: {Measure.CHANGES: 1}})
        of_other = await used(connection, Measure.CHANGES, mailbox.account_id, application_id=OTHER_APPLICATION)
        assert of_other == await used(connection, Measure.CHANGES, application_id=OTHER_APPLICATION) == [0, 0, 0]

    async def test_leaves_erased_mailboxes_out(self, connection: Connection, mailbox: Mailbox) -> None:
        await usage.add(connection, {mailbox.mailbox_id: {Measure.CHANGES: 1}, 0: {Measure.CHANGES: 7}})
        assert await used(connection, Measure.CHANGES) == [0, 0, 1]

    async def test_begins_new_rows_with_the_hour(self, connection: Connection, mailbox: Mailbox) -> None:
        await usage.add(connection, {mailbox.mailbox_id: {Measure.CHANGES: 1}})
        await connection.execute("UPDATE usage_hours SET hour = hour - interval '1 hour'")
        await usage.add(connection, {mailbox.mailbox_id: {Measure.CHANGES: 4}})
        assert await used(connection, Measure.CHANGES) == [0, 1, 4]


class TestForget:
    async def test_takes_old_hours_in_batches(self, connection: Connection, mailbox: Mailbox) -> None:
        await usage.add(connection, {mailbox.mailbox_id: {Measure.CHANGES: 1}})
        await connection.execute("UPDATE usage_hours SET hour = hour - $1::interval * 1.1", usage.KEPT)
        await usage.add(connection, {mailbox.mailbox_id: {Measure.CHANGES: 4}})
        assert [await usage.forget(connection, limit=1) for _ in range(3)] == [1, 1, 0]
        assert await used(connection, Measure.CHANGES) == [0, 0, 4]


class TestCounts:
    async def test_are_of_the_mailboxes_within_reach_by_state(self, connection: Connection) -> None:
        one, *_ = [await add_mailbox(connection, email=f"{n}@example.com") for n in range(4)]
        await connection.execute("UPDATE mailboxes SET status = 'reauth_required' WHERE email = '1@example.com'")
        await connection.execute(
            "UPDATE mailboxes SET access_denied_reason = 'denied' WHERE email IN ('1@example.com', '2@example.com')"
        )
        counts = await mailbox_overviews.counts(connection, Reach(application_id=DEFAULT_APPLICATION))
        assert counts == MailboxCounts(active=2, reauth_required=1, access_denied=1)
        only = Reach(application_id=DEFAULT_APPLICATION, account_ids=frozenset({one.account_id}))
        counts = await mailbox_overviews.counts(connection, only)
        assert counts == MailboxCounts(active=1, reauth_required=0, access_denied=0)
        other = Reach(application_id=OTHER_APPLICATION)
        counts = await mailbox_overviews.counts(connection, other)
        assert counts == MailboxCounts(active=0, reauth_required=0, access_denied=0)
