"""Messages that the provider denies: the first answer is a doubt, the second one decides."""

import pytest

from services.mail.model import SyncState
from services.mail.sync.store_fetched import Retries
from tests.mail.conftest import OpenStage
from tests.support.mail.proxied_gmail import ProxiedCall, proxied
from tests.support.mail.servers import Servers
from tests.support.mail.stage import Stage
from tests.support.mail.waiting import PATIENCE

GONE: dict[str, object] = {"kind": "error", "status": 404, "reason": "notFound"}
# A proxy or an outage page with the same status.
FOREIGN: dict[str, object] = {"kind": "html_503", "status": 404}
SLOW_LISTING: dict[str, object] = {"method": "gmail.messages.list", "kind": "slow", "seconds": 0.2}


async def _fetch_again(s: Stage, external_id: str, answer: dict[str, object]) -> None:
    """Have the worker fetch a stored message again; the provider gives `answer` to it."""
    await s.at_provider.fail({"method": "gmail.messages.get", "path": external_id, **answer})
    await s.pool.execute(
        "INSERT INTO fetch_queue (mailbox_id, external_id, lane, ordinal) "
        "SELECT mailbox_id, external_id, 0, 0 FROM messages WHERE external_id = $1",
        external_id,
    )
    await s.hint()
    await s.until_idle()
    assert any(await s.at_provider.fired())


@pytest.mark.parametrize("batch", [True, False])
class TestNewMessages:
    @pytest.mark.parametrize("answer", [GONE, FOREIGN])
    async def test_denied_once_are_stored(self, stage: OpenStage, answer: dict[str, object], *, batch: bool) -> None:
        async with stage(messages=5, batch=batch) as s:
            await s.sync(count=None)
            await s.at_provider.fail({"method": "gmail.messages.get", "count": 1, **answer})
            await s.at_provider.deliver()
            await s.hint()
            await s.mirrors(exactly_paid=False)
            assert await s.at_provider.fired() == [1]

    async def test_denied_twice_are_dropped(self, stage: OpenStage, *, batch: bool) -> None:
        async with stage(messages=20, batch=batch) as s:
            gone = (await s.at_provider.visible())[4]
            await s.at_provider.fail({"method": "gmail.messages.get", "path": gone, **GONE})
            report = await s.sync(count=None)
            assert (report.sync.state, report.dead_letter_count) == (SyncState.COMPLETED, 0)
            assert (await s.at_provider.truth()).keys() - (await s.stored()).keys() == {gone}
            assert (await s.at_provider.fired())[0] == 2

    async def test_denied_by_others_than_the_provider_are_dead_letters(self, stage: OpenStage, *, batch: bool) -> None:
        async with stage(messages=20, batch=batch) as s:
            denied = (await s.at_provider.visible())[4]
            await s.at_provider.fail({"method": "gmail.messages.get", "path": denied, **FOREIGN})
            report = await s.sync(count=None)
            assert [letter.external_id for letter in report.dead_letters] == [denied]


class TestStoredMessages:
    @pytest.mark.parametrize("answer", [GONE, FOREIGN])
    async def test_denied_once_stay(self, stage: OpenStage, answer: dict[str, object]) -> None:
        async with stage(messages=5) as s:
            await s.sync(count=None)
            before = await s.stored()
            await _fetch_again(s, next(iter(before)), {"count": 1, **answer})
            assert await s.stored() == before

    async def test_denied_twice_are_deleted(self, stage: OpenStage) -> None:
        async with stage(messages=5) as s:
            await s.sync(count=None)
            gone, *others = await s.stored()
            await _fetch_again(s, gone, GONE)
            assert list(await s.stored()) == others

    async def test_denied_by_others_than_the_provider_stay(self, stage: OpenStage) -> None:
        async with stage(messages=5) as s:
            await s.sync(count=None)
            before = await s.stored()
            await _fetch_again(s, next(iter(before)), FOREIGN)
            assert await s.stored() == before

    async def test_denied_once_while_everything_is_compared_stay(self, stage: OpenStage) -> None:
        async with stage(messages=5) as s:
            await s.sync(count=None)
            target = (await s.at_provider.visible())[0]
            await s.at_provider.lose_history()
            await s.at_provider.fail(SLOW_LISTING, {"method": "gmail.messages.get", "count": 1, **GONE})
            await s.hint()
            await s.until_listing("listing IN ('relist', 'relabel')")
            # Meanwhile labels are no base for changes, so this one takes a get.
            await s.at_provider.relabel(target, add=("STARRED",))
            await s.hint()
            await s.mirrors(exactly_paid=False, within=PATIENCE)
            assert (await s.at_provider.fired())[1] == 1


class TestTheSecondAnswer:
    async def test_is_to_a_call_for_this_message_alone(self, servers: Servers, stage: OpenStage) -> None:
        alone: list[str] = []

        async def answer(call: ProxiedCall) -> None:
            if "/messages/" in call.request.url.path:
                alone.append(call.request.url.path.rpartition("/")[2])

        async with proxied(servers.sandbox, answer) as url, stage(messages=20, api_url=url) as s:
            gone = [(await s.at_provider.visible())[place] for place in (3, 4)]
            await s.at_provider.fail(*({"method": "gmail.messages.get", "path": id_, **GONE} for id_ in gone))
            await s.sync(count=None)
            assert sorted(alone) == sorted(gone)
            assert (await s.at_provider.fired())[:2] == [2, 2]

    async def test_comes_after_a_pause(self, stage: OpenStage) -> None:
        async with stage(messages=5, retries=Retries(gone_seconds=60)) as s:
            gone = (await s.at_provider.visible())[2]
            await s.at_provider.fail({"method": "gmail.messages.get", "path": gone, **GONE})
            await s.request(count=None)
            await s.until_stored_some(4)
            assert await s.fetchval("SELECT not_before > now() + interval '50 s' AND doubted FROM fetch_queue")
            assert (await s.at_provider.fired())[0] == 1
