"""Pages for people: the landing page, those of connect sessions, and Swagger UI for the OpenAPI document.

Swagger UI is 5.35.0 (Apache-2.0).
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent
# Pages and assets name each other by relative URLs, so that they work below any path that a proxy takes away.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'{styles}; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
LANDING_POLICY = _POLICY.format(styles="")
# Browsers hold the redirects after a form to its policy, and a provider may send users on to a sign-in of their own
# organisation, so that not its host alone is allowed.
CONNECT_POLICY = (
    "default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; form-action 'self' https:{local}; "
    "frame-ancestors 'none'"
)
# Swagger UI writes styles into its elements.
DOCS_POLICY = _POLICY.format(styles=" 'unsafe-inline'")


@dataclass(frozen=True, slots=True)
class Asset:
    """A file with its media type."""

    content: bytes
    media_type: str


_ASSETS = {
    "landing.css": ("landing.css", "text/css"),
    "connect.css": ("connect.css", "text/css"),
    "docs.js": ("docs.js", "text/javascript"),
    "swagger-ui.css": ("swagger_ui/swagger-ui.css", "text/css"),
    "swagger-ui-bundle.js": ("swagger_ui/swagger-ui-bundle.js", "text/javascript"),
}


@cache
def asset(name: str) -> Asset | None:
    """Return an asset by its name in URLs."""
    if name not in _ASSETS:
        return None
    path, media_type = _ASSETS[name]
    return Asset((_FOLDER / path).read_bytes(), media_type)


@cache
def page(name: str) -> str:
    """Return the HTML of a page."""
    return (_FOLDER / f"{name}.html").read_text(encoding="utf-8")
