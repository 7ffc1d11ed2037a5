"""What a session with a mailbox records is fenced by the lease of its turn."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

from structlog.testing import capture_logs

from services.mail.model import HistoryDelta, Mailbox
from services.mail.providers.base import HistoryPage, Tokens, Writing
from services.mail.providers.folder_history.model import Record, RecordKind
from services.mail.providers.gmail.session import GmailSession
from services.mail.store.folder_history import passes
from tests.mail.conftest import OpenStage
from tests.support.mail.scripted_history import ScriptedHistory, page
from tests.support.mail.stage import Stage
from tests.support.mail.turns import claim, turn_runner

TAKE_OVER = "UPDATE mailbox_schedule SET lease_owner = $1, lease_epoch = lease_epoch + 1"


class RecordingSession(GmailSession):
    """A session that records a new message before it answers; another worker takes the mailbox over before that."""

    def __init__(self, provider: "RecordingProvider", mailbox: Mailbox, tokens: Tokens, writing: Writing) -> None:
        super().__init__(provider, tokens)
        self._provider, self._mailbox, self._writing = provider, mailbox, writing

    async def list_changes(self, *, cursor: int, page_token: str | None) -> HistoryPage:
        """Record, then answer."""
        if self._provider.is_taken_over:
            await self._provider.stage.pool.execute(TAKE_OVER, uuid4())
        async with self._writing() as connection:
            record = Record(external_id="m1", kind=RecordKind.ADDED)
            await passes.begin(connection, self._mailbox.mailbox_id)
            await passes.append(connection, self._mailbox.mailbox_id, [record])
        return await super().list_changes(cursor=cursor, page_token=page_token)

    async def list_send_as(self) -> None:
        """List no addresses."""


class RecordingProvider(ScriptedHistory):
    """A provider of such sessions."""

    def __init__(self, stage: Stage, *, is_taken_over: bool) -> None:
        super().__init__(page(HistoryDelta(), last_record=10))
        self.stage = stage
        self.is_taken_over = is_taken_over

    @asynccontextmanager
    async def open(self, mailbox: Mailbox, tokens: Tokens, *, writing: Writing | None) -> AsyncIterator[GmailSession]:
        """Yield a session of a turn."""
        assert writing is not None
        yield RecordingSession(self, mailbox, tokens, writing)


async def records_after_a_turn(s: Stage, *, is_taken_over: bool) -> int:
    """Run a turn that reads history; return how many records are stored then."""
    await s.sync_with_worker()
    await s.hint()
    await turn_runner(s, RecordingProvider(s, is_taken_over=is_taken_over)).run(await claim(s.pool))
    return int(await s.fetchval("SELECT count(*) FROM folder_records"))


async def test_of_a_turn_are_saved(stage: OpenStage) -> None:
    async with stage(workers=0) as s:
        assert await records_after_a_turn(s, is_taken_over=False) == 1


async def test_after_a_takeover_are_not(stage: OpenStage) -> None:
    async with stage(workers=0) as s:
        with capture_logs() as logs:
            assert await records_after_a_turn(s, is_taken_over=True) == 0
        assert "lease lost, another worker goes on" in [entry["event"] for entry in logs]
