"""Real workers copy a mailbox at the sandbox's IMAP servers until the copy equals the true log."""

import pytest

from services.mail.model import SyncState
from services.sandbox.imap.profiles import PROFILES as PROFILE_NAMES
from tests.support.imap.mailbox_stage import open_imap_stage
from tests.support.mail.servers import Servers

PROFILES = ["yandex", "modern"]


@pytest.mark.parametrize("profile", PROFILES)
class TestSync:
    async def test_copies_the_whole_mailbox(self, servers: Servers, profile: str) -> None:
        async with open_imap_stage(servers, profile, messages=30) as stage:
            report = await stage.sync(count=None)
            assert report.sync.state is SyncState.COMPLETED
            await stage.equals()
            assert report.dead_letter_count == 0

    async def test_looks_at_the_folders_once(self, servers: Servers, profile: str) -> None:
        async with open_imap_stage(servers, profile, messages=10, page_size=4) as stage:
            await stage.sync(count=None)
            calls = (await stage.imap.control("GET", "calls"))["methods"]
            assert calls["imap.list"]["calls"] == 1

    async def test_goes_on_with_a_pass_that_takes_many_calls(self, servers: Servers, profile: str) -> None:
        async with open_imap_stage(servers, profile, messages=10, step_seconds=0.0) as stage:
            await stage.sync(count=None)
            await stage.equals()
            await stage.imap.deliver(subject="new")
            await stage.equals()
            for _ in range(3):
                await stage.hint()
                await stage.until_idle()
            assert stage.workers[0].count("sync_turns_total", outcome="provider_unavailable") == 0
            assert stage.workers[0].count("sync_turns_total", outcome="done") > 0

    async def test_copies_the_newest_of_all_folders(self, servers: Servers, profile: str) -> None:
        async with open_imap_stage(servers, profile, messages=30) as stage:
            await stage.sync(count=7)
            truth = await stage.true_mail()
            hidden = {PROFILE_NAMES[profile].folder_names[role] for role in ("SPAM", "TRASH")}
            newest = [id_ for id_, message in truth.items() if not message.labels & hidden][:7]
            copy = await stage.copied_mail()
            assert {id_: message.labels for id_, message in copy.items()} == {id_: truth[id_].labels for id_ in newest}
            assert copy == {id_: truth[id_] for id_ in newest}

    async def test_follows_changes_and_keeps_ids_of_moved_messages(self, servers: Servers, profile: str) -> None:
        async with open_imap_stage(servers, profile, messages=10) as stage:
            await stage.sync(count=None)
            await stage.equals()
            work = await stage.create_folder("Работа & co")
            moved = await stage.imap.deliver(subject="moved later", text="one")
            read = await stage.imap.deliver(subject="read later", text="two")
            gone = await stage.imap.deliver(subject="deleted later", text="three")
            await stage.equals()
            before = {message.external_id: message.message_id for message in await stage.listed()}
            await stage.imap.relabel(moved, add=[work, "STARRED"], remove=["INBOX"])
            await stage.imap.relabel(read, remove=["UNREAD"])
            await stage.imap.control("DELETE", f"users/ada@example.com/messages/{gone}")
            await stage.equals()
            after = {message.external_id: message.message_id for message in await stage.listed()}
            assert after.items() <= before.items()
            assert len(before) - len(after) == 1
            [found] = [message for message in await stage.listed() if message.subject == "moved later"]
            assert (list(found.labels), found.is_read) == (["Работа & co"], False)
