"""A sync from request to end, as its user sees it."""

from services.mail.model import SyncState
from tests.mail.conftest import OpenStage


class TestSync:
    async def test_stores_the_newest_messages(self, stage: OpenStage) -> None:
        async with stage(messages=30) as s:
            report = await s.sync(count=10)
            assert report.sync.state is SyncState.COMPLETED
            assert list(await s.stored()) == (await s.at_provider.visible())[:10]

    async def test_stores_everything_with_spam_and_trash(self, stage: OpenStage) -> None:
        async with stage(messages=120) as s:
            report = await s.sync(count=None)
            assert report.sync.state is SyncState.COMPLETED
            assert await s.stored() == await s.at_provider.truth()
