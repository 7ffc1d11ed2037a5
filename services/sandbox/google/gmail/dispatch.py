"""One call of the Gmail API, single or part of a batch: found, authorized, paid for and run."""

import json
from dataclasses import dataclass
from urllib.parse import unquote

from services.sandbox.google.gmail.errors import (
    INVALID_CREDENTIALS,
    LOGIN_REQUIRED,
    GoogleError,
    Refused,
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
from services.sandbox.instruments.audit_log import Now
from services.sandbox.instruments.call_counts import CallCounts
from services.sandbox.instruments.faults import FRONT_END_ERROR, Fault, FaultPlan
from services.sandbox.mailboxes.registry import Mailboxes

PREFIXES = ("/gmail/v1/users/", "/upload/gmail/v1/users/", "/resumable/upload/gmail/v1/users/")
_CHALLENGE = 'Bearer realm="https://accounts.google.com/", error="invalid_token"'


@dataclass(slots=True)
class RoutedCall:
    """A call whose method, caller and fate are known."""

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
    """Runs calls. `error_shape` chooses between Google's two forms of error bodies."""

    def __init__(
        self,
        *,
        identity: SandboxUsers,
        mailboxes: Mailboxes,
        methods: MethodTable,
        renderer: Renderer,
        pages: PageTokens,
        quota: Quota,
        calls: CallCounts,
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

    def email_of(self, request: GmailRequest) -> str | None:
        """Who calls; None for nobody that is known."""
        access = self._identity.check_access(request.token) if request.token else None
        return access.user.email if access else None

    def prepare(self, request: GmailRequest, *, draw_fault: bool = True) -> RoutedCall:
        """Finds out which method is called by whom, and what the fault plan has in store for it."""
        method, path, user_id = self._route(request)
        access = self._identity.check_access(request.token) if request.token else None
        prepared = RoutedCall(request, method, path, user_id, access, None)
        if draw_fault:
            prepared.fault = self._faults.draw(prepared.name, prepared.email, path=request.path)
        return prepared

    def part_reply(self, prepared: RoutedCall) -> Reply:
        """The answer of one part of a batch: its own fault, or what comes of running it."""
        fault = prepared.fault
        if fault is None or fault.breaks_connection:
            return self.execute(prepared)
        return self.fault_reply(prepared, fault)

    def _route(self, request: GmailRequest) -> tuple[Method | None, tuple[str, ...], str]:
        prefix = next((prefix for prefix in PREFIXES if request.path.startswith(prefix)), None)
        if prefix is None:
            return None, (), ""
        user_id, *segments = request.path[len(prefix) :].split("/")
        found = self._methods.find(request.verb, tuple(segments))
        if found is None:
            return None, (), user_id
        method, path = found
        return method, tuple(unquote(item) if "%" in item else item for item in path), unquote(user_id)

    def execute(self, prepared: RoutedCall) -> Reply:
        """Runs the call, whatever its fault."""
        try:
            reply = self._run(prepared)
        except Refused as refused:
            reply = self.error_reply(refused.error)
        self._calls.record(prepared.name, prepared.email, reply.status)
        return reply

    def _run(self, prepared: RoutedCall) -> Reply:
        method, access = prepared.method, prepared.access
        if method is None:
            return Reply(404, FRONT_END_ERROR.format(status=404).encode(), "text/html; charset=UTF-8")
        if access is None:
            raise Refused(INVALID_CREDENTIALS if prepared.request.token else LOGIN_REQUIRED)
        self._authorize(prepared, method, access)
        project = project_of(access.client_id)
        refusal = self._quota.admit(method.name, user=access.user.email, project=project)
        if refusal is not None:
            raise Refused(refusal)
        mask = prepared.request.params.get("fields")
        parsed = parse_mask(mask[-1], method.response or "") if mask else None
        body = method.run(self._call(prepared, access))
        if body is None:
            return Reply(204)
        body = self._with_deviations(body, method, access)
        return Reply(200, to_json(apply_mask(_load(body), parsed)) if parsed else body)

    def _authorize(self, prepared: RoutedCall, method: Method, access: Access) -> None:
        if not method.scopes & access.scopes:
            raise Refused(insufficient_scope(method.rpc or method.name))
        user_id = prepared.user_id
        if user_id != "me" and user_id.lower() != access.user.email.lower():
            raise Refused(GoogleError(403, "forbidden", f"Delegation denied for {access.user.email}"))
        unknown = prepared.request.params.keys() - self._allowed[method.name]
        if unknown:
            name = min(unknown)[:60]
            text = f'Invalid JSON payload received. Unknown name "{name}": Cannot bind query parameter.'
            raise Refused(invalid_argument(text))

    def _call(self, prepared: RoutedCall, access: Access) -> GmailCall:
        return GmailCall(
            user=access.user,
            mailbox=self._mailboxes.of(access.user),
            path=prepared.path,
            params=prepared.request.params,
            body=prepared.request.body,
            content_type=prepared.request.content_type,
            reads_bodies=bool(READS_BODIES & access.scopes),
            renderer=self._renderer,
            pages=self._pages,
            clock=self._clock,
        )

    def _with_deviations(self, body: bytes, method: Method, access: Access) -> bytes:
        deviations = self._identity.deviations(access.user.sub)
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
        """An error in the chosen shape."""
        headers = {"WWW-Authenticate": _CHALLENGE} if error.code == 401 else {}
        return Reply(error.code, error.body(self.error_shape), headers=headers)

    def fault_error(self, fault: Fault) -> GoogleError:
        """The error of a fault; a rate limit may name the time to come back."""
        retry = None if fault.retry_after is None else google_time(self._clock.now() + fault.retry_after)
        return fault_error(fault, retry_time=retry)

    def fault_reply(self, prepared: RoutedCall, fault: Fault) -> Reply:
        """What a call is answered instead of being run."""
        self._calls.record(prepared.name, prepared.email, fault.status)
        if fault.kind == "html_503":
            return Reply(fault.status, FRONT_END_ERROR.format(status=fault.status).encode(), "text/html; charset=UTF-8")
        return self.error_reply(self.fault_error(fault))


def _load(body: bytes) -> object:
    return json.loads(body)
