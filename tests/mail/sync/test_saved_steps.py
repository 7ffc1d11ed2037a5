"""What a turn saves between its calls, so that the next one does not pay for them again."""

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

import pytest
import structlog
from starlette.responses import Response

from services.mail.model import (
    CursorLoss,
    FetchItem,
    HistoryDelta,
    Label,
    Lane,
    ListedId,
    Listing,
    ProviderMessage,
    SyncProgress,
    SyncState,
    WaitReason,
)
from services.mail.provider_access.quota import Quota, QuotaWaitError
from services.mail.provider_access.settlement import Taken
from services.mail.providers.base import FetchResult, Get, HistoryPage, IdPage, PartialMessage, Profile
from services.mail.providers.errors import CursorLostError, HistoryRestartedError, ProviderUnavailableError
from services.mail.providers.limits import UNITS
from services.mail.store.sync import fetch_queue, sync_state
from services.mail.sync import fetch, history
from services.mail.sync.store_fetched import Retries, store_fetched
from services.mail.sync.turn_context import TurnContext
from tests.mail.conftest import OpenStage
from tests.support.mail.generated_mail import some_message
from tests.support.mail.proxied_gmail import ProxiedCall, proxied
from tests.support.mail.scripted_history import ScriptedHistory, page
from tests.support.mail.servers import Servers
from tests.support.mail.stage import Stage
from tests.support.mail.turns import begin_turn, claim, end_turn, turn_runner


def message() -> ProviderMessage:
    """A message."""
    return replace(some_message(1, random.Random(1)), external_id="m1")


async def state_of(turn: TurnContext) -> SyncProgress:
    """How far the copy is."""
    async with turn.reading() as connection:
        return await sync_state.load(connection, turn.mailbox_id)


async def caught_up(s: Stage) -> None:
    """A turn that gives the mailbox its first cursor."""
    await s.request(count=None)
    turn = await begin_turn(s, ScriptedHistory())
    await history.catch_up(turn, await state_of(turn))
    await end_turn(turn)


class TestLostCursor:
    @pytest.mark.parametrize("lost", [CursorLostError(), HistoryRestartedError()])
    async def test_is_asked_for_once(self, stage: OpenStage, lost: CursorLostError) -> None:
        async with stage(workers=0) as s:
            await caught_up(s)
            # Enough for history, and not for what follows from its answer.
            turn = await begin_turn(s, ScriptedHistory(lost), units=10)
            with pytest.raises(QuotaWaitError):
                await history.catch_up(turn, await state_of(turn))
            await end_turn(turn)
            provider = ScriptedHistory(present=5)
            turn = await begin_turn(s, provider)
            turn.lease = replace(turn.lease, attempts=5)
            assert await history.catch_up(turn, await state_of(turn))
            assert provider.asked == []
            state = await state_of(turn)
            assert (state.cursor, state.cursor_loss, state.listing) == (5, None, Listing.RELIST)

    @pytest.mark.parametrize(("present", "attempts"), [(10, 9), (9, 4)])
    async def test_that_was_a_lag_is_asked_for_again(self, stage: OpenStage, present: int, attempts: int) -> None:
        """A replica that lags answers both calls with its past."""
        async with stage(workers=0) as s:
            await caught_up(s)
            turn = await begin_turn(s, ScriptedHistory(HistoryRestartedError(), present=present))
            turn.lease = replace(turn.lease, attempts=attempts)
            with pytest.raises(ProviderUnavailableError, match="lags"):
                await history.catch_up(turn, await state_of(turn))
            state = await state_of(turn)
            assert (state.cursor, state.cursor_loss, state.listing) == (10, None, None)

    async def test_is_recorded_with_its_reason(self, stage: OpenStage) -> None:
        async with stage(workers=0) as s:
            await caught_up(s)
            turn = await begin_turn(s, ScriptedHistory(HistoryRestartedError()), units=10)
            with pytest.raises(QuotaWaitError):
                await history.catch_up(turn, await state_of(turn))
            assert (await state_of(turn)).cursor_loss is CursorLoss.RESTARTED


class WithoutCursor(ScriptedHistory):
    """A mailbox whose profile has no cursor, so that the newest message's version is the present."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    async def profile(self, access_token: str) -> Profile:
        """No cursor."""
        del access_token
        self.calls.append("profile")
        return Profile()

    async def list_ids(
        self,
        access_token: str,
        *,
        page_token: str | None,
        page_size: int,
        include_spam_trash: bool,
        label_id: str | None = None,
    ) -> IdPage:
        """One message."""
        del access_token, page_token, page_size, include_spam_trash, label_id
        self.calls.append("list")
        return IdPage(listed=[ListedId(external_id="m1", thread_id=None)], next_page_token=None)

    async def version(self, access_token: str, external_id: str) -> int | None:
        """The message's version."""
        del access_token, external_id
        self.calls.append("version")
        return 7


