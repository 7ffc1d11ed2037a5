"""The demo frontend: one page that uses the gateway's REST API as any frontend would."""

from collections.abc import Callable
from html import escape
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


class DemoPage:
    """Serves the page under a policy that allows requests to the gateway and to this sandbox only."""

    def __init__(self, html: str, *, gateway_url: str, home: str, new_nonce: Callable[[int], str]) -> None:
        filled = html.replace("{{API}}", escape(gateway_url)).replace("{{HOME}}", escape(_origin(home)))
        self._html = filled
        self._gateway = _origin(gateway_url)
        self._new_nonce = new_nonce

    def routes(self) -> list[Route]:
        """Return the routes to mount."""
        return [Route("/demo", self.show)]

    async def show(self, _: Request) -> Response:
        """Return the page. Mail shown inside it inherits the policy, so remote images and styles are blocked."""
        nonce = self._new_nonce(16)
        policy = (
            f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'unsafe-inline'; img-src data:; "
            f"connect-src 'self' {self._gateway}; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
        )
        headers = {
            "Content-Security-Policy": policy,
            "Cache-Control": "no-store",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        }
        return HTMLResponse(self._html.replace("{{NONCE}}", nonce), headers=headers)
