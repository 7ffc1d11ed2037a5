"""pyright, in its strict mode, accepts the Python client, and finds wrong uses of it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.peers.installation import FOLDER, ROOT
from tests.support.peers.skips import require

pytestmark = pytest.mark.peers
CLIENT = ROOT / "clients/python"
PROGRAM = """\
from collections.abc import Mapping

from mailroom_client import Mailroom, verify_webhook
from mailroom_client.events import MessageEvent


def senders(mailroom: Mailroom) -> list[str]:
    return [email.sender.email for email in mailroom.emails.list("ada@example.com") if email.sender is not None]


def subject(body: bytes, headers: Mapping[str, str]) -> str | None:
    event = verify_webhook(body, headers, "whsec_...")
    if isinstance(event, MessageEvent) and event.data.email is not None:
        return event.data.email.subject
    return None
"""


def _pyright(folder: Path) -> subprocess.CompletedProcess[str]:
    """Check the project of a folder, with the packages of this interpreter."""
    require(FOLDER / "node_modules/.installed", "the packages of npm", source="npm")
    node = require(shutil.which("node"), "Node", source="debian")
    pyright = [node, str(FOLDER / "node_modules/pyright/index.js"), "--pythonpath", sys.executable]
    return subprocess.run([*pyright, "--project", str(folder)], capture_output=True, text=True, check=False)


def test_the_client_has_no_errors() -> None:
    done = _pyright(CLIENT)
    assert (done.returncode, "0 errors" in done.stdout) == (0, True), done.stdout


def test_programs_get_its_types(tmp_path: Path) -> None:
    (tmp_path / "pyrightconfig.json").write_text('{"typeCheckingMode": "strict"}')
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    done = _pyright(tmp_path)
    assert done.returncode == 0, done.stdout
    program.write_text(PROGRAM.replace(" and event.data.email is not None", ""))
    assert '"subject" is not a known attribute of "None"' in _pyright(tmp_path).stdout