class TestPresentCursor:
    async def test_is_sought_with_the_units_of_all_its_calls_only(self, stage: OpenStage) -> None:
        provider = WithoutCursor()
        async with stage(workers=0) as s:
            await s.request(count=None)
            # The profile takes 1 unit, a page of the listing 5, a get 20.
            turn = await begin_turn(s, provider, units=25)
            with pytest.raises(QuotaWaitError):
                await history.catch_up(turn, await state_of(turn))
            assert (provider.calls, turn.calls.units_taken) == ([], 0)
            await end_turn(turn)
            turn = await begin_turn(s, provider, units=26)
            assert await history.catch_up(turn, await state_of(turn))
            assert (provider.calls, turn.calls.units_taken) == (["profile", "list", "version"], 26)
            assert (await state_of(turn)).cursor == 7


class OneMessage(ScriptedHistory):
    """A mailbox of one message, the text of which takes another 50 units; or whose labels cannot be listed."""

    def __init__(self, message: ProviderMessage, *, text_units: int = 0, has_labels: bool = True) -> None:
        super().__init__()
        self.fetches = self.completions = self.label_lists = 0
        self._message = message
        self._text_units = text_units
        self._has_labels = has_labels

    async def fetch(self, access_token: str, gets: Sequence[Get], *, singly: bool = False) -> Mapping[str, FetchResult]:
        """The message, with its text or without."""
        del access_token, gets, singly
        self.fetches += 1
        id_ = self._message.external_id
        if not self._text_units:
            return {id_: self._message}
        return {id_: PartialMessage(external_id=id_, units=self._text_units, source=None)}

    async def complete(self, access_token: str, partial: PartialMessage) -> ProviderMessage:
        """The message with its text."""
        del access_token, partial
        self.completions += 1
        return self._message

    async def list_labels(self, access_token: str) -> list[Label] | None:
        """The labels, or an outage."""
        self.label_lists += 1
        if not self._has_labels:
            raise ProviderUnavailableError
        return await super().list_labels(access_token)


async def queue(s: Stage, *, messages: int = 1) -> None:
    """Queues the messages m1, m2 and so on."""
    await caught_up(s)
    turn = await begin_turn(s, ScriptedHistory())
    listed = [ListedId(external_id=f"m{number}", thread_id=None) for number in range(1, messages + 1)]
    async with turn.writing() as connection:
        await fetch_queue.queue_listed(connection, turn.mailbox_id, listed, offset=0)
    await end_turn(turn)


class TestTextByReference:
    async def test_is_paid_for_with_its_message_after_a_get_in_vain(self, stage: OpenStage) -> None:
        provider = OneMessage(message(), text_units=50)
        async with stage(workers=0) as s:
            await queue(s)
            # A get takes 20 units, and the call that tells an outage 1.
            for units, fetches in ((40, 1), (70, 1)):
                turn = await begin_turn(s, provider, units=units)
                with pytest.raises(QuotaWaitError):
                    await fetch.fetch_batch(turn, Retries())
                await end_turn(turn)
                assert (provider.fetches, provider.completions) == (fetches, 0)
            assert await fetch.fetch_batch(await begin_turn(s, provider, units=71), Retries()) == 1
            assert (provider.fetches, provider.completions) == (2, 1)
            assert await s.fetchval("SELECT count(*) FROM messages") == 1
            assert await s.fetchval("SELECT count(*) FROM fetch_queue") == 0


class CountedQuota(Quota):
    """A quota that counts how often units are taken."""

    takes = 0

    async def take(self, identity: str, units: int, *, counts: str = UNITS, more: int = 0, live: bool = True) -> Taken:
        """Take units and count that."""
        type(self).takes += 1
        return await super().take(identity, units, counts=counts, more=more, live=live)


async def _nothing() -> None:
    pass


class ManyMessages(ScriptedHistory):
    """A mailbox that lists nothing and brings every message that is asked for. `meanwhile` runs during each fetch."""

    def __init__(self) -> None:
        super().__init__(page(HistoryDelta(), last_record=10))
        self.fetches = 0
        self.meanwhile: Callable[[], Awaitable[None]] = _nothing

    async def list_ids(self, *_: object, **__: object) -> IdPage:
        """No message."""
        return IdPage(listed=[], next_page_token=None)

    async def list_send_as(self, access_token: str) -> list[str] | None:
        """No other addresses."""
        del access_token
        return None

    async def fetch(self, access_token: str, gets: Sequence[Get], *, singly: bool = False) -> Mapping[str, FetchResult]:
        """The messages."""
        del access_token, singly
        self.fetches += 1
        await self.meanwhile()
        ids = [id_ for get in gets for id_ in get.external_ids]
        return {id_: replace(message(), external_id=id_, size=1) for id_ in ids}


