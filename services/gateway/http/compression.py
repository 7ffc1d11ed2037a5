"""Compression of mail as JSON and NDJSON. Not of tokens, whose length it would tell, nor of contents with ranges."""

import re

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

_PATHS = ("/emails", "/mailboxes", "/openapi.json")
# Types of downloads and pages.
_EXCLUDED = (
    *("image/*", "audio/*", "video/*", "text/*", "message/*"),
    *("application/octet-stream", "application/pdf", "application/zip"),
)
# Bytes. A smaller response fits into one packet.
MINIMUM = 1400
# 50 messages of a list take 0.14 ms and shrink to a third; the highest level takes 0.5 ms for 7 % less.
_LEVEL = 1
# A weight of zero refuses a coding (RFC 9110 section 12.4.2).
_GZIP = re.compile(r"(?:^|,)\s*gzip\s*(?:;\s*q=(?!0(?:\.0*)?\s*(?:,|$))[^,]*)?(?:,|$)", re.IGNORECASE)


class Compression:
    """The middleware that compresses responses of _PATHS for clients that accept gzip; streams are flushed."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._compressed = GZipMiddleware(
            app, minimum_size=MINIMUM, compresslevel=_LEVEL, exclude_content_types=_EXCLUDED
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        is_mail = scope["type"] == "http" and scope["path"].startswith(_PATHS)
        if is_mail:
            accepts = _GZIP.search(Headers(scope=scope).get("accept-encoding", ""))
            # The middleware looks for the word only.
            MutableHeaders(scope=scope)["accept-encoding"] = "gzip" if accepts else "identity"
        await (self._compressed if is_mail else self._app)(scope, receive, send)
