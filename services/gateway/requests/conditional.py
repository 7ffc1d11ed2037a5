"""Conditional requests (RFC 9110 section 13) for responses that are built whole: 304 saves their transfer."""

import hashlib
import re
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Depends, Header, Response

_OPAQUE = re.compile(r'(?:W/)?"([^"]*)"')
_ETAG_DIGITS = 32

NOT_MODIFIED: dict[int | str, dict[str, Any]] = {
    304: {"description": "One of the ETags in If-None-Match is the present one"}
}


async def _if_none_match(
    if_none_match: Annotated[str, Header(description="ETags that the client has: 304 if one is the present one")] = "",
) -> None:
    """Document the header; `with_etag` reads it."""


# In the `dependencies` of a route whose responses have an ETag.
CONDITIONAL = Depends(_if_none_match)


def with_etag(response: Response, *, if_none_match: str) -> Response:
    """Return a 200 response with its ETag, or 304 if the client has it.

    A digest costs 1 ms per megabyte: processors have instructions for SHA-256, which others of its strength lack.
    """
    if response.status_code != HTTPStatus.OK:
        return response
    # Weak: a compressed response has the same.
    etag = f'W/"{hashlib.sha256(response.body).hexdigest()[:_ETAG_DIGITS]}"'
    if if_none_match.strip() == "*" or etag[3:-1] in _OPAQUE.findall(if_none_match):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers={"ETag": etag})
    response.headers["ETag"] = etag
    return response
