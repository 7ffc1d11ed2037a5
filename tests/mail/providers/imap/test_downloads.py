"""Messages and attachments on demand over IMAP."""

from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path

import pytest

from services.kit.errors import AppError
from tests.support.imap.mailbox_stage import open_imap_stage
from tests.support.mail.servers import Servers

FILE = b"a file\x00of bytes" * 100_000


def with_attachment() -> bytes:
    """Return a message with a text and a file, 2.6 MB."""
    message = EmailMessage()
    message["From"], message["Subject"] = "bob@example.net", "with a file"
    message.set_content("see below")
    message.add_attachment(FILE, maintype="application", subtype="octet-stream", filename="data.bin")
    return message.as_bytes(policy=SMTP)


@pytest.mark.parametrize("profile", ["yandex", "modern"])
class TestDownloads:
    async def test_give_the_bytes_of_message_and_attachment(
        self, servers: Servers, profile: str, tmp_path: Path
    ) -> None:
        async with open_imap_stage(servers, profile) as stage:
            message_id = await stage.imap.import_message(with_attachment())
            await stage.sync(count=None)
            raw = await stage.imap.raw(message_id)
            detail = await stage.detail(stage.id_of(message_id, raw))
            [attachment] = detail.attachments
            async with stage.downloads(tmp_path) as downloads:
                assert await downloads.raw(detail) == raw
                assert await downloads.attachment(detail, attachment.part_id) == FILE
            assert attachment.filename == "data.bin"
            # The worker's connection, and one for both downloads.
            assert (await stage.imap.account())["most_connections"] == 2

    async def test_give_the_bytes_of_a_server_that_tells_them_twice(
        self, servers: Servers, profile: str, tmp_path: Path
    ) -> None:
        async with open_imap_stage(servers, profile) as stage:
            message_id = await stage.imap.import_message(with_attachment())
            await stage.sync(count=None)
            await stage.imap.plan(method="imap.fetch", kind="duplicate_uids")
            raw = await stage.imap.raw(message_id)
            detail = await stage.detail(stage.id_of(message_id, raw))
            async with stage.downloads(tmp_path) as downloads:
                assert await downloads.raw(detail) == raw
                assert await downloads.attachment(detail, detail.attachments[0].part_id) == FILE

    async def test_of_a_moved_message_waits_for_the_next_pass(
        self, servers: Servers, profile: str, tmp_path: Path
    ) -> None:
        async with open_imap_stage(servers, profile, idles=False) as stage:
            message_id = await stage.imap.deliver(subject="moved")
            await stage.sync(count=None)
            raw = await stage.imap.raw(message_id)
            detail = await stage.detail(stage.id_of(message_id, raw))
            await stage.imap.relabel(message_id, add=["TRASH"], remove=["INBOX"])
            async with stage.downloads(tmp_path) as downloads:
                with pytest.raises(AppError, match="later"):
                    await downloads.raw(detail)
                await stage.equals()
                assert await downloads.raw(detail) == raw
