"""Routing, authorization, quota and execution of Gmail API calls, single ones and parts of batches."""

import json
from dataclasses import dataclass
from urllib.parse import unquote

from services.sandbox.clock import Clock
from services.sandbox.google.gmail.errors import (
    INVALID_CREDENTIALS,
    LOGIN_REQUIRED,
    CallRefusedError,
    GoogleError,
    Shape,
    fault_error,
    insufficient_scope,
    invalid_argument,
)
from services.sandbox.google.gmail.fields_mask import apply_mask, parse_mask
from services.sandbox.google.gmail.methods.method_call import GmailCall, Method
from services.sandbox.google.gmail.methods.method_table import READS_BODIES, MethodTable, allowed_params
from services.sandbox.google.gmail.page_tokens import PageTokens
from services.sandbox.google.gmail.quota import Quota, google_time
from services.sandbox.google.gmail.resources import Renderer, to_json
from services.sandbox.google.gmail.schema import with_deviations
from services.sandbox.google.gmail.wire import GmailRequest, Reply
from services.sandbox.google.oauth.grants import project_of
from services.sandbox.google.oauth.users import Access, SandboxUsers
from services.sandbox.instruments.call_counts import CallCounts
from services.sandbox.instruments.faults import FRONT_END_ERROR, Fault, FaultPlan
from services.sandbox.mailboxes.registry import Mailboxes

PREFIXES = ("/gmail/v1/users/", "/upload/gmail/v1/users/", "/resumable/upload/gmail/v1/users/")
_CHALLENGE = 'Bearer realm="https://accounts.google.com/", error="invalid_token"'


@dataclass(slots=True)
class RoutedCall:
    """A call with its method, its caller and its fault."""

    request: GmailRequest
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


class Dispatcher:
    """Executes calls. `error_shape` selects one of Google's two forms of error bodies."""

    def __init__(
        self,
        *,
        users: SandboxUsers,
        mailboxes: Mailboxes,
        methods: MethodTable,
        renderer: Renderer,
        pages: PageTokens,
        quota: Quota,
        call_counts: CallCounts,
        faults: FaultPlan,
        clock: Clock,
    ) -> None:
        self.error_shape: Shape = "new"
        self._users = users
        self._mailboxes = mailboxes
        self._methods = methods
        self._renderer = renderer
        self._pages = pages
        self._quota = quota
        self._call_counts = call_counts
        self._faults = faults
        self._clock = clock
        self._allowed = {method.name: allowed_params(method) for method in methods.methods}

    def email_of(self, request: GmailRequest) -> str | None:
        """Return the caller's address, or None without a valid token."""
        access = self._users.check_access(request.token) if request.token else None
        return access.user.email if access else None

    def route(self, request: GmailRequest, *, draw_fault: bool = True) -> RoutedCall:
        """Find method and caller of a request, and draw its fault from the fault plan."""
        method, path, user_id = self._find_method(request)
        access = self._users.check_access(request.token) if request.token else None
        call = RoutedCall(request, method, path, user_id, access, None)
        if draw_fault:
            call.fault = self._faults.draw(call.name, call.email, path=request.path)
        return call

    def execute_part(self, call: RoutedCall) -> Reply:
        """Execute one part of a batch, or respond with its own fault."""
        fault = call.fault
        if fault is None or fault.breaks_connection:
            return self.execute(call)
        return self.fault_reply(call, fault)

    def _find_method(self, request: GmailRequest) -> tuple[Method | None, tuple[str, ...], str]:
        prefix = next((prefix for prefix in PREFIXES if request.path.startswith(prefix)), None)
        if prefix is None:
            return None, (), ""
        user_id, *segments = request.path[len(prefix) :].split("/")
        found = self._methods.find(request.verb, tuple(segments))
        if found is None:
            return None, (), user_id
        method, path = found
        return method, tuple(unquote(item) if "%" in item else item for item in path), unquote(user_id)

    def execute(self, call: RoutedCall) -> Reply:
        """Execute the call regardless of its fault."""
        try:
            reply = self._run(call)
        except CallRefusedError as refused:
            reply = self.error_reply(refused.error)
        self._call_counts.record(call.name, call.email, reply.status)
        return reply

    def _run(self, call: RoutedCall) -> Reply:
        method, access = call.method, call.access
        if method is None:
            return Reply(404, FRONT_END_ERROR.format(status=404).encode(), "text/html; charset=UTF-8")
        if access is None:
            raise CallRefusedError(INVALID_CREDENTIALS if call.request.token else LOGIN_REQUIRED)
        self._authorize(call, method, access)
        project = project_of(access.client_id)
        refusal = self._quota.admit(method.name, user=access.user.email, project=project)
        if refusal is not None:
            raise CallRefusedError(refusal)
        mask = call.request.params.get("fields")
        parsed = parse_mask(mask[-1], method.response or "") if mask else None
        body = method.run(self._call(call, access))
        if body is None:
            return Reply(204)
        body = self._with_deviations(body, method, access)
        return Reply(200, to_json(apply_mask(_load(body), parsed)) if parsed else body)

    def _authorize(self, call: RoutedCall, method: Method, access: Access) -> None:
        if not method.scopes & access.scopes:
            raise CallRefusedError(insufficient_scope(method.rpc or method.name))
        user_id = call.user_id
        if user_id != "me" and user_id.lower() != access.user.email.lower():
            raise CallRefusedError(GoogleError(403, "forbidden", f"Delegation denied for {access.user.email}"))
        unknown = call.request.params.keys() - self._allowed[method.name]
        if unknown:
            name = min(unknown)[:60]
            text = f'Invalid JSON payload received. Unknown name "{name}": Cannot bind query parameter.'
            raise CallRefusedError(invalid_argument(text))

    def _call(self, call: RoutedCall, access: Access) -> GmailCall:
        return GmailCall(
            user=access.user,
            mailbox=self._mailboxes.of(access.user),
            path=call.path,
            params=call.request.params,
            body=call.request.body,
            content_type=call.request.content_type,
            reads_bodies=bool(READS_BODIES & access.scopes),
            renderer=self._renderer,
            pages=self._pages,
            clock=self._clock,
        )

    def _with_deviations(self, body: bytes, method: Method, access: Access) -> bytes:
        deviations = self._users.deviations(access.user.sub)
        if not (deviations.empty_arrays or deviations.extra_fields):
            return body
        value = _load(body)
        if not isinstance(value, dict):
            return body
        return to_json(
            with_deviations(
                value, method.response or "", empty_arrays=deviations.empty_arrays, extra_fields=deviations.extra_fields
            )
        )

    def error_reply(self, error: GoogleError) -> Reply:
        """Render an error in the selected shape."""
        headers = {"WWW-Authenticate": _CHALLENGE} if error.code == 401 else {}
        return Reply(error.code, error.body(self.error_shape), headers=headers)

    def fault_error(self, fault: Fault) -> GoogleError:
        """Return the error of a fault; a rate limit may name the time to retry."""
        retry = None if fault.retry_after is None else google_time(self._clock.now() + fault.retry_after)
        return fault_error(fault, retry_time=retry)

    def fault_reply(self, call: RoutedCall, fault: Fault) -> Reply:
        """Render a fault that replaces the call."""
        self._call_counts.record(call.name, call.email, fault.status)
        if fault.kind == "html_503":
            return Reply(fault.status, FRONT_END_ERROR.format(status=fault.status).encode(), "text/html; charset=UTF-8")
        return self.error_reply(self.fault_error(fault))


def _load(body: bytes) -> object:
    return json.loads(body)
