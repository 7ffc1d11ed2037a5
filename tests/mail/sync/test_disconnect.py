"""Disconnecting a mailbox: hidden at once, erased in the end, in spite of any interruption."""

import asyncio
from uuid import UUID, uuid4

import httpx
import pytest

from services.kit.errors import AppError
from services.mail.deliverer.upkeep import erase_webhooks
from services.mail.ids import PublicId
from services.mail.model import DEFAULT_APPLICATION, MailboxQuery, SyncState
from services.mail.store.control import erasures
from services.mail.store.tables import metadata
from services.mail.store.webhooks import endpoints
from services.mail.webhooks.model import EndpointRules
from tests.mail.conftest import OpenStage
from tests.support.mail.stage import Stage, connect_user, id_of
from tests.support.mail.waiting import eventually

# Records of ids, counts and times. What webhooks tell of the end of a mailbox is kept for 30 days.
KEPT = {"disconnections", "user_deletions", "feed_heads"}


async def _rows(s: Stage, mailbox_id: int) -> dict[str, int]:
    """Return the number of a mailbox's rows per table, except for the record of its disconnection."""
    tables = [table for table in metadata.tables.values() if "mailbox_id" in table.c and table.name not in KEPT]
    assert len(tables) > 8
    counts = {
        table.name: await s.fetchval(f"SELECT count(*) FROM {table.name} WHERE mailbox_id = $1", mailbox_id)  # noqa: S608 - our own tables
        for table in tables
    }
    return {name: count for name, count in counts.items() if count}


async def _user_is_gone(s: Stage) -> bool:
    """Return whether the user's deletion has ended, without requesting it again."""
    query = "SELECT ended_at IS NOT NULL FROM user_deletions WHERE user_id = $1"
    return bool(await s.fetchval(query, s.user_id))


async def _profile(s: Stage, token: str) -> httpx.Response:
    """Return the provider's answer to a profile call with this token."""
    return await s.servers.sandbox.http.get("/gmail/v1/users/me/profile", headers={"Authorization": f"Bearer {token}"})


async def _kill_in_the_middle(s: Stage, *, after: int) -> None:
    """Kill a worker when it has erased about this many messages."""
    async with s.pool.acquire() as connection, connection.transaction():
        # It waits for the row locked here. (OFFSET beside FOR UPDATE would lock the skipped rows as well.)
        await connection.execute(
            """
            SELECT FROM messages
            WHERE message_id = (SELECT message_id FROM messages ORDER BY message_id OFFSET $1 LIMIT 1) FOR UPDATE
            """,
            after,
        )
        async with s.another_worker() as worker:
            await eventually(lambda: _waits_for_lock(s, worker.name))
            await worker.crash()


async def _kill_before_the_mailbox_is_deleted(s: Stage) -> None:
    """Kill a worker when it has erased everything but the mailbox itself."""
    async with s.pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT FROM mailboxes FOR UPDATE")
        async with s.another_worker() as worker:
            await eventually(lambda: _waits_for_lock(s, worker.name))
            await worker.crash()


async def _waits_for_lock(s: Stage, application_name: str) -> bool:
    query = """
        SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = $1 AND wait_event_type = 'Lock')
    """
    return bool(await s.fetchval(query, application_name))


class TestAtOnce:
    async def test_nothing_of_the_mailbox_can_be_read(self, stage: OpenStage) -> None:
        async with stage(messages=5, workers=0) as s:
            report = await s.sync_with_worker(count=None)
            message = (await s.listed())[0]
            assert not await s.disconnect()
            assert await s.mailboxes.overviews(MailboxQuery(user_id=s.user_id)) == []
            with pytest.raises(AppError, match="mailbox_not_found"):
                await s.mailboxes.find(s.user_id, email=s.account.email)
            with pytest.raises(AppError, match="message_not_found"):
                await s.messages.get(s.user_id, PublicId(message.mailbox_id, message.message_id))
            with pytest.raises(AppError, match="sync_not_found"):
                await s.syncs.get(s.user_id, id_of(report), wait_seconds=0)
            assert await s.fetchval("SELECT count(*) FROM messages") == 5

    async def test_a_running_worker_cannot_write(self, stage: OpenStage) -> None:
        async with stage(messages=200) as s:
            await s.request(count=None)
            await s.until_stored_some(10)
            mailbox = await s.mailbox()
            await s.disconnect()
            await s.until_erased()
            assert await _rows(s, mailbox.mailbox_id) == {}

    async def test_the_mailbox_of_another_user_is_not_found(self, stage: OpenStage) -> None:
        async with stage(messages=3, workers=0) as s:
            await s.mailbox()
            with pytest.raises(AppError, match="mailbox_not_found"):
                await s.disconnections.disconnect(uuid4(), s.account.account_id)
            assert await s.mailbox()

    async def test_a_mailbox_that_only_auth_knows_is_disconnected_too(self, stage: OpenStage) -> None:
        async with stage() as s:
            await s.disconnect()
            await s.until_erased()
            assert await s.auth.list_accounts(s.user_id) == []


