"""lieer (https://github.com/gauteh/lieer): a mailbox copied from a sandbox into a maildir and a notmuch database."""

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.sandbox.generate.phrases import USER_LABELS
from services.sandbox.settings import DEV_CLIENT_ID, DEV_CLIENT_SECRET
from tests.support.peers.installation import FOLDER, VENV
from tests.support.peers.skips import require

_SECONDS = 120
_TAGS = {
    **{name: name.lower() for name in ("INBOX", "SPAM", "TRASH", "UNREAD", "IMPORTANT", "SENT", "DRAFT")},
    **{f"Label_{number}": name for number, name in enumerate(USER_LABELS, start=1)},
    "STARRED": "flagged",
}
"""lieer's tags by label id; it leaves categories out."""
_TAGS_OF_NOTMUCH = frozenset({"attachment", "signed", "encrypted"})
"""Tags that notmuch sets by itself, and lieer ignores."""
_NOTMUCH_CONFIG = """
[database]
path={path}
[user]
name=Ada
primary_email={email}
[new]
tags=
ignore=/.*[.](json|lock)$/
[maildir]
synchronize_flags=false
"""


@dataclass(frozen=True, slots=True)
class Copy:
    """A copied message: SHA-256 of its bytes with LF as line end, as lieer stores them, and its tags."""

    sha256: str
    tags: frozenset[str]


def expected_copy(raw: bytes, labels: frozenset[str]) -> Copy:
    """Return what lieer makes of a message at the provider."""
    tags = frozenset(_TAGS[label] for label in labels if not label.startswith("CATEGORY_"))
    return Copy(_digest(raw), tags)


class Lieer:
    """One user's copy below `directory`."""

    def __init__(self, directory: Path, *, sandbox_url: str, email: str) -> None:
        self._python = require(VENV / "bin/gmi", "lieer", source="pypi").removesuffix("gmi") + "python"
        self._notmuch = require(shutil.which("notmuch"), "notmuch", source="debian")
        self._directory = directory
        self._email = email
        config = directory / "notmuch-config"
        config.write_text(_NOTMUCH_CONFIG.format(path=directory, email=email))
        consent = shlex.join([sys.executable, str(FOLDER / "lieer/consent.py"), email])
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(directory),
            "BROWSER": f"{consent} %s &",
            "NOTMUCH_CONFIG": str(config),
            "NO_PROXY": "127.0.0.1,localhost",
            "OAUTHLIB_INSECURE_TRANSPORT": "1",
            "SANDBOX_URL": sandbox_url,
        }
        self._write_client(sandbox_url)

    def init(self) -> str:
        """Make the databases and sign in. Returns the output."""
        self.notmuch("new", "--quiet")
        return self.gmi("init", "--credentials", "client.json", self._email)

    def gmi(self, *arguments: str) -> str:
        """Run a command of lieer. Returns the output."""
        return self._run(self._python, str(FOLDER / "lieer/gmi.py"), *arguments, "--no-progress")

    def notmuch(self, *arguments: str) -> str:
        """Run a command of notmuch. Returns the output."""
        return self._run(self._notmuch, *arguments)

    def message_id(self, external_id: str) -> str:
        """Return notmuch's query for a message of the provider."""
        [found] = [shown["id"] for shown in self._shown() if external_id in _external_ids(shown)]
        return f"id:{found}"

    def copies(self) -> dict[str, Copy]:
        """Return the copied messages by the provider's id."""
        return {
            external_id: Copy(_digest(Path(path).read_bytes()), frozenset(shown["tags"]) - _TAGS_OF_NOTMUCH)
            for shown in self._shown()
            for external_id, path in _external_ids(shown).items()
        }

    def _shown(self) -> list[dict[str, Any]]:
        found = self.notmuch("show", "--format=json", "--body=false", "--exclude=false", "--entire-thread=false", "*")
        return list(_messages(json.loads(found)))

    def _write_client(self, sandbox_url: str) -> None:
        client = {
            "client_id": DEV_CLIENT_ID,
            "client_secret": DEV_CLIENT_SECRET,
            "auth_uri": f"{sandbox_url}/o/oauth2/v2/auth",
            "token_uri": f"{sandbox_url}/token",
            "redirect_uris": ["http://localhost"],
        }
        (self._directory / "client.json").write_text(json.dumps({"installed": client}))

    def _run(self, *command: str) -> str:
        done = subprocess.run(
            command,
            cwd=self._directory,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
        )
        assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout}{done.stderr}"
        return done.stdout


def _messages(shown: Any) -> Iterator[dict[str, Any]]:
    """Yield the messages in notmuch's nested lists (its devel/schemata)."""
    if isinstance(shown, dict):
        yield shown
    elif isinstance(shown, list):
        for inner in shown:
            yield from _messages(inner)


def _external_ids(shown: dict[str, Any]) -> dict[str, str]:
    """Return the files of a message by the provider's ids, which are the beginnings of their names."""
    return {Path(path).name.partition(":")[0]: path for path in shown["filename"]}


def _digest(raw: bytes) -> str:
    return hashlib.sha256(raw.replace(b"\r\n", b"\n")).hexdigest()
