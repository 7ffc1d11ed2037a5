"""A worker process copies messages of 50 MB over IMAP in bounded memory."""

import base64
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.imap.altering_proxy import Alter
from tests.support.imap.mailbox_stage import open_imap_stage
from tests.support.mail.auth_server import served_auth
from tests.support.mail.servers import Servers
from tests.support.mail.waiting import eventually
from tests.support.mail.worker_process import worker_process

pytestmark = pytest.mark.long

SIZE = 50_000_000
_HEAD = b"From: Ada <ada@example.com>\r\nSubject: large\r\nMessage-ID: <large@x>\r\nMIME-Version: 1.0\r\n"
_STRUCTURE = re.compile(rb"BODYSTRUCTURE \(.*\)\)")


def with_attachment() -> bytes:
    """Return a message of that size that is a file but for a line of text."""
    file = base64.encodebytes(bytes(range(256)) * 4 * (SIZE // 1_400)).replace(b"\n", b"\r\n")
    return b"".join(
        [
            _HEAD,
            b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nA line.\r\n',
            b"--b\r\nContent-Type: application/pdf; name=a.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n",
            file,
            b"\r\n--b--\r\n",
        ]
    )


def of_text() -> bytes:
    """Return a message of that size that is one text."""
    line = b"A line of the text, and no more than that, again and again.\r\n"
    return _HEAD + b"Content-Type: text/plain\r\n\r\n" + line * (SIZE // len(line))


def undescribed(line: bytes) -> bytes:
    """Answer NIL for the structures of messages: they are fetched whole."""
    return _STRUCTURE.sub(b"BODYSTRUCTURE NIL)", line)


def memory(pid: int, name: str) -> int:
    """Return a figure of a process in MB; see proc_pid_status(5)."""
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(name)]
    return int(line.split()[1]) // 1024


class TestMessageOf50Megabytes:
    @pytest.mark.parametrize(
        ("message", "alter", "bound"),
        [(with_attachment, None, 30), (of_text, None, 100), (with_attachment, undescribed, 250)],
        ids=["attachment", "text", "not described"],
    )
    async def test_takes_bounded_memory(
        self, servers: Servers, tmp_path: Path, message: Callable[[], bytes], alter: Alter | None, bound: int
    ) -> None:
        async with open_imap_stage(servers, "yandex", workers=0, alter=alter) as s:
            authority = tmp_path / "authority.pem"
            authority.write_text(s.imap.authority)
            further = {
                "YANDEX_IMAP_HOST": "localhost",
                "YANDEX_IMAP_PORT": str(s.imap.ports["yandex"]),
                "IMAP_CA_FILE": str(authority),
            }
            await s.imap.deliver(subject="small")
            async with (
                served_auth(s.accounts) as auth_address,  # type: ignore[arg-type]  # the methods that workers call
                worker_process(s, tmp_path, auth_address=auth_address, further=further) as process,
            ):
                await s.sync(count=None)
                before = memory(process.pid, "VmRSS")
                raw = message()
                await s.imap.import_message(raw)
                await s.hint()

                async def is_stored() -> bool:
                    return bool(await s.fetchval("SELECT EXISTS (SELECT FROM messages WHERE subject = 'large')"))

                await eventually(is_stored, within=120)
                grown = memory(process.pid, "VmHWM") - before
            detail = await s.detail(s.id_of("", raw))
            assert (detail.text or "").startswith("A line")
            assert grown < bound