class TestInTheEnd:
    async def test_only_the_record_of_the_disconnection_is_left(self, stage: OpenStage) -> None:
        async with stage(messages=40) as s:
            await s.sync(count=None)
            mailbox = await s.mailbox()
            assert {"messages", "message_contents", "sync_states"} <= (await _rows(s, mailbox.mailbox_id)).keys()
            await s.disconnect()
            await s.until_erased()
            assert await _rows(s, mailbox.mailbox_id) == {}
            assert await s.fetchval("SELECT message_count FROM disconnections WHERE mailbox_id = $1",
                                    mailbox.mailbox_id) == 40  # fmt: skip

    def test_every_table_of_mail_is_erased_with_the_mailbox(self) -> None:
        tables = [table for table in metadata.tables.values() if "mailbox_id" in table.c and table.name not in KEPT]
        kept = [
            table.name
            for table in tables
            if not any(key.ondelete == "CASCADE" for key in table.foreign_key_constraints)
        ]
        assert kept == ["mailboxes"]

    async def test_the_grant_is_revoked(self, stage: OpenStage) -> None:
        async with stage(messages=3) as s:
            await s.sync()
            token, _ = await s.auth.access_token(s.account.account_id, s.user_id)
            await s.disconnect()
            await s.until_erased()
            assert (await _profile(s, token)).status_code == 401
            assert await s.auth.list_accounts(s.user_id) == []

    async def test_an_outdated_answer_of_auth_does_not_bring_it_back(self, stage: OpenStage) -> None:
        async with stage(messages=3) as s:
            await s.sync()
            await s.disconnect()
            await s.until_erased()
            s.auth.late.append(s.account)
            assert await s.mailboxes.overviews(MailboxQuery(user_id=s.user_id)) == []

    async def test_reconnecting_makes_a_new_mailbox(self, stage: OpenStage) -> None:
        async with stage(messages=8) as s:
            await s.sync(count=None)
            before = await s.mailbox()
            old = {PublicId(message.mailbox_id, message.message_id) for message in await s.listed()}
            await s.disconnect()
            await s.until_erased()
            s.account = await s.auth.connect(s.account.email, user_id=s.user_id)
            report = await s.sync(count=None)
            assert report.sync.state is SyncState.COMPLETED
            assert await s.stored() == await s.at_provider.truth()
            after = await s.mailbox()
            assert (after.mailbox_id, after.account_id) != (before.mailbox_id, before.account_id)
            assert not old & {PublicId(message.mailbox_id, message.message_id) for message in await s.listed()}

    async def test_other_mailboxes_of_the_user_stay(self, stage: OpenStage) -> None:
        async with stage(messages=5) as s:
            other, _ = await connect_user(s.servers.sandbox, s.auth, messages=4, user_id=s.user_id)
            await s.sync(count=None)
            await s.disconnect()
            await s.until_erased()
            [left] = await s.mailboxes.overviews(MailboxQuery(user_id=s.user_id))
            assert left.mailbox.account_id == other.account_id


