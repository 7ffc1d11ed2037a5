"""A scripted gateway behind a port, for commands that are processes of their own."""

import json
import queue
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.support.clients.http_server import serving

type Reply = tuple[int, object]
# A reply for each request, which waits for it as long polls do.
type Replies = Reply | queue.Queue[Reply]


@dataclass
class ServedGateway:
    """Replies by method and path; each request is remembered as "METHOD path?query"."""

    url: str
    replies: dict[str, Replies]
    requests: list[str] = field(default_factory=list)
    tokens: list[str | None] = field(default_factory=list)


@contextmanager
def served_gateway(replies: Mapping[str, Replies]) -> Iterator[ServedGateway]:
    """Serve replies on a free port."""
    gateway = ServedGateway("", dict(replies))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            gateway.requests.append(f"{self.command} {self.path}")
            gateway.tokens.append(self.headers.get("Authorization"))
            found = gateway.replies.get(f"{self.command} {self.path.split('?')[0]}", (404, {}))
            status, body = found.get() if isinstance(found, queue.Queue) else found
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_POST(self) -> None:
            self.do_GET()

        def do_PATCH(self) -> None:
            self.do_GET()

        def do_DELETE(self) -> None:
            self.do_GET()

        def log_message(self, *details: Any) -> None:
            """Log nothing."""

    with serving(Handler) as url:
        gateway.url = url
        yield gateway
