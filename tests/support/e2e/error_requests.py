"""A request for every error code of docs/errors.md that the running stack answers with it."""

import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from functools import cached_property
from http.client import HTTPResponse
from typing import Any
from uuid import uuid4

import asyncpg
import httpx

from deploy.local.ports import Ports
from services.kit.api_key import generate
from services.kit.scopes import OPERATOR_SCOPES, Scope
from tests.support.e2e.back_ends import RETURN, BackEnd
from tests.support.e2e.people import Person, Provider, frontend_query
from tests.support.e2e.running_stack import RunningStack
from tests.support.mail.waiting import eventually

# The S256 challenge of RFC 7636, appendix B, and a verifier of the right form that does not belong to it.
_CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
STRICT_CONNECTIONS = 4
# A well-formed token, which auth looks up.
_TOKEN_JSON = b'{"refresh_token": "%b"}' % (b"A" * 88)
_REFRESH = (
    b"POST /auth/refresh HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
    % (len(_TOKEN_JSON), _TOKEN_JSON)
)
_OTHER_VERIFIER = "a" * 43


@dataclass(kw_only=True)
class Place:
    """The stack with everything that a request can need.

    `strict` is a gateway without mail, whose auth demands PKCE; it allows a user one request a minute, and an address
    STRICT_CONNECTIONS connections.
    """

    stack: RunningStack
    provider: Provider
    http: httpx.Client
    strict: httpx.Client

    def person(self, messages: int = 0) -> Person:
        """Return a new user, signed in."""
        return Person.sign_in(self.http, self.provider.new_user(messages=messages))

    def reader(self) -> tuple[Person, dict[str, Any]]:
        """Return a new user with a synced mailbox, and its newest message."""
        person = self.person(messages=2)
        person.sync()
        return person, person.emails()[0]

    @cached_property
    def visitor(self) -> Person:
        """A user with a synced mailbox, for requests that change nothing."""
        return self.reader()[0]

    @cached_property
    def key(self) -> str:
        """An API key of the application default, with all scopes of applications."""
        return self.stack.api_key(f"--scopes={','.join(set(Scope) - OPERATOR_SCOPES)}")

    @cached_property
    def operator_key(self) -> str:
        """An operator key."""
        return self.stack.api_key("--operator")

    @asynccontextmanager
    async def database(self, service: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
        """Connect to the database of a service, as its administrator."""
        variables = self.stack.variables
        connection = await asyncpg.connect(
            host=variables["POSTGRES_HOST"],
            port=int(variables["POSTGRES_PORT"]),
            user=variables["POSTGRES_USER"],
            password=variables["POSTGRES_PASSWORD"],
            database=f"{variables['POSTGRES_DB']}_{service}",
        )
        try:
            yield connection
        finally:
            await connection.close()

    async def execute(self, service: str, statement: str, *arguments: object) -> None:
        """Change the database of a service."""
        async with self.database(service) as connection:
            await connection.execute(statement, *arguments)


type Request = Callable[[Place], Awaitable[httpx.Response]]
REQUESTS: dict[str, Request] = {}


def _gives(*codes: str) -> Callable[[Request], Request]:
    def register(request: Request) -> Request:
        REQUESTS.update(dict.fromkeys(codes, request))
        return request

    return register


def _simple(code: str, method: str, path: str, **options: Any) -> None:
    """Register a request that needs no more than a user."""

    async def request(place: Place) -> httpx.Response:
        headers = {**place.visitor.headers(), **options.get("headers", {})}
        return place.http.request(method, path, **{**options, "headers": headers})

    _gives(code)(request)


_JSON = {"Content-Type": "application/json"}
_UNKNOWN = "00000000-0000-4000-8000-000000000000"

_simple("invalid_request", "GET", "/emails?limit=0")
_simple("malformed_json", "POST", "/emails/sync", content=b"{", headers=_JSON)
_simple("unknown_provider", "GET", "/auth/acme/start")
_simple("invalid_code_challenge", "GET", "/auth/google/start?code_challenge=short")
_simple("invalid_hand_off", "POST", "/auth/token", json={"state": "made-up"})
_simple("invalid_account_id", "GET", "/emails?account_id=1")
_simple("invalid_refresh_token", "POST", "/auth/refresh", json={"refresh_token": "made-up"})
_simple("session_not_found", "DELETE", f"/auth/sessions/{_UNKNOWN}")
_simple("not_found", "GET", "/nowhere")


def _by_key(code: str, method: str, path: str, *, operator: bool = False, **options: Any) -> None:
    """Register a request with an API key that may do what it asks."""

    async def request(place: Place) -> httpx.Response:
        key = place.operator_key if operator else place.key
        return place.http.request(method, path, **{**options, "headers": {"Authorization": f"Bearer {key}"}})

    _gives(code)(request)


_KEY = {"name": "a key", "scopes": ["mail.read"]}

_simple("wrong_credential", "GET", "/keys")
_CONNECT = {"external_user_id": "42", "redirect_url": "https://shop.example/other"}
_by_key("invalid_redirect_url", "POST", "/connect/sessions", json=_CONNECT)
_by_key("connect_session_not_found", "POST", f"/connect/sessions/{_UNKNOWN}/complete", json={"code": "c"})
_by_key("mailbox_required", "GET", "/emails/syncs")
_by_key("invalid_key_rules", "POST", "/keys", json={**_KEY, "networks": ["everywhere"]})
_EXCHANGE = {
    "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
    "subject_token": _UNKNOWN,
    "subject_token_type": "urn:mailroom:token-type:user-id",
}
_by_key("invalid_scope", "POST", "/auth/token/exchange", json={**_EXCHANGE, "scope": "keys.manage"})
_by_key("insufficient_scope", "GET", "/applications")
_by_key("invalid_webhook", "POST", "/webhooks", json={"url": "https://shop.example:25/"})
_by_key("webhook_not_found", "GET", f"/webhooks/{_UNKNOWN}")
_by_key("api_key_not_found", "DELETE", "/keys/0A1b2C3d4E5")
_by_key("application_not_found", "PATCH", f"/applications/{uuid4()}", operator=True, json={"redirect_urls": []})
_by_key("application_exists", "POST", "/applications", operator=True, json={"name": "default"})
_by_key(
    "invalid_application",
    *("POST", "/applications"),
    operator=True,
    json={"name": "insecure", "redirect_urls": ["http://shop.example/"]},
)


@_gives("delivery_not_found")
async def _retry_of_no_delivery(place: Place) -> httpx.Response:
    headers = {"Authorization": f"Bearer {place.key}"}
    made = place.http.post("/webhooks", json={"url": "https://shop.example/hook"}, headers=headers).json()
    return place.http.post(f"/webhooks/{made['id']}/deliveries/1000000000/retry", headers=headers)


@_gives("too_many_webhooks")
async def _one_webhook_too_many(place: Place) -> httpx.Response:
    name = f"many-{uuid4()}"
    operator = {"Authorization": f"Bearer {place.operator_key}"}
    place.http.post("/applications", json={"name": name}, headers=operator).raise_for_status()
    key = place.stack.api_key(f"--application={name}", "--scopes=webhooks.manage")
    for _ in range(20):
        made = _new_webhook(place.http, key)
        assert made.status_code == 201, made.text
    return _new_webhook(place.http, key)


@_gives("webhooks_off")
async def _webhook_without_a_key(place: Place) -> httpx.Response:
    ports, stack = Ports(), place.stack
    mail_port, gateway_port = ports.free(), ports.free()
    mail = stack.add_twin("mail", number=3, MAIL_PORT=mail_port, MAIL_ADMIN_PORT=ports.free())
    gateway = stack.add_twin("gateway", number=3, GATEWAY_PORT=gateway_port, GATEWAY_ADMIN_PORT=ports.free())
    stack.start(mail, MAIL_SECRET_KEY="")
    stack.start(gateway, MAIL_ADDRESS=f"127.0.0.1:{mail_port}")
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{gateway_port}", trust_env=False, timeout=30) as client:
            return _new_webhook(client, place.key)
    finally:
        stack.stop(gateway)
        stack.stop(mail)
        ports.release()


def _new_webhook(client: httpx.Client, key: str) -> httpx.Response:
    body = {"url": "https://shop.example/hook"}
    return client.post("/webhooks", json=body, headers={"Authorization": f"Bearer {key}"})


@_gives("malformed_api_key")
async def _with_half_a_key(place: Place) -> httpx.Response:
    return place.http.get("/mailboxes", headers={"Authorization": f"Bearer {place.key[:30]}"})


@_gives("invalid_api_key")
async def _with_an_unknown_key(place: Place) -> httpx.Response:
    key = generate(secrets.token_bytes).value
    return place.http.get("/mailboxes", headers={"Authorization": f"Bearer {key}"})


@_gives("network_not_allowed")
async def _from_another_network(place: Place) -> httpx.Response:
    rules = {**_KEY, "networks": ["192.0.2.0/24"]}
    made = place.http.post("/keys", json=rules, headers={"Authorization": f"Bearer {place.key}"}).json()
    return place.http.get("/mailboxes", headers={"Authorization": f"Bearer {made['api_key']}"})


@_gives("reauthentication_required")
async def _disconnect_long_after_the_sign_in(place: Place) -> httpx.Response:
    person = place.person()
    await place.execute(
        "auth",
        """
        UPDATE sessions SET created_at = now() - interval '11 minutes'
        WHERE user_id = (SELECT user_id FROM accounts WHERE email = $1)
        """,
        person.email,
    )
    return person.delete(f"/emails/addresses/{person.address()['account_id']}")


_simple("method_not_allowed", "DELETE", "/emails/sync")
_simple("mailbox_not_found", "GET", f"/emails?account_id={_UNKNOWN}")
_simple("message_not_found", "GET", "/emails/none")
_simple("sync_not_found", "GET", "/emails/syncs/none")
_simple("request_too_large", "POST", "/emails/sync", content=b" " * 100_000, headers=_JSON)
_simple("unsupported_media_type", "POST", "/emails/sync", content=b"{}", headers={"Content-Type": "text/plain"})
_simple(
    "unsupported_content_encoding", "POST", "/emails/sync", content=b"{}", headers=_JSON | {"Content-Encoding": "gzip"}
)


@_gives("missing_token")
async def _without_a_token(place: Place) -> httpx.Response:
    return place.http.get("/auth/me")


@_gives("invalid_token")
async def _with_a_made_up_token(place: Place) -> httpx.Response:
    return place.http.get("/auth/me", headers={"Authorization": "Bearer made-up"})


@_gives("cors_not_allowed")
async def _preflight_of_another_origin(place: Place) -> httpx.Response:
    headers = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "GET"}
    return place.strict.options("/emails", headers=headers)


