"""Downloads as gRPC streams: ranges, entity tags and chunks."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import pytest
from mailroom.mail.v1 import mail_pb2

from services.mail.downloads.fetch import Download, Downloads
from services.mail.model import Mailbox, MailboxStatus
from services.mail.providers.base import DownloadSession, Write
from services.mail.rpc.downloads import attachment_id_of, part_id_of, stream_parts

DATA = bytes(range(256)) * 3000


async def _never(_: DownloadSession, __: Write) -> None:
    raise AssertionError("nothing is fetched here")


DOWNLOAD = Download(
    key="k",
    mailbox=Mailbox(
        mailbox_id=1, account_id=uuid4(), user_id=uuid4(), provider="google", email="", status=MailboxStatus.ACTIVE
    ),
    filename="a.bin",
    mime_type="image/png",
    units=20,
    copy=_never,
)


@dataclass
class OpenFile:
    """Opens the same file for every download."""

    path: Path
    opened: int = 0

    async def open(self, _: Download) -> int:
        self.opened += 1
        return os.open(self.path, os.O_RDONLY)


@pytest.fixture
def file(tmp_path: Path) -> OpenFile:
    (tmp_path / "k").write_bytes(DATA)
    return OpenFile(tmp_path / "k")


async def read(file: OpenFile, **condition: Any) -> tuple[mail_pb2.DownloadHeader, bytes]:
    """Return the header and all data of a download."""
    parts = [
        part async for part in stream_parts(cast("Downloads", file), DOWNLOAD, mail_pb2.DownloadCondition(**condition))
    ]
    header, *data = parts
    assert isinstance(header, mail_pb2.DownloadHeader)
    return header, b"".join(part for part in data if isinstance(part, bytes))


class TestDownload:
    async def test_streams_all_bytes_in_chunks(self, file: OpenFile) -> None:
        header, data = await read(file)
        assert (data, header.total_size, header.offset, header.length) == (DATA, len(DATA), 0, len(DATA))
        assert (header.filename, header.mime_type, header.ranged) == ("a.bin", "image/png", False)

    @pytest.mark.parametrize(
        ("condition", "expected"),
        [
            ({"first": 0, "last": 0}, DATA[:1]),
            ({"first": 5, "last": 300_000}, DATA[5:300_001]),
            ({"first": 300_000}, DATA[300_000:]),
            ({"first": len(DATA) - 1, "last": 10**18}, DATA[-1:]),
            ({"last": 10}, DATA[-10:]),
            ({"last": 10**18}, DATA),
            ({"first": 1, "last": 2, "range_etag": DOWNLOAD.etag}, DATA[1:3]),
        ],
    )
    async def test_streams_the_requested_range(
        self, file: OpenFile, condition: dict[str, Any], expected: bytes
    ) -> None:
        header, data = await read(file, **condition)
        assert (data == expected, header.length, header.ranged) == (True, len(expected), True)
        assert DATA[header.offset : header.offset + header.length] == expected

    @pytest.mark.parametrize("condition", [{"first": len(DATA)}, {"last": 0}, {"first": 10**18, "last": 10**18}])
    async def test_outside_the_content_streams_nothing(self, file: OpenFile, condition: dict[str, Any]) -> None:
        header, data = await read(file, **condition)
        assert (header.out_of_range, header.total_size, data) == (True, len(DATA), b"")

    @pytest.mark.parametrize(
        "validator",
        ["other", f'W/"{DOWNLOAD.etag}"', f'"{DOWNLOAD.etag}"', '""', "Tue, 03 Mar 2026 10:00:00 GMT"],
        # Each process has its own etag.
        ids=["other", "weak", "quoted", "empty", "date"],
    )
    async def test_of_a_range_of_another_content_streams_all(self, file: OpenFile, validator: str) -> None:
        header, data = await read(file, first=1, last=2, range_etag=validator)
        assert (len(data), header.ranged) == (len(DATA), False)

    @pytest.mark.parametrize("known", [DOWNLOAD.etag, "*"], ids=["etag", "any"])
    async def test_of_a_known_etag_fetches_nothing(self, file: OpenFile, known: str) -> None:
        header, data = await read(file, known_etags=["x", known])
        assert (header.unchanged, header.etag, data, file.opened) == (True, DOWNLOAD.etag, b"", 0)


class TestAttachmentId:
    @pytest.mark.parametrize("part_id", ["", "0", "0.1", "root.1"])
    def test_is_unique_and_never_empty(self, part_id: str) -> None:
        assert attachment_id_of(part_id)
        assert part_id_of(attachment_id_of(part_id)) == part_id


class TestEtag:
    def test_tells_nothing_of_numbers_that_count_all_mailboxes(self) -> None:
        digest = "a" * 64
        made = [replace(DOWNLOAD, key=f"{mailbox}-{message}-{digest}") for mailbox in (1, 2) for message in (1, 2)]
        assert len({download.etag for download in made}) == 1

    def test_is_another_one_for_another_content_or_account(self) -> None:
        mailbox = replace(DOWNLOAD.mailbox, account_id=uuid4())
        first, second = (replace(DOWNLOAD, key=f"1-1-{letter * 64}") for letter in "ab")
        assert len({first.etag, second.etag, replace(first, mailbox=mailbox).etag}) == 3
