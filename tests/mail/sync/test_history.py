"""Reading of history: the effect of each page on the copy."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from starlette.responses import Response

from services.mail.model import HistoryDelta, LabelChange
from services.mail.providers.base import HistoryPage
from services.mail.store.connection import DATABASE_LOST, Pool
from services.mail.store.sync import sync_state
from services.mail.sync import history
from services.mail.sync.store_fetched import Retries
from services.mail.sync.turn_context import TurnContext
from tests.mail.conftest import OpenStage
from tests.support.mail.proxied_gmail import ProxiedCall, proxied
from tests.support.mail.scripted_history import ScriptedHistory, page
from tests.support.mail.servers import Servers
from tests.support.mail.stage import Stage
from tests.support.mail.turns import begin_turn


@asynccontextmanager
async def one_message(stage: OpenStage) -> AsyncIterator[tuple[Stage, str, int]]:
    """Open a stage without a worker and with one stored message; yield it with the message's id and version."""
    async with stage(messages=1, workers=0) as s:
        await s.sync_with_worker(count=None)
        [(id_, _)] = (await s.stored()).items()
        await s.hint()
        yield s, id_, int(await s.fetchval("SELECT version FROM messages"))


async def read(s: Stage, *pages: HistoryPage) -> TurnContext:
    """Read these pages as the mailbox's history; return the turn."""
    turn = await begin_turn(s, ScriptedHistory(*pages))
    async with turn.reading() as connection:
        state = await sync_state.load(connection, turn.mailbox_id)
    assert await history.catch_up(turn, state)
    return turn


async def queued(s: Stage) -> dict[str, int]:
    """Return the wanted versions of the queued messages."""
    rows = await s.pool.fetch("SELECT external_id, wanted_version FROM fetch_queue")
    return {row["external_id"]: int(row["wanted_version"]) for row in rows}


async def cursor(s: Stage) -> int:
    """Return the cursor."""
    return int(await s.fetchval("SELECT cursor FROM sync_states"))


def starred(id_: str, version: int) -> HistoryDelta:
    """Return a change that stars a message."""
    return HistoryDelta(labels={id_: [LabelChange(version=version, added=frozenset({"STARRED"}))]})


@asynccontextmanager
async def failing_writes(pool: Pool, table: str) -> AsyncIterator[None]:
    """Let the database fail at every write to this table."""
    await pool.execute(
        f"""
        CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION 'dying' USING ERRCODE = 'admin_shutdown'; END $$;
        CREATE TRIGGER die BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION die()
        """
    )
    try:
        yield
    finally:
        await pool.execute("DROP FUNCTION die CASCADE")


class TestTransactions:
    @pytest.mark.parametrize("table", ["fetch_queue", "sync_states"])
    async def test_that_fail_change_neither_queue_nor_cursor(self, stage: OpenStage, table: str) -> None:
        async with one_message(stage) as (s, _, version):
            before = await cursor(s)
            new = page(HistoryDelta(added={"new": version + 1}), last_record=before + 1)
            async with failing_writes(s.pool, table):
                with pytest.raises(DATABASE_LOST):
                    await read(s, new)
            assert (await queued(s), await cursor(s)) == ({}, before)


class TestPages:
    async def test_of_a_snapshot_move_the_cursor_no_further_than_the_first(self, stage: OpenStage) -> None:
        async with one_message(stage) as (s, _, version):
            first = page(
                HistoryDelta(added={"a": version + 1}), last_record=version + 1, latest=version + 5, following=True
            )
            # The mailbox has changed since, which the snapshot does not show.
            last = page(HistoryDelta(added={"b": version + 2}), last_record=version + 2, latest=version + 9)
            await read(s, first, last)
            assert await cursor(s) == version + 5
            assert await queued(s) == {"a": version + 1, "b": version + 2}

    async def test_move_the_cursor_to_the_last_record_at_least(self, stage: OpenStage) -> None:
        async with one_message(stage) as (s, _, version):
            first = page(HistoryDelta(), last_record=version + 1, latest=version + 2, following=True)
            last = page(HistoryDelta(), last_record=version + 7, latest=version + 9)
            await read(s, first, last)
            assert await cursor(s) == version + 7