@_gives("client_proof_required")
async def _start_without_a_challenge(place: Place) -> httpx.Response:
    return place.strict.get("/auth/google/start")


@_gives("invalid_code_verifier")
async def _redeem_with_another_verifier(place: Place) -> httpx.Response:
    started = place.http.get("/auth/google/start", params={"code_challenge": _CHALLENGE}).raise_for_status().json()
    form = {"account": place.provider.new_user(), "decision": "allow"}
    location = place.http.post(started["authorization_url"], data=form).headers["location"]
    state = frontend_query(place.http, location)["state"]
    return place.http.post("/auth/token", json={"state": state, "code_verifier": _OTHER_VERIFIER})


def _link(place: Place, person: Person, email: str) -> str:
    """Start to link an address. Returns the `state` for POST /auth/token."""
    started = place.http.get("/auth/google/start", headers=person.headers()).raise_for_status().json()
    form = {"account": email, "decision": "allow"}
    location = place.http.post(started["authorization_url"], data=form).headers["location"]
    while True:
        location = place.http.get(location).headers["location"]
        query = dict(httpx.URL(location).params)
        if "state" in query and "client_id" not in query:
            return query["state"]
        # The provider gave no refresh token: it is asked once more.
        location = place.http.post(location, data=form).headers["location"]


