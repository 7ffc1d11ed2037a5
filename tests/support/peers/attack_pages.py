"""Pages that show a message between neighbours, and a server that records all other requests."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ATTACKED = ("evil.example", "example.com")
"""Hosts that messages name."""

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Mail</title><link rel="icon" href="data:,"><style>
body {{ margin: 0; font: 16px/20px sans-serif; background: #fff; color: #000 }}
.scene {{ padding: 30px 60px }}
.row {{ display: flex }}
.message {{ width: 400px; flex: none }}
#fixed .message {{ height: 120px }}
.neighbour {{ background: #cde; padding: 10px; box-sizing: border-box }}
.above, .below {{ height: 60px }}
.left, .right {{ width: 150px }}
{embedding}
</style></head><body>
{scenes}
<script>
const box = document.querySelector("#grown .message");
fetch("/html/{number}").then(answer => answer.text()).then(html => {{ box.innerHTML = html; window.shown = true }});
</script>
</body></html>"""
_SCENE = """<section class="scene" id="{name}">
<header class="neighbour above">Above: a title that has to stay readable</header>
<div class="row"><nav class="neighbour left">Left</nav><div class="message">{html}</div>
<aside class="neighbour right">Right</aside></div>
<footer class="neighbour below">Below: a button that has to stay where it is</footer>
</section>"""


@dataclass(frozen=True)
class AttackPages:
    """Messages, the CSS of the element that each is in, and the requests that they made, by the message's number."""

    messages: Sequence[str]
    embedding: str
    origin: str
    requests: dict[int, list[str]] = field(default_factory=dict)


@contextmanager
def served(messages: Sequence[str], *, embedding: str) -> Iterator[AttackPages]:
    """Serve the pages at `/page/NUMBER` of an origin on loopback."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.pages = AttackPages(messages, embedding, origin=f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.pages
        finally:
            server.shutdown()
            thread.join()


class _Server(ThreadingHTTPServer):
    pages: AttackPages
    shown = 0


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        """Show a page, or record the request."""
        pages = self.server.pages
        match self.path.split("/")[1:] if self._is_own() else ():
            case ["page", number] if number.isdecimal():
                self.server.shown = int(number)
                self._answer(_page(pages, int(number)))
            case ["html", number] if number.isdecimal():
                self._answer(pages.messages[int(number)])
            case ["settled", _]:
                self._answer("")
            case _:
                self._record()

    def do_POST(self) -> None:
        """Record the request."""
        self._record()

    def _is_own(self) -> bool:
        return f"http://{self.headers.get('Host')}" == self.server.pages.origin

    def _record(self) -> None:
        pages, host = self.server.pages, self.headers.get("Host", "")
        # All names lead here, those of the browser's own services as well.
        if self._is_own() or host in ATTACKED:
            pages.requests.setdefault(self.server.shown, []).append(f"{self.command} {host}{self.path}")
        self._answer("")

    def _answer(self, html: str) -> None:
        body = html.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        with suppress(BrokenPipeError):
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Log nothing."""


def _page(pages: AttackPages, number: int) -> str:
    scenes = _SCENE.format(name="fixed", html=pages.messages[number]) + _SCENE.format(name="grown", html="")
    return _PAGE.format(embedding=pages.embedding, scenes=scenes, number=number)