class TestMessagesThatAreAddedAgain:
    async def test_are_fetched_for_their_labels(self, stage: OpenStage) -> None:
        async with one_message(stage) as (s, id_, version):
            before = await s.stored()
            changes = starred(id_, version + 3)
            changes.added[id_] = version + 2
            await read(s, page(changes, last_record=version + 3))
            assert await queued(s) == {id_: version + 3}
            assert await s.stored() == before

    async def test_ignore_changes_that_a_later_page_has(self, stage: OpenStage) -> None:
        async with one_message(stage) as (s, id_, version):
            before = await s.stored()
            first = page(HistoryDelta(added={id_: version + 2}), last_record=version + 2, following=True)
            await read(s, first, page(starred(id_, version + 3), last_record=version + 3))
            assert await queued(s) == {id_: version + 3}
            assert await s.stored() == before

    async def test_ignore_changes_once_they_are_dead_letters(self, stage: OpenStage) -> None:
        async with one_message(stage) as (s, id_, version):
            before = await s.stored()
            await s.pool.execute(
                "INSERT INTO dead_letters (mailbox_id, external_id, wanted_version, reason, attempts) "
                "SELECT mailbox_id, external_id, version + 2, 'unreadable_message', 3 FROM messages"
            )
            await read(s, page(starred(id_, version + 3), last_record=version + 3))
            assert await queued(s) == {id_: version + 3}
            assert await s.stored() == before

    async def test_are_not_fetched_if_they_are_stored_unchanged(self, stage: OpenStage) -> None:
        async with one_message(stage) as (s, id_, version):
            changes = starred(id_, version + 1)
            changes.added[id_] = version
            await read(s, page(changes, last_record=version + 1))
            assert await queued(s) == {}
            assert "STARRED" in (await s.stored())[id_]


class TestMessagesThatLeaveSpamAndTrash:
    @pytest.mark.parametrize("hiding", ["SPAM", "TRASH"])
    async def test_are_fetched_within_the_newest(self, stage: OpenStage, hiding: str) -> None:
        async with stage(messages=10) as s:
            rescued = await s.at_provider.deliver(subject="rescued", labels=[hiding])
            await s.at_provider.deliver(subject="newer")
            await s.sync(count=5)
            assert rescued not in await s.stored()
            await s.at_provider.relabel(rescued, add=("INBOX",), remove=(hiding,))
            await s.hint()
            await s.until_idle()
            assert (await s.at_provider.visible())[:5] == list(await s.stored())[:5]
            assert rescued in await s.stored()

    async def test_and_return_there_are_left_out(self, stage: OpenStage) -> None:
        async with stage(messages=10) as s:
            hidden = await s.at_provider.deliver(labels=["SPAM"])
            await s.sync(count=5)
            await s.at_provider.relabel(hidden, remove=("SPAM",))
            await s.at_provider.relabel(hidden, add=("TRASH",))
            await s.hint()
            await s.until_idle()
            assert hidden not in await s.stored()


class TestReplicasThatLag:
    async def test_leave_no_label_stale(self, servers: Servers, stage: OpenStage) -> None:
        """The gets of a message return its former state for longer than three gets take."""
        new, old, until = "", b"", 0.0

        async def answer(call: ProxiedCall) -> Response | None:
            if not new or new not in call.request.url.path or time.monotonic() > until:
                return None
            return Response(old, media_type="application/json")

        retries = Retries(base_seconds=0.1)
        async with (
            proxied(servers.sandbox, answer) as url,
            stage(messages=3, api_url=url, batch=False, retries=retries) as s,
        ):
            await s.sync(count=None)
            id_ = await s.at_provider.deliver()
            token, _ = await s.auth.access_token(s.account.account_id, s.user_id)
            old = (
                await servers.sandbox.http.get(
                    f"/gmail/v1/users/me/messages/{id_}?format=full", headers={"authorization": f"Bearer {token}"}
                )
            ).content
            await s.at_provider.relabel(id_, add=("STARRED",), remove=("UNREAD",))
            new, until = id_, time.monotonic() + 1.0
            await s.hint()
            await s.mirrors(exactly_paid=False)


class TestHistoryThatBeginsAnew:
    async def test_caps_the_wanted_versions(self, stage: OpenStage) -> None:
        async with stage(messages=2) as s:
            await s.at_provider.control("PUT", "mailbox", {"history_id": str(10**18)})
            await s.sync(count=None)
            await s.start_anew_at_provider(messages=1)
            [id_] = await s.at_provider.truth()
            # It was wanted in a version of the old history.
            await s.pool.execute(
                "INSERT INTO fetch_queue (mailbox_id, external_id, lane, ordinal, wanted_version, not_before) "
                "SELECT mailbox_id, $1, 0, 0, $2, now() + interval '0.2 s' FROM mailboxes",
                id_,
                10**18 + 7,
            )
            await s.at_provider.sandbox.control("DELETE", "calls")
            await s.hint()
            await s.mirrors(exactly_paid=False)
            # One for it, and two for each message that is gone.
            assert await s.at_provider.calls("gmail.messages.get") == 1 + 2 * 2