def _linked(place: Place, person: Person, email: str) -> httpx.Response:
    return person.post("/auth/token", {"state": _link(place, person, email)})


@_gives("link_of_another_user")
async def _redeem_as_another_user(place: Place) -> httpx.Response:
    state = _link(place, place.person(), place.provider.new_user())
    return place.person().post("/auth/token", {"state": state})


@_gives("account_of_another_user")
async def _link_the_account_of_another(place: Place) -> httpx.Response:
    return _linked(place, place.person(), place.person().email)


@_gives("invalid_connect_code")
async def _complete_before_the_consent(place: Place) -> httpx.Response:
    place.stack.api_key(f"--redirect-url={RETURN}")
    back_end = BackEnd(place.http, place.key)
    return back_end.complete(back_end.start("42")["id"], "made-up")


@_gives("no_offline_access")
async def _link_what_is_disconnected_meanwhile(place: Place) -> httpx.Response:
    person, work = place.person(), place.provider.new_user()
    account_id = _linked(place, person, work).raise_for_status().json()["account_id"]
    state = _link(place, person, work)
    await place.execute("auth", "DELETE FROM accounts WHERE account_id = $1", account_id)
    return person.post("/auth/token", {"state": state})


@_gives("ambiguous_address")
async def _name_two_accounts(place: Place) -> httpx.Response:
    person, work = place.person(), place.provider.new_user()
    # The address passes from the first account to the second one, as addresses do.
    place.provider.rename(person.email, f"old-{person.email}")
    place.provider.rename(work, person.email)
    _linked(place, person, person.email).raise_for_status()
    # Mail learns both mailboxes.
    assert len(person.get("/mailboxes").json()["mailboxes"]) == 2
    return person.get(f"/emails?email={person.email}")


