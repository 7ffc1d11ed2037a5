"""Messages that the database refuses: each becomes a dead letter and delays no other."""

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
import structlog

from services.mail.model import FetchItem, Lane, ListedId, ProviderMessage, SyncState
from services.mail.providers.base import FetchResult
from services.mail.providers.errors import MessageGoneError
from services.mail.store.sync import fetch_queue
from services.mail.sync.store_fetched import Retries, store_fetched
from services.mail.sync.turn_context import TurnContext
from tests.mail.conftest import OpenStage
from tests.support.mail.generated_mail import some_message
from tests.support.mail.scripted_history import ScriptedHistory
from tests.support.mail.stage import Stage
from tests.support.mail.turns import begin_turn

# A GIN entry has 2,700 bytes at most, and this text cannot be compressed.
_LONG = "".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=9_000))


def message(number: int) -> ProviderMessage:
    """Return a message with this number as its id."""
    return replace(some_message(number, random.Random(number)), external_id=f"m{number}")


def with_text(text: str) -> Callable[[ProviderMessage], ProviderMessage]:
    """Return a function that replaces the text of a message."""
    return lambda made: replace(made, content=replace(made.content, text=text))


REFUSED: dict[str, Callable[[Any], Any]] = {
    # Refused by Postgres.
    "nul": with_text("a\0b"),
    "index_entry": lambda made: replace(made, label_ids=(_LONG,)),
    "no_time": lambda made: replace(made, received_at=None),
    # Refused by asyncpg.
    "surrogate": with_text("a\ud800b"),
    "size": lambda made: replace(made, size=2**63),
    "version": lambda made: replace(made, version="many"),
}


@asynccontextmanager
async def queue_of(stage: OpenStage, numbers: range) -> AsyncIterator[tuple[Stage, TurnContext]]:
    """Open a turn with a mailbox whose queue has these messages."""
    async with stage(workers=0) as s:
        await s.request(count=None)
        turn = await begin_turn(s, ScriptedHistory())
        listed = [ListedId(external_id=f"m{number}", thread_id=None) for number in numbers]
        async with turn.writing() as connection:
            await fetch_queue.queue_listed(connection, turn.mailbox_id, listed, offset=0)
        yield s, turn


async def letters(s: Stage) -> dict[str, str]:
    """Return the reasons of the dead letters."""
    rows = await s.pool.fetch("SELECT external_id, reason FROM dead_letters")
    return {row["external_id"]: row["reason"] for row in rows}


class TestOneOfABatch:
    @pytest.mark.parametrize("kind", REFUSED)
    async def test_becomes_a_dead_letter_and_the_others_arrive(self, stage: OpenStage, kind: str) -> None:
        async with queue_of(stage, range(20)) as (s, turn):
            got: dict[str, FetchResult] = {f"m{number}": message(number) for number in range(18)}
            got["m7"] = REFUSED[kind](message(7))
            got["m18"] = MessageGoneError()
            queued = [
                FetchItem(external_id=id_, thread_id=None, siblings=(), lane=Lane.BACKFILL, is_doubted=id_ == "m18")
                for id_ in got
            ]
            with structlog.testing.capture_logs() as logs:
                await store_fetched(turn, queued, got, Retries())
            assert await letters(s) == {"m7": "refused_by_database"}
            stored = {row["external_id"] for row in await s.pool.fetch("SELECT external_id FROM messages")}
            assert stored == {f"m{number}" for number in range(18)} - {"m7"}
            # The other results of the batch are stored once, and the rest of the queue is unchanged.
            assert [row["external_id"] for row in await s.pool.fetch("SELECT external_id FROM fetch_queue")] == ["m19"]
            assert await s.fetchval("SELECT stored_count FROM syncs") == 17
            assert [entry["id"] for entry in logs if entry["event"] == "the database refuses a message"] == ["m7"]
            # Logs contain nothing of messages.
            assert _LONG[:20] not in str(logs)

    async def test_leaves_its_older_version_unchanged(self, stage: OpenStage) -> None:
        async with queue_of(stage, range(1)) as (s, turn):
            good = message(0)
            item = FetchItem(external_id="m0", thread_id=None, siblings=(), lane=Lane.BACKFILL)
            await store_fetched(turn, [item], {"m0": good}, Retries())
            async with turn.writing() as connection:
                await fetch_queue.queue_changed(connection, turn.mailbox_id, {"m0": 10**6}, threads={})
            worse = replace(with_text("\0")(good), version=10**6)
            await store_fetched(turn, [item], {"m0": worse}, Retries())
            assert await letters(s) == {"m0": "refused_by_database"}
            assert await s.fetchval("SELECT version FROM messages") == good.version


class TestSync:
    async def test_completes_and_fetches_no_message_twice(self, stage: OpenStage) -> None:
        async with stage(messages=60, batch=False) as s:
            poison = await s.at_provider.deliver(subject="poison")
            later = await s.at_provider.deliver(subject="after")
            await s.pool.execute(
                """
                CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
                    $$ BEGIN RAISE EXCEPTION 'string is too long for tsvector' USING ERRCODE = '54000'; END $$;
                CREATE TRIGGER refuse BEFORE INSERT ON messages FOR EACH ROW WHEN (NEW.subject = 'poison')
                    EXECUTE FUNCTION refuse()
                """
            )
            try:
                report = await s.sync(count=None)
                assert report.sync.state is SyncState.COMPLETED
                assert [(letter.external_id, letter.reason) for letter in report.dead_letters] == [
                    (poison, "refused_by_database")
                ]
                truth = await s.at_provider.truth()
                assert await s.stored() == {id_: truth[id_] for id_ in truth if id_ != poison}
                assert later in truth
                gets = await s.at_provider.calls("gmail.messages.get")
                assert gets + await s.at_provider.calls("gmail.threads.get") <= 62
                assert await s.fetchval("SELECT attempts FROM mailbox_schedule") == 0
                # Once the cause is gone, a retry succeeds.
                await s.pool.execute("DROP FUNCTION refuse CASCADE")
                await s.retry(report)
                await s.until_stored(poison)
            finally:
                await s.pool.execute("DROP FUNCTION IF EXISTS refuse CASCADE")
