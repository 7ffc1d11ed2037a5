"""A mailbox with 3,000 folders: each pass asks for their numbers, and looks only at those that may have changed."""

from typing import Any

import pytest

from services.mail.model import SyncState
from tests.support.imap.mailbox_stage import ImapStage, open_imap_stage
from tests.support.mail.servers import Servers

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

FOLDERS = 3_000
WITH_MAIL = 20


async def calls(stage: ImapStage) -> dict[str, int]:
    """Return how often each command was sent since the last time."""
    report: dict[str, Any] = await stage.imap.control("GET", "calls")
    await stage.imap.control("DELETE", "calls")
    return {name: counted["calls"] for name, counted in report["methods"].items() if name.startswith("imap.")}


# The modern stand-in numbers changes of all folders together, so that each of them would look changed.
async def test_are_copied_and_then_cost_their_numbers_only(servers: Servers) -> None:
    async with open_imap_stage(servers, "yandex") as stage:
        folders = [await stage.create_folder(f"Folder {number}") for number in range(FOLDERS)]
        for folder in folders[:: FOLDERS // WITH_MAIL]:
            await stage.imap.deliver(subject=f"in {folder}", labels=[folder, "UNREAD"])
        report = await stage.sync(count=None, within=400)
        assert report.sync.state is SyncState.COMPLETED
        await stage.equals(within=300)
        assert len(await stage.messages.labels(await stage.mailbox())) > FOLDERS
        await calls(stage)
        await stage.imap.deliver(subject="new", labels=[folders[FOLDERS // 2], "UNREAD"])
        await stage.hint()
        await stage.until_idle(within=120)
        said = await calls(stage)
        assert "new" in {message.subject for message in await stage.listed()}
        assert said["imap.status"] < 2 * FOLDERS
        assert said["imap.examine"] < 4 * WITH_MAIL
        assert stage.workers[0].count("sync_turns_total", outcome="turn_timeout") == 0