class TestInterrupted:
    async def test_by_dying_workers_is_finished_by_the_next(self, stage: OpenStage) -> None:
        async with stage(messages=60, workers=0) as s:
            await s.sync_with_worker(count=None)
            mailbox = await s.mailbox()
            await s.disconnect()
            for _ in range(3):
                await _kill_in_the_middle(s, after=10)
            assert 0 < (await _rows(s, mailbox.mailbox_id))["messages"] < 60
            async with s.another_worker():
                await s.until_erased()
            assert await _rows(s, mailbox.mailbox_id) == {}
            assert await s.fetchval("SELECT message_count FROM disconnections WHERE mailbox_id = $1",
                                    mailbox.mailbox_id) == 60  # fmt: skip

    async def test_by_an_outage_of_auth_waits_with_all_data_hidden(self, stage: OpenStage) -> None:
        async with stage(messages=5) as s:
            await s.sync(count=None)
            s.auth.is_down = True
            await s.disconnect()
            await s.until_turn_failed()
            assert await s.fetchval("SELECT count(*) FROM messages") == 5
            assert await s.mailboxes.overviews(MailboxQuery(user_id=s.user_id)) == []
            s.auth.is_down = False
            await s.until_erased()

    async def test_by_a_lost_answer_of_auth_asks_again(self, stage: OpenStage) -> None:
        async with stage(messages=5) as s:
            await s.sync(count=None)
            s.auth.lost_answers = 1
            await s.disconnect()
            await s.until_erased()
            assert s.auth.lost_answers == 0

    async def test_by_an_outage_of_the_provider_continues(self, stage: OpenStage) -> None:
        async with stage(messages=5) as s:
            await s.sync(count=None)
            await s.at_provider.fail({"method": "gmail.stop", "kind": "error", "status": 503})
            await s.disconnect()
            await s.until_erased()

    async def test_by_a_grant_revoked_earlier_continues(self, stage: OpenStage) -> None:
        async with stage(messages=5) as s:
            await s.sync(count=None)
            await s.at_provider.control("POST", "revoke")
            await s.disconnect()
            await s.until_erased()


