"""The Gmail API over HTTP: one call or a batch of them, each authorized, disturbed by the fault plan and paid for."""

import gzip
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.sandbox.activity import Now
from services.sandbox.batch import BatchPart, read_batch, write_batch
from services.sandbox.calls import Calls
from services.sandbox.faults import FRONT_END_ERROR, Fault, FaultPlan, answer_with
from services.sandbox.fields_mask import apply_mask, parse_mask
from services.sandbox.gmail_call import GmailCall, Method, Params, parse_query
from services.sandbox.gmail_methods import READS_BODIES, MethodTable, allowed_params
from services.sandbox.google_errors import (
    INVALID_CREDENTIALS,
    JSON_TYPE,
    LOGIN_REQUIRED,
    TOO_MANY_CONCURRENT,
    GoogleError,
    Refused,
    Shape,
    fault_error,
    insufficient_scope,
    invalid_argument,
)
from services.sandbox.grants import project_of
from services.sandbox.identity import Access, Identity
from services.sandbox.mailboxes import Mailboxes
from services.sandbox.pages import PageTokens
from services.sandbox.quota import Quota, google_time
from services.sandbox.rendering import Renderer, to_json
from services.sandbox.schema import with_oddities

VERBS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
BATCH_LIMIT = 100
PARALLEL_PARTS = 10
"""A batch counts as one running call per so many parts."""
MAX_BODY_BYTES = 160 * 1024 * 1024
_PREFIXES = ("/gmail/v1/users/", "/upload/gmail/v1/users/", "/resumable/upload/gmail/v1/users/")
_CHALLENGE = 'Bearer realm="https://accounts.google.com/", error="invalid_token"'


@dataclass(slots=True)
class Ask:
    """One call as it came over the wire."""

    verb: str
    path: str
    params: Params
    token: str | None
    body: bytes = b""
    content_type: str = ""


@dataclass(slots=True)
class Reply:
    """One answer before it is put on the wire."""

    status: int
    body: bytes = b""
    content_type: str = JSON_TYPE
    headers: dict[str, str] = field(default_factory=dict)

    def response(self, *, compress: bool = False) -> Response:
        """As an HTTP response."""
        headers = {**self.headers, "Vary": "Origin, X-Origin, Referer, Accept-Encoding"}
        if not self.body:
            return Response(status_code=self.status, headers=headers)
        headers["Content-Type"] = self.content_type
        if not compress:
            return Response(self.body, self.status, headers=headers)
        headers["Content-Encoding"] = "gzip"
        return Response(gzip.compress(self.body, 1), self.status, headers=headers)


@dataclass(slots=True)
class _Prepared:
    """A call whose method, caller and fate are known."""

    ask: Ask
    method: Method | None
    path: tuple[str, ...]
    user_id: str
    access: Access | None
    fault: Fault | None

    @property
    def name(self) -> str:
        return f"gmail.{self.method.name}" if self.method else "gmail.unknown"

    @property
    def email(self) -> str | None:
        return self.access.user.email if self.access else None