class TestBatches:
    async def test_that_follow_are_paid_for_together_where_units_abound(self, stage: OpenStage) -> None:
        async with stage(workers=0) as s:
            await queue(s, messages=50)
            CountedQuota.takes = 0
            turn = await begin_turn(s, ManyMessages(), units=5000, quota_type=CountedQuota)
            sync_id = await s.fetchval("SELECT sync_id FROM syncs")
            assert await fetch.fetch_batch(turn, Retries(), sync_id=sync_id) == 50
            # One take pays for five batches, and one for the labels that they name.
            assert CountedQuota.takes == 2
            assert turn.calls.units_taken == 50 * 20 + 1
            assert turn.calls.reserved_units == 0

    async def test_follow_none_in_which_the_sync_was_cancelled(self, stage: OpenStage) -> None:
        provider = ManyMessages()
        async with stage(workers=0) as s:
            await queue(s, messages=50)
            report = await s.request(count=None)
            runner = turn_runner(s, provider)

            async def cancel() -> None:
                await s.cancel(report)
                runner.cancelled((await s.mailbox()).mailbox_id)

            provider.meanwhile = cancel
            await runner.run(await claim(s.pool))
            assert provider.fetches == 1
            assert await s.fetchval("SELECT count(*) FROM messages") == 10


class TestUnknownLabels:
    async def test_without_an_answer_keep_no_mail_waiting(self, stage: OpenStage) -> None:
        provider = OneMessage(replace(message(), label_ids=("new",)), has_labels=False)
        async with stage(workers=0) as s:
            await queue(s)
            turn = await begin_turn(s, provider)
            assert await fetch.fetch_batch(turn, Retries()) == 1
            assert await s.fetchval("SELECT count(*) FROM messages") == 1
            assert provider.label_lists == 1
            # They are asked for after a pause.
            due_in = (await state_of(turn)).labels_due_in
            assert due_in is not None
            assert 0 < due_in <= turn.intervals.labels_pause

    async def test_without_quota_keep_no_mail_waiting(self, stage: OpenStage) -> None:
        got = replace(message(), label_ids=("new",))
        provider = OneMessage(got)
        item = FetchItem(external_id="m1", thread_id=None, siblings=(), lane=Lane.BACKFILL)
        async with stage(workers=0) as s:
            await queue(s)
            await s.pool.execute("UPDATE sync_states SET labels_due_at = now() + interval '1 h'")
            turn = await begin_turn(s, provider, units=20)
            await turn.calls.take(20)
            await store_fetched(turn, [item], {"m1": got}, Retries())
            assert await s.fetchval("SELECT count(*) FROM messages") == 1
            assert provider.label_lists == 0
            due_in = (await state_of(turn)).labels_due_in
            assert due_in is not None
            assert due_in <= 0


class TestTurnsWithoutProgress:
    async def test_back_off_and_are_seen(self, stage: OpenStage) -> None:
        class NeverEnough(ScriptedHistory):
            """Spends units and then has to wait for more."""

            async def list_changes(self, access_token: str, *, cursor: int, page_token: str | None) -> HistoryPage:
                del access_token, cursor, page_token
                raise QuotaWaitError(0.2)

        provider = NeverEnough()
        async with stage(workers=0) as s:
            await caught_up(s)
            report = await s.request(count=None)
            runner = turn_runner(s, provider)
            # The first of them records that the sync runs.
            pauses, due_in = [], "SELECT extract(epoch FROM due_at - now())::float8 FROM mailbox_schedule"
            for _ in range(4):
                await s.pool.execute("UPDATE mailbox_schedule SET due_at = now()")
                with structlog.testing.capture_logs() as logs:
                    await runner.run(await claim(s.pool))
                pauses.append(await s.fetchval(due_in))
            assert [entry["reason"] for entry in logs] == ["no_progress"]
            assert pauses[1:] == pytest.approx([1, 2, 4], abs=0.5)
            wait = (await s.report(report)).wait
            assert wait is not None
            assert (wait.reason, wait.last_error) == (WaitReason.QUOTA, "no_progress")


class TestStoredPageTokens:
    async def test_that_are_refused_without_a_reason_are_given_up(self, servers: Servers, stage: OpenStage) -> None:
        refused: list[str] = []

        async def refuse_the_first(call: ProxiedCall) -> Response | None:
            token = call.request.query_params.get("pageToken")
            if token is None or token not in (refused or [token]):
                return None
            refused.append(token)
            return Response("<html>Bad Request</html>", 400, media_type="text/html")

        async with (
            proxied(servers.sandbox, refuse_the_first) as url,
            stage(messages=30, page_size=10, api_url=url) as s,
        ):
            with structlog.testing.capture_logs() as logs:
                report = await s.sync(count=None)
            assert report.sync.state is SyncState.COMPLETED
            # Eight times in a row; a turn that ends in order counts anew.
            assert 8 <= len(refused) <= 14
            assert [entry["event"] for entry in logs].count("a page token may have expired, listing from the top") == 1
            # The proxy's answers cost nothing at the sandbox.
            await s.mirrors(exactly_paid=False)
