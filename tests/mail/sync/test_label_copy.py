"""Labels of the provider: names, creation and deletion. An answer without some labels removes nothing at once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from starlette.responses import Response

from services.mail.model import Label, SyncState
from services.mail.providers.gmail.labels import SYSTEM_LABELS
from services.mail.reading.change_feed import ChangeFeed
from services.mail.store import labels
from services.mail.store.changes import ChangeKind
from services.mail.store.sync import sync_state
from services.mail.sync import label_copy
from services.mail.sync.intervals import Intervals
from tests.mail.conftest import OpenStage
from tests.support.mail.proxied_gmail import ProxiedCall, as_json, proxied
from tests.support.mail.scripted_history import ScriptedHistory
from tests.support.mail.servers import Servers
from tests.support.mail.stage import Stage
from tests.support.mail.turns import begin_turn
from tests.support.mail.waiting import eventually

# The two answers without a label may follow at once, except where a test waits.
APART = Intervals(listing_lag=0, labels_confirm=0.5)
_CARRYING = "SELECT count(*) FROM messages WHERE label_ids @> '{L}'"
OFTEN = Intervals(listing_lag=0, labels=0.2, labels_pause=0.1, labels_confirm=0)


@dataclass
class AlteredLabels:
    """Lists of labels without some of them, or empty lists."""

    lacks: set[str] = field(default_factory=set)
    is_empty: bool = False

    async def answer(self, call: ProxiedCall) -> Response | None:
        """See Answer."""
        if not call.request.url.path.endswith("/labels"):
            return None
        answer = (await call.forward()).json()
        listed = [] if self.is_empty else answer["labels"]
        return as_json({"labels": [label for label in listed if label["id"] not in self.lacks]})


@asynccontextmanager
async def labelled(
    servers: Servers, stage: OpenStage, answers: AlteredLabels, **options: Any
) -> AsyncIterator[tuple[Stage, str]]:
    """Open a stage on which all messages have a label of the user; yield it and the label."""
    async with proxied(servers.sandbox, answers.answer) as url, stage(messages=20, api_url=url, **options) as s:
        label = await s.at_provider.create_label("Invoices")
        for id_ in await s.at_provider.visible():
            await s.at_provider.relabel(id_, add=(label,))
        await s.sync(count=None)
        yield s, label


async def names(s: Stage) -> list[str]:
    """Return the names of the user's own labels."""
    return [known.label.name for known in await s.messages.labels(await s.mailbox()) if known.label.type == "user"]


async def until_named(s: Stage, *wanted: str) -> None:
    """Wait until these are the user's labels."""

    async def are_named() -> bool:
        return {*wanted} <= {*await names(s)}

    await eventually(are_named)


class TestMissingLabels:
    @pytest.mark.parametrize("kind", ["error", "html_503"])
    async def test_with_a_missing_route_stay(self, servers: Servers, stage: OpenStage, kind: str) -> None:
        async with labelled(servers, stage, AlteredLabels()) as (s, _):
            await s.at_provider.fail({"method": "gmail.labels.list", "kind": kind, "status": 404})
            for _ in range(2):
                assert (await s.sync(count=None)).sync.state is SyncState.COMPLETED
            assert "Invoices" in await names(s)
            assert await s.stored() == await s.at_provider.truth()

    async def test_missing_in_one_answer_stay(self, servers: Servers, stage: OpenStage) -> None:
        answers = AlteredLabels()
        async with labelled(servers, stage, answers, intervals=Intervals(listing_lag=0)) as (s, label):
            answers.lacks = {label}
            # The second answer is of the same moment.
            for _ in range(2):
                await s.sync(count=None)
            answers.lacks = set()
            await s.sync(count=None)
            assert "Invoices" in await names(s)
            assert await s.fetchval("SELECT bool_and(missing_since IS NULL) FROM labels")
            assert await s.stored() == await s.at_provider.truth()

    async def test_missing_in_empty_answers_stay(self, servers: Servers, stage: OpenStage) -> None:
        answers = AlteredLabels()
        async with labelled(servers, stage, answers) as (s, _):
            answers.is_empty = True
            for _ in range(3):
                await s.sync(count=None)
            assert "Invoices" in await names(s)
            assert await s.stored() == await s.at_provider.truth()

    async def test_missing_in_two_answers_apart_are_removed(self, servers: Servers, stage: OpenStage) -> None:
        async with labelled(servers, stage, AlteredLabels(), intervals=APART, poll_seconds=0.2) as (s, label):
            feed = ChangeFeed(s.pool, stop=asyncio.Event())
            since = (await feed.page(await s.mailbox(), since=None, page_size=0, wait_seconds=0)).position
            await s.at_provider.control("DELETE", f"labels/{label}")
            await s.sync(count=None)
            assert await s.fetchval("SELECT missing_since IS NOT NULL FROM labels WHERE label_id = $1", label)

            async def is_gone() -> bool:
                return not await s.fetchval("SELECT EXISTS (SELECT FROM labels WHERE label_id = $1)", label)

            await eventually(is_gone)
            assert await s.stored() == await s.at_provider.truth()
            page = await feed.page(await s.mailbox(), since=since, page_size=0, wait_seconds=0)
            assert [change.kind for change in page.changes if change.label_id == label] == [ChangeKind.LABEL_DELETED]
            assert len([change for change in page.changes if change.message_id is not None]) == len(
                await s.at_provider.visible()
            )

    async def test_that_return_are_verified(self, servers: Servers, stage: OpenStage) -> None:
        async with labelled(servers, stage, AlteredLabels()) as (s, label):
            # Both answers were wrong, and one message has already lost the label.
            await s.pool.execute(
                "UPDATE labels SET removed_at = now(), missing_since = now() WHERE label_id = $1", label
            )
            await s.pool.execute(
                "UPDATE messages SET label_ids = array_remove(label_ids, $1) "
                "WHERE message_id = (SELECT min(message_id) FROM messages)",
                label,
            )
            await s.sync(count=None)

            async def is_verified() -> bool:
                return bool(await s.fetchval("SELECT EXISTS (SELECT FROM syncs WHERE verification = 'done')"))

            await eventually(is_verified)
            await s.mirrors()


