"""`mailroom listen` as a process, and the receiver to which it forwards."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from tests.support.clients.http_server import serving
from tests.support.e2e.people import Person
from tests.support.e2e.running_stack import RunningStack


@dataclass
class LocalReceiver:
    """Keeps body and headers of what it is sent; answers `first` in turn, then 204."""

    url: str
    first: list[int]
    requests: list[tuple[bytes, dict[str, str]]] = field(default_factory=list)


@contextmanager
def local_receiver(*, first: Sequence[int] = ()) -> Iterator[LocalReceiver]:
    """Receive on a free port."""
    receiver = LocalReceiver("", list(first))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.requests.append((body, {name.lower(): value for name, value in self.headers.items()}))
            self.send_response(receiver.first.pop(0) if receiver.first else 204)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *details: Any) -> None:
            """Log nothing."""

    with serving(Handler) as url:
        receiver.url = f"{url}/hook"
        yield receiver


class Listening:
    """A running command; reads wait for its next line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def told(self, pattern: str) -> str:
        """Return what a pattern's group finds on standard error."""
        assert self._process.stderr is not None
        for line in self._process.stderr:
            if found := re.search(pattern, line):
                return found[1]
        raise AssertionError(f"it ended without {pattern}")

    def printed(self) -> dict[str, Any]:
        """Return the next line of standard output."""
        assert self._process.stdout is not None
        delivery: dict[str, Any] = json.loads(self._process.stdout.readline())
        return delivery


@contextmanager
def listening(stack: RunningStack, person: Person, url: str, *, config: Path) -> Iterator[Listening]:
    """Forward the events of a person's mailboxes to a URL."""
    environment = {
        "PATH": os.environ["PATH"],
        "MAILROOM_CONFIG": str(config / "profiles.json"),
        "MAILROOM_URL": stack.gateway_url,
        "MAILROOM_TOKEN": person.token,
    }
    command = [sys.executable, "-m", "mailroom_cli", "listen", "--forward-to", url, "--json"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8"
    ) as process:
        try:
            yield Listening(process)
        finally:
            process.terminate()