@_gives("user_not_found")
async def _as_a_deleted_user(place: Place) -> httpx.Response:
    person = place.person()
    user_id = person.get("/auth/me").json()["user_id"]
    await place.execute("auth", "DELETE FROM users WHERE user_id = $1", user_id)
    return person.get("/auth/me")


@_gives("invalid_page_token")
async def _with_the_cursor_of_another_list(place: Place) -> httpx.Response:
    person = place.visitor
    cursor = person.get(f"/emails?user_email={person.email}&limit=1").json()["next_cursor"]
    return person.get(f"/emails?user_email={person.email}&unread=true&cursor={cursor}")


@_gives("invalid_query")
async def _with_an_unclosed_group(place: Place) -> httpx.Response:
    return place.visitor.get(f"/emails?user_email={place.visitor.email}&q=(")


@_gives("invalid_since")
async def _from_no_position(place: Place) -> httpx.Response:
    return place.visitor.get(f"/emails/changes?user_email={place.visitor.email}&since=made-up")


@_gives("resync_required")
async def _from_the_position_of_another_mailbox(place: Place) -> httpx.Response:
    person, other = place.visitor, place.reader()[0]
    since = other.get(f"/emails/changes?user_email={other.email}").json()["next_since"]
    return person.get(f"/emails/changes?user_email={person.email}&since={since}")


@_gives("attachment_not_found")
async def _of_no_attachment(place: Place) -> httpx.Response:
    person, email = place.visitor, place.visitor.emails()[0]
    return person.get(f"/emails/{email['id']}/attachments/none")


@_gives("thread_not_found")
async def _of_no_thread(place: Place) -> httpx.Response:
    return place.visitor.get(f"/emails/threads/none?user_email={place.visitor.email}")


@_gives("nothing_to_verify")
async def _before_the_first_sync(place: Place) -> httpx.Response:
    person = place.person()
    return person.post("/emails/verify", {"email": person.email})


@_gives("idempotency_key_reused")
async def _with_the_key_of_another_request(place: Place) -> httpx.Response:
    person = place.visitor
    headers = {**person.headers(), "Idempotency-Key": "one of mine"}
    place.http.post("/emails/sync", json={"email": person.email}, headers=headers).raise_for_status()
    return place.http.post("/emails/sync", json={"email": person.email, "count": "all"}, headers=headers)


@_gives("reauth_required")
async def _after_a_revocation(place: Place) -> httpx.Response:
    person = place.person(messages=1)
    place.provider.post(f"/users/{person.email}/revoke")
    person.await_end(person.start_sync())
    return person.post("/emails/sync", {"email": person.email})


@_gives("account_not_found")
async def _of_an_account_that_auth_has_lost(place: Place) -> httpx.Response:
    """A download after auth's database was restored from a backup older than the account."""
    person, email = place.reader()
    await place.execute("auth", "DELETE FROM accounts WHERE email = $1", person.email)
    place.provider.post(f"/users/{person.email}/tokens/expire")
    return person.get(f"/emails/{email['id']}/raw")


def _download(place: Place, **fault: object) -> httpx.Response:
    """Ask for a message while the provider fails."""
    person, email = place.reader()
    place.provider.plan_faults({"user": person.email, **fault})
    return person.get(f"/emails/{email['id']}/raw")