class GmailApi:
    """Answers calls. `error_shape` chooses between Google's two forms of error bodies."""

    def __init__(
        self,
        *,
        identity: Identity,
        mailboxes: Mailboxes,
        methods: MethodTable,
        renderer: Renderer,
        pages: PageTokens,
        quota: Quota,
        calls: Calls,
        faults: FaultPlan,
        clock: Now,
    ) -> None:
        self.error_shape: Shape = "new"
        self._identity = identity
        self._mailboxes = mailboxes
        self._methods = methods
        self._renderer = renderer
        self._pages = pages
        self._quota = quota
        self._calls = calls
        self._faults = faults
        self._clock = clock
        self._allowed = {method.name: allowed_params(method) for method in methods.methods}

    def routes(self) -> list[Route]:
        """What the application mounts."""
        return [
            Route("/batch", self.batch, methods=["POST"]),
            Route("/batch/gmail/v1", self.batch, methods=["POST"]),
            *(Route(f"{prefix}{{rest:path}}", self.single, methods=VERBS) for prefix in _PREFIXES),
        ]

    async def single(self, request: Request) -> Response:
        """One call."""
        body = await request.body()
        raw_path: bytes = request.scope.get("raw_path") or request.url.path.encode()
        params = parse_query(request.url.query)
        ask = Ask(
            verb=request.method,
            path=raw_path.decode("ascii", "replace").partition("?")[0],
            params=params,
            token=_token(request.headers.get("authorization"), params),
            body=body,
            content_type=request.headers.get("content-type", ""),
        )
        prepared = self._prepare(ask)
        compress = _wants_gzip(request)

        async def respond() -> Response:
            return self._execute(prepared).response(compress=compress)

        async def answer() -> Response:
            return await answer_with(
                prepared.fault, respond, render_error=lambda fault: self._fault_reply(prepared, fault).response()
            )

        def refuse() -> Response:
            self._calls.record(prepared.name, prepared.email, TOO_MANY_CONCURRENT.code)
            return self._error_reply(TOO_MANY_CONCURRENT).response()

        return await self._one_of_few(prepared, 1, answer, refuse)

    async def batch(self, request: Request) -> Response:
        """Up to 100 calls in one; their answers come in order."""
        try:
            parts = _read_parts(await request.body(), request.headers.get("content-type", ""))
        except Refused as refused:
            self._calls.record("batch", None, refused.error.code)
            return self._error_reply(refused.error).response()
        outer = parse_query(request.url.query)
        token = _token(request.headers.get("authorization"), outer)
        asks = [_part_ask(part, outer, token) for part in parts]
        fault = self._faults.draw("batch", self._email_of(asks[0]))
        draws = fault is None or not fault.prevents_call
        prepared = [self._prepare(ask, draw_fault=draws) for ask in asks]
        # A fault of one part that hits the connection hits the connection of all.
        fault = fault or next((item.fault for item in prepared if item.fault and item.fault.breaks_connection), None)
        compress = _wants_gzip(request)

        def written(replies: list[Reply]) -> Response:
            data, kind = write_batch(parts, replies)
            self._calls.record("batch", prepared[0].email, 200)
            return Reply(200, data, kind).response(compress=compress)

        async def respond() -> Response:
            return written([self._part_reply(item) for item in prepared])

        def refuse() -> Response:
            for item in prepared:
                self._calls.record(item.name, item.email, TOO_MANY_CONCURRENT.code)
            return written([self._error_reply(TOO_MANY_CONCURRENT)] * len(parts))

        def fail(fault: Fault) -> Response:
            self._calls.record("batch", prepared[0].email, fault.status)
            return self._error_reply(self._fault_error(fault)).response()

        async def answer() -> Response:
            return await answer_with(fault, respond, render_error=fail)

        return await self._one_of_few(prepared[0], -(-len(parts) // PARALLEL_PARTS), answer, refuse)

    def _email_of(self, ask: Ask) -> str | None:
        access = self._identity.check_access(ask.token) if ask.token else None
        return access.user.email if access else None

    def _part_reply(self, prepared: _Prepared) -> Reply:
        fault = prepared.fault
        if fault is None or fault.breaks_connection:
            return self._execute(prepared)
        return self._fault_reply(prepared, fault)

    async def _one_of_few(
        self,
        prepared: _Prepared,
        slots: int,
        answer: Callable[[], Awaitable[Response]],
        refuse: Callable[[], Response],
    ) -> Response:
        """Answer while slots of the mailbox's concurrency are held, or refuse for want of them."""
        if prepared.access is None:
            return await answer()
        user = prepared.access.user.email
        if not self._quota.enter(user, slots):
            return refuse()
        try:
            return await answer()
        finally:
            self._quota.leave(user, slots)

    def _prepare(self, ask: Ask, *, draw_fault: bool = True) -> _Prepared:
        method, path, user_id = self._route(ask)
        access = self._identity.check_access(ask.token) if ask.token else None
        prepared = _Prepared(ask, method, path, user_id, access, None)
        if draw_fault:
            prepared.fault = self._faults.draw(prepared.name, prepared.email, path=ask.path)
        return prepared

    def _route(self, ask: Ask) -> tuple[Method | None, tuple[str, ...], str]:
        prefix = next((prefix for prefix in _PREFIXES if ask.path.startswith(prefix)), None)
        if prefix is None:
            return None, (), ""
        user_id, *segments = ask.path[len(prefix) :].split("/")
        found = self._methods.find(ask.verb, tuple(segments))
        if found is None:
            return None, (), user_id
        method, path = found
        return method, tuple(unquote(item) if "%" in item else item for item in path), unquote(user_id)

    def _execute(self, prepared: _Prepared) -> Reply:
        try:
            reply = self._run(prepared)
        except Refused as refused:
            reply = self._error_reply(refused.error)
        self._calls.record(prepared.name, prepared.email, reply.status)
        return reply

    def _run(self, prepared: _Prepared) -> Reply:
        method, access = prepared.method, prepared.access
        if method is None:
            return Reply(404, FRONT_END_ERROR.format(status=404).encode(), "text/html; charset=UTF-8")
        if access is None:
            raise Refused(INVALID_CREDENTIALS if prepared.ask.token else LOGIN_REQUIRED)
        self._authorize(prepared, method, access)
        project = project_of(access.client_id)
        refusal = self._quota.admit(method.name, user=access.user.email, project=project)
        if refusal is not None:
            raise Refused(refusal)
        mask = prepared.ask.params.get("fields")
        parsed = parse_mask(mask[-1], method.response or "") if mask else None
        body = method.run(self._call(prepared, access))
        if body is None:
            return Reply(204)
        body = self._with_oddities(body, method, access)
        return Reply(200, to_json(apply_mask(_load(body), parsed)) if parsed else body)

    def _authorize(self, prepared: _Prepared, method: Method, access: Access) -> None:
        if not method.scopes & access.scopes:
            raise Refused(insufficient_scope(method.rpc or method.name))
        user_id = prepared.user_id
        if user_id != "me" and user_id.lower() != access.user.email.lower():
            raise Refused(GoogleError(403, "forbidden", f"Delegation denied for {access.user.email}"))
        unknown = prepared.ask.params.keys() - self._allowed[method.name]
        if unknown:
            name = min(unknown)[:60]
            text = f'Invalid JSON payload received. Unknown name "{name}": Cannot bind query parameter.'
            raise Refused(invalid_argument(text))

    def _call(self, prepared: _Prepared, access: Access) -> GmailCall:
        return GmailCall(
            user=access.user,
            mailbox=self._mailboxes.of(access.user),
            path=prepared.path,
            params=prepared.ask.params,
            body=prepared.ask.body,
            content_type=prepared.ask.content_type,
            reads_bodies=bool(READS_BODIES & access.scopes),
            renderer=self._renderer,
            pages=self._pages,
            clock=self._clock,
        )

    def _with_oddities(self, body: bytes, method: Method, access: Access) -> bytes:
        oddities = self._identity.oddities(access.user.sub)
        if not (oddities.empty_arrays or oddities.extra_fields):
            return body
        value = _load(body)
        if not isinstance(value, dict):
            return body
        return to_json(
            with_oddities(
                value, method.response or "", empty_arrays=oddities.empty_arrays, extra_fields=oddities.extra_fields
            )
        )

    def _error_reply(self, error: GoogleError) -> Reply:
        headers = {"WWW-Authenticate": _CHALLENGE} if error.code == 401 else {}
        return Reply(error.code, error.body(self.error_shape), headers=headers)

    def _fault_error(self, fault: Fault) -> GoogleError:
        retry = None if fault.retry_after is None else google_time(self._clock.now() + fault.retry_after)
        return fault_error(fault, retry_time=retry)

    def _fault_reply(self, prepared: _Prepared, fault: Fault) -> Reply:
        self._calls.record(prepared.name, prepared.email, fault.status)
        if fault.kind == "html_503":
            return Reply(fault.status, FRONT_END_ERROR.format(status=fault.status).encode(), "text/html; charset=UTF-8")
        return self._error_reply(self._fault_error(fault))


def _load(body: bytes) -> object:
    return json.loads(body)


def _token(authorization: str | None, params: Params) -> str | None:
    if authorization is not None:
        scheme, _, token = authorization.partition(" ")
        return token.strip() if scheme.lower() == "bearer" else None
    for name in ("access_token", "oauth_token"):
        if name in params:
            return params[name][-1]
    return None


def _wants_gzip(request: Request) -> bool:
    accepts = "gzip" in request.headers.get("accept-encoding", "")
    return accepts and "gzip" in request.headers.get("user-agent", "").lower()


def _read_parts(body: bytes, content_type: str) -> list[BatchPart]:
    parts = read_batch(body, content_type)
    if len(parts) > BATCH_LIMIT:
        text = f"Inner request count exceeds the limit. Received: {len(parts)}, Limit: {BATCH_LIMIT}"
        raise Refused(GoogleError(400, "badRequest", text))
    return parts


def _part_ask(part: BatchPart, outer: Params, token: str | None) -> Ask:
    path, _, query = part.target.partition("?")
    params = parse_query(query)
    own = _token(part.headers.get("authorization"), params)
    return Ask(
        verb=part.verb,
        path=path,
        params={**outer, **params} if outer else params,
        token=own or token,
        body=part.body,
        content_type=part.headers.get("content-type", ""),
    )
