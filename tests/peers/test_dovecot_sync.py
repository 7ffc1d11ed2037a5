"""A real worker copies a mailbox at Dovecot while its administrator changes it, until the copy equals the server."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support.mail.servers import Servers
from tests.support.peers.dovecot import YANDEX_LIKE, Dovecot, running_dovecot
from tests.support.peers.dovecot_stage import DovecotStage, open_dovecot_stage

pytestmark = pytest.mark.peers


@pytest.fixture(scope="module", params=["full", "like Yandex"])
def dovecot(request: pytest.FixtureRequest) -> Iterator[Dovecot]:
    is_full = request.param == "full"
    with running_dovecot(capability="" if is_full else YANDEX_LIKE, separator="/" if is_full else "|") as server:
        yield server


@pytest.fixture
async def stage(servers: Servers, dovecot: Dovecot, request: pytest.FixtureRequest) -> AsyncIterator[DovecotStage]:
    async with open_dovecot_stage(servers, dovecot, f"{abs(hash(request.node.nodeid)):x}@example.com") as stage:
        await stage.deliver("INBOX", *(f"in {number}" for number in range(12)))
        await stage.deliver("Work", *(f"work {number}" for number in range(6)))
        await stage.sync(count=None)
        await stage.equals()
        yield stage


class TestSync:
    async def test_follows_new_mail_marks_moves_and_deletions(self, stage: DovecotStage) -> None:
        before = await stage.message_ids()
        await stage.deliver("INBOX", "new")
        await stage.change("flags", "add", "\\Seen \\Flagged", "mailbox", "INBOX", "uid", "1:3")
        await stage.change("move", "Work", "mailbox", "INBOX", "uid", "2:4")
        await stage.change("copy", "Work", "mailbox", "INBOX", "uid", "5")
        await stage.change("expunge", "mailbox", "INBOX", "uid", "6")
        await stage.change("expunge", "mailbox", "Work", "uid", "1")
        await stage.equals()
        after = await stage.message_ids()
        assert len(after) == len(before) - 1
        assert after.items() - before.items() == {each for each in after.items() if each[0] not in before}
        await stage.change("flags", "remove", "\\Seen", "mailbox", "INBOX", "uid", "1")
        await stage.equals()

    async def test_follows_renamed_folders_and_new_numbers(self, stage: DovecotStage) -> None:
        before = await stage.message_ids()
        await stage.change("mailbox", "rename", "Work", "Play")
        await stage.deliver("Play", "after the rename")
        await stage.equals()
        await stage.change("mailbox", "update", "--uid-validity", "77", "INBOX")
        await stage.deliver("INBOX", "after the reset")
        await stage.equals()
        after = await stage.message_ids()
        assert before.items() <= after.items()
        assert len(after) == len(before) + 2

    async def test_survives_connections_that_are_cut(self, stage: DovecotStage) -> None:
        before = await stage.message_ids()
        for number in range(3):
            await stage.cut_connections()
            await stage.deliver("Work", f"after cut {number}")
            await stage.change("move", "INBOX", "mailbox", "Work", "uid", str(number + 1))
        await stage.equals()
        assert before.items() <= (await stage.message_ids()).items()
