"""Requests and responses of the Gmail API, the same for single calls and parts of batches."""

import gzip
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import Response

from services.sandbox.google.gmail.batch import BatchPart, read_batch
from services.sandbox.google.gmail.errors import JSON_TYPE, CallRefusedError, GoogleError
from services.sandbox.google.gmail.methods.method_call import Params, parse_query

BATCH_LIMIT = 100


@dataclass(slots=True)
class GmailRequest:
    """One call as received."""

    verb: str
    path: str
    params: Params
    token: str | None
    body: bytes = b""
    content_type: str = ""


@dataclass(slots=True)
class Reply:
    """One response before it is sent."""

    status: int
    body: bytes = b""
    content_type: str = JSON_TYPE
    headers: dict[str, str] = field(default_factory=dict)

    def response(self, *, compress: bool = False) -> Response:
        """Convert to an HTTP response."""
        headers = {**self.headers, "Vary": "Origin, X-Origin, Referer, Accept-Encoding"}
        if not self.body:
            return Response(status_code=self.status, headers=headers)
        headers["Content-Type"] = self.content_type
        if not compress:
            return Response(self.body, self.status, headers=headers)
        headers["Content-Encoding"] = "gzip"
        return Response(gzip.compress(self.body, 1), self.status, headers=headers)


async def read_request(request: Request) -> GmailRequest:
    """Read a single call."""
    raw_path: bytes = request.scope.get("raw_path") or request.url.path.encode()
    params = parse_query(request.url.query)
    return GmailRequest(
        verb=request.method,
        path=raw_path.decode("ascii", "replace").partition("?")[0],
        params=params,
        token=_token(request.headers.get("authorization"), params),
        body=await request.body(),
        content_type=request.headers.get("content-type", ""),
    )


async def read_batch_requests(request: Request) -> tuple[list[BatchPart], list[GmailRequest]]:
    """Read the parts of a batch and the calls in them. Raises CallRefusedError."""
    parts = read_batch(await request.body(), request.headers.get("content-type", ""))
    if len(parts) > BATCH_LIMIT:
        text = f"Inner request count exceeds the limit. Received: {len(parts)}, Limit: {BATCH_LIMIT}"
        raise CallRefusedError(GoogleError(400, "badRequest", text))
    outer = parse_query(request.url.query)
    token = _token(request.headers.get("authorization"), outer)
    return parts, [_part_request(part, outer, token) for part in parts]


def wants_gzip(request: Request) -> bool:
    """Return whether the client names gzip in both headers, as Google requires."""
    accepts = "gzip" in request.headers.get("accept-encoding", "")
    return accepts and "gzip" in request.headers.get("user-agent", "").lower()


def _token(authorization: str | None, params: Params) -> str | None:
    if authorization is not None:
        scheme, _, token = authorization.partition(" ")
        return token.strip() if scheme.lower() == "bearer" else None
    for name in ("access_token", "oauth_token"):
        if name in params:
            return params[name][-1]
    return None


def _part_request(part: BatchPart, outer: Params, token: str | None) -> GmailRequest:
    path, _, query = part.target.partition("?")
    params = parse_query(query)
    own = _token(part.headers.get("authorization"), params)
    return GmailRequest(
        verb=part.verb,
        path=path,
        params={**outer, **params} if outer else params,
        token=own or token,
        body=part.body,
        content_type=part.headers.get("content-type", ""),
    )