class TestDeletedUser:
    async def test_loses_all_mailboxes_and_then_the_account(self, stage: OpenStage) -> None:
        async with stage(messages=12, workers=0) as s:
            await connect_user(s.servers.sandbox, s.auth, messages=4, user_id=s.user_id)
            await s.mailboxes.overviews(MailboxQuery(user_id=s.user_id))
            await s.sync_with_worker(count=None)
            assert not await s.disconnections.delete_user(s.user_id)
            assert await s.mailboxes.overviews(MailboxQuery(user_id=s.user_id)) == []
            assert s.auth.deleted_users == []
            async with s.another_worker():
                await eventually(lambda: s.disconnections.delete_user(s.user_id))
            assert set(s.auth.deleted_users) == {s.user_id}
            assert await s.fetchval("SELECT count(*) FROM mailboxes") == 0
            assert await s.fetchval("SELECT count(*) FROM messages") == 0

    async def test_has_no_mailbox_of_a_late_answer_of_auth(self, stage: OpenStage) -> None:
        async with stage(workers=0) as s:
            # An answer that was under way names an account of which mail has not heard before.
            s.auth.late.append(s.account)
            assert await s.disconnections.delete_user(s.user_id)
            await s.mailboxes.refresh(s.user_id)
            assert await s.fetchval("SELECT count(*) FROM mailboxes") == 0

    async def test_without_mailboxes_is_deleted_at_once(self, stage: OpenStage) -> None:
        async with stage(workers=0) as s:
            stranger = uuid4()
            assert await s.disconnections.delete_user(stranger)
            assert await s.disconnections.delete_user(stranger)
            assert s.auth.deleted_users == [stranger]

    async def test_is_deleted_by_a_repeated_request_after_an_outage_of_auth(self, stage: OpenStage) -> None:
        async with stage(workers=0) as s:
            s.auth.is_down = True
            with pytest.raises(AppError, match="service_unavailable"):
                await s.disconnections.delete_user(s.user_id)
            s.auth.is_down = False
            assert await s.disconnections.delete_user(s.user_id)

    async def test_is_deleted_with_the_last_disconnected_mailbox(self, stage: OpenStage) -> None:
        async with stage(messages=3, workers=0) as s:
            await s.sync_with_worker()
            await s.disconnect()
            assert not await s.disconnections.delete_user(s.user_id)
            async with s.another_worker():
                await s.until_erased()
            assert set(s.auth.deleted_users) == {s.user_id}
            assert await s.disconnections.delete_user(s.user_id)

    async def test_is_deleted_by_a_worker_without_a_repeated_request(self, stage: OpenStage) -> None:
        async with stage(workers=0) as s:
            s.auth.is_down = True
            with pytest.raises(AppError, match="service_unavailable"):
                await s.disconnections.delete_user(s.user_id)
            s.auth.is_down = False
            async with s.another_worker():
                await eventually(lambda: _user_is_gone(s))
            assert set(s.auth.deleted_users) == {s.user_id}
            assert await s.auth.list_accounts(s.user_id) == []

    async def test_loses_a_mailbox_connected_concurrently(self, stage: OpenStage) -> None:
        async with stage(workers=0) as s:
            async with s.pool.acquire() as connection, connection.transaction():
                await erasures.request_user(connection, s.user_id)
                # It does not see uncommitted rows.
                await s.mailboxes.refresh(s.user_id)
            assert await s.fetchval("SELECT count(*) FROM mailboxes WHERE user_id = $1", s.user_id) == 1
            async with s.another_worker():
                await eventually(lambda: _user_is_gone(s))
            assert await s.fetchval("SELECT count(*) FROM mailboxes") == 0
            assert await s.auth.list_accounts(s.user_id) == []

    async def test_is_deleted_in_spite_of_dying_workers(self, stage: OpenStage) -> None:
        async with stage(messages=40, workers=0) as s:
            await connect_user(s.servers.sandbox, s.auth, messages=40, user_id=s.user_id)
            both = [overview.mailbox for overview in await s.mailboxes.overviews(MailboxQuery(user_id=s.user_id))]
            async with s.another_worker():
                for mailbox in both:
                    found = await s.mailboxes.find(s.user_id, account_id=mailbox.account_id)
                    await s.ended(await s.syncs.start(found, newest_count=None))
            token, _ = await s.auth.access_token(s.account.account_id, s.user_id)
            assert not await s.disconnections.delete_user(s.user_id)
            for _ in range(3):
                await _kill_in_the_middle(s, after=5)
            assert 0 < await s.fetchval("SELECT count(*) FROM messages") < 80
            assert s.auth.deleted_users == []
            async with s.another_worker():
                await eventually(lambda: _user_is_gone(s))
            for mailbox in both:
                assert await _rows(s, mailbox.mailbox_id) == {}
            assert await s.auth.list_accounts(s.user_id) == []
            assert (await _profile(s, token)).status_code == 401

    async def test_has_not_ended_while_a_row_of_a_mailbox_is_left(self, stage: OpenStage) -> None:
        async with stage(messages=5, workers=0) as s:
            await s.sync_with_worker(count=None)
            mailbox = await s.mailbox()
            assert not await s.disconnections.delete_user(s.user_id)
            await _kill_before_the_mailbox_is_deleted(s)
            assert await _user_is_gone(s)
            assert (await _rows(s, mailbox.mailbox_id)).keys() >= {"mailboxes", "sync_states"}
            assert not await s.disconnections.delete_user(s.user_id)
            async with s.another_worker():
                await eventually(lambda: s.disconnections.delete_user(s.user_id))
            assert await _rows(s, mailbox.mailbox_id) == {}
            assert set(s.auth.deleted_users) == {s.user_id}

    async def test_gets_no_mailbox_while_the_deletion_is_requested(self, stage: OpenStage) -> None:
        async with stage(workers=0) as s:
            async with s.pool.acquire() as connection, connection.transaction():
                await erasures.lock_user(connection, s.user_id)
                await erasures.request_user(connection, s.user_id)
                refreshing = asyncio.create_task(s.mailboxes.refresh(s.user_id))
                await eventually(lambda: _waits_for_lock(s, "mail-tests"))
            await refreshing
            assert await s.fetchval("SELECT count(*) FROM mailboxes") == 0

    async def test_leaves_other_users_alone(self, stage: OpenStage) -> None:
        async with stage(messages=5) as s:
            await s.sync(count=None)
            other, _ = await connect_user(s.servers.sandbox, s.auth, messages=1)
            await s.mailboxes.overviews(MailboxQuery(user_id=other.user_id))
            await s.disconnections.delete_user(other.user_id)
            await eventually(lambda: s.disconnections.delete_user(other.user_id))
            assert len(await s.stored()) == 5
            assert set(s.auth.deleted_users) == {other.user_id}