class TestRenamedLabels:
    async def test_are_copied_when_a_mailbox_becomes_quiet(self, stage: OpenStage) -> None:
        async with stage(messages=4, intervals=Intervals(listing_lag=0, labels_pause=0)) as s:
            label = await s.at_provider.create_label("Old")
            await s.sync(count=None)
            await s.at_provider.control("PATCH", f"labels/{label}", {"name": "New"})
            await s.at_provider.deliver()
            await s.hint()
            await until_named(s, "New")

    async def test_are_copied_without_other_changes(self, stage: OpenStage) -> None:
        async with stage(messages=4, poll_seconds=0.2, intervals=OFTEN) as s:
            label = await s.at_provider.create_label("Old")
            await s.sync(count=None)
            await s.at_provider.control("PATCH", f"labels/{label}", {"name": "New"})
            await s.at_provider.create_label("Created")
            await until_named(s, "New", "Created")

    async def test_are_not_listed_again_within_the_pause(self, stage: OpenStage) -> None:
        async with stage(messages=4) as s:
            await s.sync(count=None)
            looks = await s.at_provider.calls("gmail.labels.list")
            for _ in range(3):
                await s.at_provider.deliver()
                await s.hint()
                await s.until_idle()
                await s.until_released()
            assert await s.at_provider.calls("gmail.labels.list") == looks

    async def test_that_cannot_be_listed_delay_no_mail(self, stage: OpenStage) -> None:
        async with stage(messages=4, intervals=OFTEN) as s:
            await s.sync(count=None)
            await s.at_provider.fail({"method": "gmail.labels.list", "kind": "html_503"})
            new = await s.at_provider.deliver()
            await s.hint()
            await s.until_stored(new)
            await s.until_released()
            assert await s.fetchval("SELECT attempts = 0 FROM mailbox_schedule")


class TestLabelsThatAreNotListed:
    @staticmethod
    async def known(s: Stage) -> set[str]:
        """Return the stored labels."""
        return {row["label_id"] for row in await s.pool.fetch("SELECT label_id FROM labels")}

    async def test_are_the_built_in_ones(self, stage: OpenStage) -> None:
        async with stage(workers=0) as s:
            await s.request(count=None)
            await label_copy.refresh(await begin_turn(s, ScriptedHistory(labels=lambda: None)))
            assert await self.known(s) == {label.label_id for label in SYSTEM_LABELS}

    async def test_any_more_stay(self, stage: OpenStage) -> None:
        async with stage(workers=0) as s:
            await s.request(count=None)
            listed: list[Label] | None = [Label(label_id="L", name="Later", type="user")]
            turn = await begin_turn(s, ScriptedHistory(labels=lambda: listed))
            await label_copy.refresh(turn)
            listed = None
            for _ in range(2):
                await label_copy.refresh(turn)
            assert await self.known(s) == {"L"}


class TestTakingOff:
    async def test_continues_in_short_transactions(self, stage: OpenStage) -> None:
        async with stage(messages=0, workers=0) as s:
            await s.request(count=None)
            mailbox_id = (await s.mailbox()).mailbox_id
            await s.pool.execute(
                """
                INSERT INTO messages (mailbox_id, external_id, thread_id, version, received_at, to_addresses,
                    cc_addresses, snippet, label_ids, has_attachments, size)
                SELECT $1, n, n, 1, now(), '[]', '[]', '', '{INBOX,L}', false, 0 FROM generate_series(1, 2500) n
                """,
                mailbox_id,
            )
            listed: list[Label] = [*SYSTEM_LABELS, Label(label_id="L", name="Later", type="user")]
            turn = await begin_turn(s, ScriptedHistory(labels=lambda: listed))
            await label_copy.refresh(turn)
            listed = [*SYSTEM_LABELS]
            for _ in range(2):
                await label_copy.refresh(turn)
            # No message has lost the label yet: the answer is recorded in a short transaction, too.
            assert await s.fetchval(_CARRYING) == 2500
            assert await names(s) == []
            async with turn.reading() as connection:
                state = await sync_state.load(connection, mailbox_id)
            async with turn.writing() as connection:
                assert await labels.take_off_some(connection, mailbox_id, limit=700)
            assert await s.fetchval(_CARRYING) == 1800
            while await label_copy.keep(turn, state):
                pass
            assert await s.fetchval(_CARRYING) == 0
            # Each transaction changed a thousand messages at most.
            most = "SELECT max(n) FROM (SELECT count(*) AS n FROM messages GROUP BY xmin) t"
            assert await s.fetchval(most) == 1000
            assert not await s.fetchval("SELECT EXISTS (SELECT FROM labels WHERE label_id = 'L')")


class TestRequestedSyncs:
    async def test_that_join_an_active_one_show_new_labels(self, stage: OpenStage) -> None:
        async with stage(messages=30, batch=False) as s:
            await s.at_provider.fail({"method": "gmail.messages.get", "kind": "slow", "seconds": 0.3})
            await s.request(count=None)
            await s.until_stored_some(1)
            await s.at_provider.create_label("New")
            await s.sync(count=None)
            assert "New" in await names(s)