@_gives("message_gone")
async def _of_a_message_deleted_at_the_provider(place: Place) -> httpx.Response:
    person, email = place.reader()
    place.provider.plan_faults({"user": person.email, "method": "gmail.history.list", "kind": "html_503"})
    place.provider.delete(person.email, email["external_id"])
    return person.get(f"/emails/{email['id']}/raw")


@_gives("provider_access_denied")
async def _while_the_provider_denies(place: Place) -> httpx.Response:
    return _download(place, method="gmail.messages.get", kind="error", status=403, reason="domainPolicy")


@_gives("provider_rate_limited")
async def _while_the_provider_limits(place: Place) -> httpx.Response:
    return _download(
        place, method="gmail.messages.get", kind="error", status=429, reason="rateLimitExceeded", retry_after=60.0
    )


@_gives("provider_unavailable")
async def _while_the_provider_is_down(place: Place) -> httpx.Response:
    return _download(place, method="gmail.messages.get", kind="html_503")


@_gives("provider_misconfigured")
async def _while_the_provider_refuses_the_client(place: Place) -> httpx.Response:
    person, email = place.reader()
    place.provider.post(f"/users/{person.email}/tokens/expire")
    place.provider.plan_faults({"method": "oauth.token", "kind": "error", "status": 401, "reason": "invalid_client"})
    return person.get(f"/emails/{email['id']}/raw")


@_gives("range_not_satisfiable")
async def _beyond_the_end(place: Place) -> httpx.Response:
    person, email = place.visitor, place.visitor.emails()[0]
    return person.get(f"/emails/{email['id']}/raw", Range="bytes=99999999-")


def _connect(client: httpx.Client, sent: bytes) -> socket.socket:
    connection = socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=30)
    connection.sendall(sent)
    return connection


def _answer(connection: socket.socket) -> httpx.Response:
    with connection, closing(HTTPResponse(connection)) as response:
        response.begin()
        return httpx.Response(response.status, headers=response.getheaders(), content=response.read())


@_gives("malformed_request")
async def _no_http(place: Place) -> httpx.Response:
    return _answer(_connect(place.http, b"HELLO\r\n\r\n"))


@_gives("request_timeout")
async def _half_a_head(place: Place) -> httpx.Response:
    return _answer(_connect(place.http, b"GET / HTTP/1.1\r\nHost: x\r\n"))


@_gives("url_too_long")
async def _long_url(place: Place) -> httpx.Response:
    return place.http.get("/emails", params={"q": "a" * 9_000})


@_gives("headers_too_large")
async def _many_cookies(place: Place) -> httpx.Response:
    return place.http.get("/emails", headers={"cookie": "a" * 40_000})


@_gives("too_many_connections")
async def _beside_open_requests(place: Place) -> httpx.Response:
    with ExitStack() as stack:
        async with place.database("auth") as connection, connection.transaction():
            await connection.execute("LOCK TABLE sessions IN ACCESS EXCLUSIVE MODE")
            for _ in range(STRICT_CONNECTIONS):
                stack.enter_context(_connect(place.strict, _REFRESH))

            async def are_under_way() -> bool:
                waiting = "SELECT count(*) FROM pg_locks WHERE relation = 'sessions'::regclass AND NOT granted"
                return int(await connection.fetchval(waiting)) == STRICT_CONNECTIONS

            await eventually(are_under_way)
            return _answer(_connect(place.strict, b""))


@_gives("too_many_requests")
async def _twice_in_a_minute(place: Place) -> httpx.Response:
    headers = place.person().headers()
    place.strict.get("/auth/me", headers=headers).raise_for_status()
    return place.strict.get("/auth/me", headers=headers)


@_gives("service_unavailable")
async def _without_mail(place: Place) -> httpx.Response:
    return place.strict.get("/emails/addresses", headers=place.visitor.headers())


@_gives("deadline_exceeded")
async def _while_mail_waits_for_a_lock(place: Place) -> httpx.Response:
    headers = place.visitor.headers()
    async with place.database("mail") as connection, connection.transaction():
        await connection.execute("LOCK TABLE mailboxes IN ACCESS EXCLUSIVE MODE")
        return place.http.get("/emails/addresses", headers=headers)


@_gives("internal")
async def _without_a_table(place: Place) -> httpx.Response:
    await place.execute("auth", "ALTER TABLE security_events RENAME TO hidden")
    try:
        return place.visitor.get("/auth/events")
    finally:
        await place.execute("auth", "ALTER TABLE hidden RENAME TO security_events")
