"""A mailbox whose history is made from folders at a fake provider."""

import pytest

from tests.support.folder_history.fake_folders import FakeFolders
from tests.support.folder_history.observed_history import ObservedHistory
from tests.support.mail.servers import Servers
from tests.support.mail.stored import add_mailbox


@pytest.fixture
def provider() -> FakeFolders:
    """Return a provider with an inbox."""
    return FakeFolders()


@pytest.fixture
async def observed(servers: Servers, provider: FakeFolders) -> ObservedHistory:
    """Return the history of a new mailbox."""
    async with servers.pool.acquire() as connection:
        mailbox = await add_mailbox(connection)
    return ObservedHistory(servers.pool, mailbox.mailbox_id, provider)