class TestDeletedApplication:
    async def test_loses_the_mailboxes_of_all_users_and_then_itself(self, stage: OpenStage) -> None:
        async with stage(messages=12, workers=0) as s:
            other, _ = await connect_user(s.servers.sandbox, s.auth, messages=4, user_id=uuid4())
            await s.mailboxes.refresh(other.user_id)
            await s.sync_with_worker(count=None)
            mailbox = await s.mailbox()
            await _add_webhook(s, DEFAULT_APPLICATION)
            kept = await _add_webhook(s, uuid4())
            s.auth.deleted_applications.append(DEFAULT_APPLICATION)
            await s.disconnections.finish_deletions()
            async with s.pool.acquire() as connection:
                assert await endpoints.of_application(connection, DEFAULT_APPLICATION) == []
            await erase_webhooks(s.pool)
            for table in ("webhook_endpoints", "webhook_secrets", "webhook_cursors", "webhook_deliveries"):
                query = f"SELECT array_agg(endpoint_id) FROM {table}"  # noqa: S608 - from the names above
                assert await s.fetchval(query) == [kept], table
            assert await s.mailboxes.overviews(MailboxQuery(user_id=s.user_id)) == []
            assert s.auth.erased_applications == []
            async with s.another_worker():
                await eventually(lambda: _is_erased(s))
            assert await s.fetchval("SELECT count(*) FROM mailboxes") == 0
            assert await _rows(s, mailbox.mailbox_id) == {}
            assert set(s.auth.deleted_users) == {s.user_id, other.user_id}

    async def test_goes_on_beside_a_user_and_an_application_that_cannot_be_deleted(self, stage: OpenStage) -> None:
        async with stage(messages=2, workers=0) as s:
            users = [s.user_id, *(uuid4() for _ in range(2))]
            for user_id in users[1:]:
                await connect_user(s.servers.sandbox, s.auth, messages=1, user_id=user_id)
            for user_id in users:
                await s.mailboxes.refresh(user_id)
            s.auth.undeletable = {users[0]}
            s.auth.deleted_applications = [uuid4(), DEFAULT_APPLICATION]
            s.auth.unerasable = {s.auth.deleted_applications[0]}
            async with s.another_worker():

                async def are_deleted() -> bool:
                    await s.disconnections.finish_deletions()
                    return set(s.auth.deleted_users) == set(users[1:])

                await eventually(are_deleted)
                assert s.auth.erased_applications == []
                s.auth.undeletable = set()
                await eventually(lambda: _is_erased(s))

    async def test_waits_for_auth_without_holding_up_other_deletions(self, stage: OpenStage) -> None:
        async with stage(messages=5) as s:
            await s.sync(count=None)
            s.auth.deleted_applications.append(DEFAULT_APPLICATION)
            s.auth.is_down = True
            await s.disconnections.finish_deletions()
            assert s.auth.erased_applications == []
            s.auth.is_down = False
            await eventually(lambda: _is_erased(s))


async def _is_erased(s: Stage) -> bool:
    """Go on with the deletion; return whether auth was told that no mail is left."""
    await s.disconnections.finish_deletions()
    return s.auth.erased_applications == [DEFAULT_APPLICATION]


async def _add_webhook(s: Stage, application_id: UUID) -> UUID:
    """Add a webhook of an application, with a secret, a cursor and a parked event; return its id."""
    endpoint_id = uuid4()
    async with s.pool.acquire() as connection:
        await endpoints.add(connection, endpoint_id, application_id, EndpointRules(url="https://example.com"))
        for statement in (
            "INSERT INTO webhook_secrets (endpoint_id, encrypted) VALUES ($1, '')",
            "INSERT INTO webhook_cursors (endpoint_id, mailbox_id) VALUES ($1, 1)",
            """
            INSERT INTO webhook_deliveries (endpoint_id, event_id, event_type, state)
            VALUES ($1, 'e', 'message.created', 'parked')
            """,
        ):
            await connection.execute(statement, endpoint_id)
    return endpoint_id
