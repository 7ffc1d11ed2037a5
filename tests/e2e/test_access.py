"""Who may call what: every operation of OpenAPI, by each kind of credential.

The operations come from the document, so that a new one without a request here fails.
"""

import asyncio
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import jwt
import pytest

from deploy.local import placement
from services.gateway.access import KEYS_ONLY, OF_USERS, OPERATIONS, Credential, requirement_of
from services.kit.scopes import EXCHANGEABLE, OPERATOR_SCOPES, WHOLE_APPLICATION, Scope
from tests.e2e.test_disconnecting import database_of
from tests.support.e2e.back_ends import RETURN, BackEnd, consented
from tests.support.e2e.people import Person, Provider
from tests.support.e2e.running_stack import RunningStack
from tests.support.gateway.document import openapi_document, operations

DOCUMENT = {operation["operationId"]: name for name, operation in operations(openapi_document())}
# Those that ask something of their callers.
ASKING = [name for name in DOCUMENT if requirement_of(name) is not Credential.NONE]
WITH_SCOPE = [name for name in ASKING if isinstance(requirement_of(name), Scope)]
ALL = sorted(set(Scope) - OPERATOR_SCOPES)
_ALL_SCOPES = f"--scopes={','.join(ALL)}"
_MESSAGE = b"""\
From: Grace <grace@example.com>
Subject: With an attachment
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=b

--b
Content-Type: text/plain

Text.
--b
Content-Type: application/octet-stream
Content-Disposition: attachment; filename=a.bin

bytes
--b--
""".replace(b"\n", b"\r\n")
# More than the buffers between the database and a client that does not read.
_LARGE_MESSAGES = 30
_LARGE_MESSAGE = b"From: Grace <grace@example.com>\r\nSubject: Large\r\n\r\n" + b"word and word again\r\n" * 30_000
# Seconds for what takes one: gateways hear of revocations every second. Without that it would take ten minutes.
_SOON = 30
_UNKNOWN = "00000000-0000-4000-8000-00000000dead"


@dataclass
class Tenant:
    """An application with a user whose mailbox is synced, and what requests name of it."""

    person: Person
    mailbox_id: str
    user_id: str
    email: dict[str, Any]
    sync_id: str
    attachment_id: str = "0"
    key_id: str = ""
    application_id: str = ""
    # A connect session of the application default, and the code that completes it.
    connect_session: str = ""
    connect_code: str = ""
    # A webhook of the application default, and a delivery of it.
    webhook_id: str = _UNKNOWN
    delivery_id: str = "0"

    def request(self, operation: str) -> tuple[str, str, dict[str, Any]]:
        """Return method, path and options of a request for something of this tenant."""
        method, path = DOCUMENT[operation].split(" ")
        one = path.rpartition("/{")[0].removesuffix("/retry").rpartition("/")[2]
        ids = {
            "syncs": self.sync_id,
            "threads": str(self.email["thread_id"]),
            "emails": str(self.email["id"]),
            "users": self.user_id,
            "keys": self.key_id,
            "applications": self.application_id,
            "webhooks": self.webhook_id,
            "sessions": self.connect_session if path.startswith("/connect/") else _UNKNOWN,
        }
        kind = re.split(r"/\{id\}", path)[0].rpartition("/")[2] if "{id}" in path else one
        path = path.replace("{id}", ids.get(kind, "")).replace("{attachment_id}", self.attachment_id)
        path = path.replace("{mailbox_id}", self.mailbox_id).replace("{account_id}", self.mailbox_id)
        path = path.replace("{delivery_id}", self.delivery_id)
        return method, path, self.options(operation)

    def options(self, operation: str) -> dict[str, Any]:
        """Return the parameters and the body of a request."""
        mailbox = {"mailbox_id": self.mailbox_id}
        bodies: dict[str, Any] = {
            "startSync": {**mailbox, "count": 1},
            "verifyMailbox": mailbox,
            "createKey": {"name": "another", "scopes": ["mail.read"]},
            "createApplication": {"name": f"made beside {self.mailbox_id}"},
            "updateApplication": {"redirect_urls": [RETURN]},
            "addUser": {"external_user_id": "42"},
            "exchangeToken": exchange_of(self.user_id),
            "createConnectSession": {"external_user_id": "42", "redirect_url": RETURN},
            "completeConnectSession": {"code": self.connect_code},
            "createWebhook": {"url": "https://shop.example/another"},
            "updateWebhook": {"description": "changed"},
            "rotateWebhookSecret": {},
            "replayWebhook": {"since": "2026-01-31T06:00:00Z"},
        }
        if operation in bodies:
            return {"json": bodies[operation]}
        named = (
            "listEmails",
            "exportEmails",
            "listChanges",
            "streamChanges",
            "listLabels",
            "listThreads",
            "getThread",
            "listSyncs",
            "getUsage",
        )
        return {"params": mailbox} if operation in named else {}


def exchange_of(user_id: str, *scopes: str) -> dict[str, str]:
    """Return the body of a request to exchange a key for a token of this user."""
    return {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token": user_id,
        "subject_token_type": "urn:mailroom:token-type:user-id",
        "scope": " ".join(scopes),
    }


# Operations that name nothing of a tenant: a key gets what is its own application's.
UNNAMED = frozenset(
    (
        *("listMailboxes", "listAddresses", "listUsers", "addUser", "listKeys", "createKey", "listApplications"),
        *("listWebhooks", "createWebhook", "listAuditEvents"),
    )
) | {"createApplication", "createConnectSession"}
# Those after which something is gone: each has a tenant of its own.
DESTRUCTIVE = frozenset({"deleteApplication", "disconnectMailbox", "disconnectAddress", "deleteOneUser", "deleteUser"})
OPERATOR_ONLY = frozenset(name for name in WITH_SCOPE if requirement_of(name) in OPERATOR_SCOPES)


@dataclass
class World:
    """Two applications on one stack: `tenant` and `neighbour` are users of the application default."""

    stack: RunningStack
    http: httpx.Client
    control: Provider
    tenant: Tenant
    neighbour: Tenant
    keys: dict[tuple[str, ...], str] = field(default_factory=dict)

    def new_tenant(self) -> Tenant:
        """Return another user of the application default, with a synced mailbox."""
        return new_tenant(self.http, self.control)

    def new_application(self, name: str) -> str:
        """Create an application; return its id."""
        headers = {"Authorization": f"Bearer {self.key('--operator')}"}
        made = self.http.post("/applications", json={"name": name, "redirect_urls": [RETURN]}, headers=headers)
        assert made.status_code == 201, made.text
        return str(made.json()["id"])

    def key(self, *options: str) -> str:
        """Return the key that these options of the command line make."""
        return self.once(options, lambda: self.stack.api_key(*options))

    def made(self, **rules: object) -> str:
        """Return the key of the application default that these rules make."""

        def create() -> str:
            headers = {"Authorization": f"Bearer {self.key(_ALL_SCOPES)}"}
            answer = self.http.post("/keys", json={"name": "made", "scopes": ALL, **rules}, headers=headers)
            assert answer.status_code == 201, answer.text
            return str(answer.json()["api_key"])

        return self.once((repr(rules),), create)

    def once(self, name: tuple[str, ...], make: Callable[[], str]) -> str:
        """Return what was made under this name, or make it: a command takes seconds."""
        if name not in self.keys:
            self.keys[name] = make()
        return self.keys[name]

    def revoked(self, operation: str) -> str:
        """Return a key that was revoked before it was used."""
        if operation in OPERATOR_ONLY:
            key = self.key("--operator", "--name=revoked")
            self.once(("revoke", key), lambda: self.stack.api_key("--operator", f"--revoke={id_of(key)}"))
            return key
        key = self.made(name="revoked")
        self.once(("revoke", key), lambda: self.revoke(key))
        return key

    def ended(self, key: str) -> str:
        """Return a key whose end has come since it was made."""

        async def end() -> None:
            async with database_of(self.stack, "auth") as database:
                await database.execute("UPDATE api_keys SET expires_at = now() WHERE key_id = $1", id_of(key))

        def ended() -> str:
            asyncio.run(end())
            return key

        return self.once(("end", key), ended)

    def exchanged(self, tenant: Tenant, *scopes: str, key: str = "") -> str:
        """Return the access token of the tenant that a key is exchanged for."""
        headers = {"Authorization": f"Bearer {key or self.key(_ALL_SCOPES)}"}
        answer = self.http.post("/auth/token/exchange", json=exchange_of(tenant.user_id, *scopes), headers=headers)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    def revoke(self, key: str) -> str:
        """Revoke a key of the application default."""
        headers = {"Authorization": f"Bearer {self.key(_ALL_SCOPES)}"}
        answer = self.http.delete(f"/keys/{id_of(key)}", headers=headers)
        assert answer.status_code == 204, answer.text
        return key

    def credential(self, case: str, operation: str) -> str:
        """Return the credential of a case."""
        is_operators = operation in OPERATOR_ONLY
        match case:
            case "another application":
                return self.key("--application=other", _ALL_SCOPES)
            case "without the scope":
                return self.made(scopes=sorted(set(ALL) - {requirement_of(operation)}))
            case "other mailboxes":
                return self.made(scopes=sorted(set(ALL) - WHOLE_APPLICATION), mailbox_ids=[self.neighbour.mailbox_id])
            case "revoked":
                return self.revoked(operation)
            case "expired":
                return self.ended(self.key("--operator", "--name=ended") if is_operators else self.made(name="ended"))
            case "another network":
                there = "192.0.2.0/24"
                return self.key("--operator", f"--networks={there}") if is_operators else self.made(networks=[there])
            case _:
                return self.key("--operator") if is_operators else self.key(_ALL_SCOPES)

    def webhook(self) -> tuple[str, str]:
        """Return the ids of a new webhook of the application default, and of its first delivery."""
        headers = {"Authorization": f"Bearer {self.key(_ALL_SCOPES)}"}
        made = self.http.post("/webhooks", json={"url": "https://shop.example/hook"}, headers=headers)
        assert made.status_code == 201, made.text
        webhook_id = made.json()["id"]
        [delivery] = self.http.get(f"/webhooks/{webhook_id}/deliveries", headers=headers).json()["deliveries"]
        return webhook_id, delivery["id"]

    def send(self, tenant: Tenant, operation: str, credential: str | None) -> httpx.Response:
        """Send a request for something of the tenant."""
        method, path, options = tenant.request(operation)
        headers = {} if credential is None else {"Authorization": f"Bearer {credential}"}
        if operation != "streamChanges":
            return self.http.request(method, path, headers=headers, **options)
        with self.http.stream(method, path, headers=headers, **options) as answer:
            # One that succeeds has no end.
            text = "" if answer.is_success else answer.read().decode()
        return httpx.Response(answer.status_code, headers=answer.headers, text=text)


def id_of(key: str) -> str:
    """Return the id in the text of a key."""
    return key.split("_")[1]


def new_tenant(http: httpx.Client, control: Provider) -> Tenant:
    """Return a new user with a synced mailbox, whose newest message has an attachment."""
    email = control.new_user()
    control._http.post(f"/users/{email}/import", content=_MESSAGE).raise_for_status()
    person = Person.sign_in(http, email)
    sync = person.sync()
    [mailbox] = person.get("/mailboxes").json()["mailboxes"]
    [listed] = person.emails()
    [attachment] = person.get(f"/emails/{listed['id']}").json()["attachments"]
    return Tenant(
        person=person,
        mailbox_id=mailbox["mailbox_id"],
        user_id=mailbox["user_id"],
        email=listed,
        sync_id=sync["id"],
        attachment_id=attachment["id"],
    )


@pytest.fixture(scope="module")
def world(stack: RunningStack, http: httpx.Client) -> Iterator[World]:
    control = Provider(stack.sandbox_url)
    world = World(stack, http, control, new_tenant(http, control), new_tenant(http, control))
    world.tenant.application_id = world.new_application("other")
    world.tenant.key_id = id_of(world.made(name="of the tenant"))
    stack.api_key(f"--redirect-url={RETURN}")
    world.tenant.webhook_id, world.tenant.delivery_id = world.webhook()
    session = BackEnd(http, world.key(_ALL_SCOPES)).start("42")
    back = consented(http, session["url"], control.new_user())
    world.tenant.connect_session, world.tenant.connect_code = back["session"], back["code"]
    yield world
    control.close()


def expected(case: str, operation: str) -> int:
    """Return the status of a refusal; 200 where an answer must show nothing of the tenant."""
    is_limited_out = requirement_of(operation) in WHOLE_APPLICATION or operation in OPERATOR_ONLY | OF_USERS
    match case:
        case "none" | "revoked" | "expired":
            return 401
        case "without the scope" | "another network":
            return 403
        case "other mailboxes" if is_limited_out:
            return 403
        case _:
            return 200 if operation in UNNAMED else 404


REFUSED = (
    *("none", "another application", "without the scope", "other mailboxes"),
    *("revoked", "expired", "another network"),
)


class TestOperation:
    def test_has_a_row(self) -> None:
        assert {name for name in DOCUMENT if name not in OPERATIONS} == {"completeSignIn", "acceptGooglePush"}

    @pytest.mark.parametrize("case", REFUSED)
    @pytest.mark.parametrize("operation", WITH_SCOPE)
    def test_is_refused(self, world: World, operation: str, case: str) -> None:
        if case == "another application" and operation in OPERATOR_ONLY:
            pytest.skip("an operator key belongs to no application")
        credential = None if case == "none" else world.credential(case, operation)
        answer = world.send(world.tenant, operation, credential)
        wanted = expected(case, operation)
        assert answer.is_success if wanted == 200 else answer.status_code == wanted, answer.text
        for secret in (world.tenant.mailbox_id, world.tenant.user_id, world.tenant.key_id, world.tenant.webhook_id):
            assert secret not in answer.text
        if wanted == 401:
            assert answer.headers["www-authenticate"].startswith("Bearer")

    @pytest.mark.parametrize("operation", WITH_SCOPE)
    def test_is_open_to_the_right_key(self, world: World, operation: str) -> None:
        tenant = world.new_tenant() if operation in DESTRUCTIVE else world.tenant
        if operation == "revokeKey":
            tenant = replace(tenant, key_id=id_of(world.made(name="to revoke")))
        if operation == "deleteWebhook":
            tenant = replace(tenant, webhook_id=world.webhook()[0])
        if operation == "deleteApplication":
            tenant = replace(tenant, application_id=world.new_application("to delete"))
        answer = world.send(tenant, operation, world.credential("right", operation))
        assert answer.is_success, answer.text

    @pytest.mark.parametrize("operation", [name for name in ASKING if name not in WITH_SCOPE])
    def test_of_a_user_is_refused_to_keys(self, world: World, operation: str) -> None:
        assert world.send(world.tenant, operation, None).status_code == 401
        answer = world.send(world.tenant, operation, world.credential("right", operation))
        assert (answer.status_code, answer.json()["code"]) == (403, "wrong_credential")

    @pytest.mark.parametrize("operation", WITH_SCOPE)
    def test_is_open_to_a_user_unless_it_is_an_applications(self, world: World, operation: str) -> None:
        tenant = world.new_tenant() if operation in DESTRUCTIVE - KEYS_ONLY else world.tenant
        answer = world.send(tenant, operation, tenant.person.token)
        assert answer.status_code == 403 if operation in KEYS_ONLY else answer.is_success, answer.text


EXCHANGED = [name for name in WITH_SCOPE if name not in KEYS_ONLY]


class TestExchangedToken:
    def test_verifies_against_the_published_keys_and_names_its_actor(self, world: World) -> None:
        token = world.exchanged(world.tenant, Scope.MAIL_READ)
        issuer = world.stack.gateway_url
        keys = jwt.PyJWKSet.from_dict(world.http.get("/.well-known/jwks.json").json())
        header = jwt.get_unverified_header(token)
        claims = jwt.decode(token, keys[header["kid"]], algorithms=["ES256"], audience=issuer, issuer=issuer)
        assert header["typ"] == "at+jwt"
        assert claims["sub"] == world.tenant.user_id
        assert claims["act"] == {"sub": f"key:{id_of(world.key(_ALL_SCOPES))}"}
        assert claims["scope"] == "mail.read"
        assert claims["exp"] - claims["iat"] == 900
        assert "sid" not in claims

    def test_is_no_refresh_token(self, world: World) -> None:
        headers = {"Authorization": f"Bearer {world.key(_ALL_SCOPES)}"}
        made = world.http.post("/auth/token/exchange", json=exchange_of(world.tenant.user_id), headers=headers).json()
        assert made["scope"] == "mail.read mailboxes.read"
        assert "refresh_token" not in made
        answer = world.http.post("/auth/refresh", json={"refresh_token": made["access_token"]})
        assert answer.status_code in (400, 401)

    @pytest.mark.parametrize("operation", EXCHANGED)
    def test_is_admitted_within_its_scopes_to_its_users_mailboxes(self, world: World, operation: str) -> None:
        scope = requirement_of(operation)
        assert isinstance(scope, Scope)
        tenant = world.new_tenant() if operation in DESTRUCTIVE else world.tenant
        others = world.exchanged(tenant, *EXCHANGEABLE - {scope})
        refused = world.send(tenant, operation, others)
        assert (refused.status_code, refused.json()["code"]) == (403, "insufficient_scope")
        foreign = world.send(tenant, operation, world.exchanged(world.neighbour, scope))
        assert foreign.is_success if operation in UNNAMED else foreign.status_code == 404, foreign.text
        assert tenant.mailbox_id not in foreign.text
        answer = world.send(tenant, operation, world.exchanged(tenant, scope))
        assert answer.is_success, answer.text

    @pytest.mark.parametrize("operation", [name for name in ASKING if name not in EXCHANGED])
    def test_is_refused_what_is_a_users_own_or_an_applications(self, world: World, operation: str) -> None:
        answer = world.send(world.tenant, operation, world.exchanged(world.tenant, *EXCHANGEABLE))
        assert (answer.status_code, answer.json()["code"]) == (403, "wrong_credential")

    def test_links_no_account(self, world: World) -> None:
        headers = {"Authorization": f"Bearer {world.exchanged(world.tenant, *EXCHANGEABLE)}"}
        started = world.http.get("/auth/google/start", headers=headers)
        redeemed = world.http.post("/auth/token", json={"state": "made-up"}, headers=headers)
        for answer in (started, redeemed):
            assert (answer.status_code, answer.json()["code"]) == (403, "wrong_credential")

    def test_ends_with_its_key(self, world: World) -> None:
        key = world.made(name="exchanged")
        token = world.exchanged(world.tenant, Scope.MAIL_READ, key=key)
        headers = {"Authorization": f"Bearer {token}"}
        params = {"mailbox_id": world.tenant.mailbox_id}
        since = world.http.get("/emails/changes", params=params, headers=headers).json()["next_since"]
        with ThreadPoolExecutor(1) as pool:
            polling = pool.submit(
                world.http.get,
                "/emails/changes",
                params={**params, "since": since},
                headers={**headers, "Prefer": "wait=60"},
            )
            world.revoke(key)
            assert polling.result(timeout=_SOON).json()["code"] == "invalid_token"
        answer = world.send(world.tenant, "listEmails", token)
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token")


def dump(stack: RunningStack) -> str:
    """Return what `pg_dump` writes of the databases of auth and mail."""
    variables = stack.variables
    environment = os.environ | {"PGPASSWORD": variables["POSTGRES_PASSWORD"]}
    place = ["-h", variables["POSTGRES_HOST"], "-p", variables["POSTGRES_PORT"], "-U", variables["POSTGRES_USER"]]
    return "".join(
        subprocess.run(
            [placement.installed_program() / "pg_dump", *place, f"{variables['POSTGRES_DB']}_{name}"],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for name in ("auth", "mail")
    )


class TestRotation:
    def test_drops_no_request_under_load(self, world: World) -> None:
        back_end = Rotating(world, world.made(name="first"))
        with ThreadPoolExecutor(3) as pool:
            clients = [pool.submit(back_end.ask_until_stopped) for _ in range(3)]
            try:
                for number in range(2):
                    back_end.answered(10)
                    former = back_end.rotate(world.made(name=f"next {number}"))
                    # Each client has taken the next key by now.
                    back_end.answered(2 * len(clients))
                    world.revoke(former)
                    while world.send(world.tenant, "listMailboxes", former).status_code == 200:
                        pass
            finally:
                back_end.is_stopped = True
            for client in clients:
                client.result(timeout=_SOON)
        assert set(back_end.statuses) == {200}


@dataclass
class Rotating:
    """Clients that share a key, which is rotated while they ask."""

    world: World
    key: str
    statuses: list[int] = field(default_factory=list)
    is_stopped: bool = False

    def ask_until_stopped(self) -> None:
        """List mailboxes again and again."""
        with httpx.Client(base_url=self.world.stack.gateway_url, trust_env=False, timeout=30) as http:
            while not self.is_stopped:
                headers = {"Authorization": f"Bearer {self.key}"}
                self.statuses.append(http.get("/mailboxes", params={"limit": 1}, headers=headers).status_code)

    def answered(self, count: int) -> None:
        """Wait for so many more answers."""
        wanted = len(self.statuses) + count
        while len(self.statuses) < wanted:
            time.sleep(0.005)

    def rotate(self, key: str) -> str:
        """Let the clients use another key; return the one before."""
        former, self.key = self.key, key
        return former


class TestKey:
    def test_with_a_typo_is_told_at_once(self, world: World) -> None:
        key = world.key(_ALL_SCOPES)
        typo = key[:-10] + ("A" if key[-10] != "A" else "B") + key[-9:]
        answer = world.send(world.tenant, "listMailboxes", typo)
        assert (answer.status_code, answer.json()["code"]) == (401, "malformed_api_key")

    def test_creates_none_that_can_do_more(self, world: World) -> None:
        headers = {"Authorization": f"Bearer {world.made(scopes=['keys.manage', 'mail.read'])}"}
        for more in ({"scopes": ["mailboxes.manage"]}, {"scopes": ["applications.manage"]}):
            answer = world.http.post("/keys", json={"name": "more", **more}, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (400, "invalid_key_rules")

    def test_that_another_made_outlives_it_and_names_it(self, world: World) -> None:
        stolen = world.made(name="stolen")
        made = world.http.post(
            "/keys",
            json={"name": "the thief's", "scopes": ["mailboxes.read"]},
            headers={"Authorization": f"Bearer {stolen}"},
        ).json()
        world.revoke(stolen)
        assert world.send(world.tenant, "listMailboxes", made["api_key"]).status_code == 200
        listed = world.http.get("/keys", headers={"Authorization": f"Bearer {world.key(_ALL_SCOPES)}"}).json()["keys"]
        assert [key["created_by"] for key in listed if key["id"] == made["id"]] == [id_of(stolen)]

    def test_lists_the_application_in_pages(self, world: World) -> None:
        headers = {"Authorization": f"Bearer {world.key(_ALL_SCOPES)}"}
        found: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            page = world.http.get("/mailboxes", params={"limit": 1, "cursor": cursor}, headers=headers).json()
            found += [mailbox["mailbox_id"] for mailbox in page["mailboxes"]]
            cursor = page["next_cursor"]
        assert len(found) == len(set(found))
        assert {world.tenant.mailbox_id, world.neighbour.mailbox_id} <= set(found)
        mine = world.http.get("/mailboxes", params={"user_id": world.tenant.user_id}, headers=headers).json()
        assert [mailbox["mailbox_id"] for mailbox in mine["mailboxes"]] == [world.tenant.mailbox_id]

    def test_is_in_no_log_dump_or_event(self, world: World) -> None:
        key = world.key(_ALL_SCOPES)
        secret = key.rpartition("_")[2]
        world.send(world.tenant, "listMailboxes", key)
        for name in ("auth", "mail", "gateway", "worker"):
            assert secret not in world.stack.log_file(name).read_text(errors="replace")
        dumped = dump(world.stack)
        assert id_of(key) in dumped
        assert secret not in dumped
        events = BackEnd(world.http, key).get(f"/keys/{id_of(key)}/events")
        assert "created" in events.text
        assert secret not in events.text

    def test_is_refused_soon_after_its_revocation(self, world: World) -> None:
        key = world.made(name="short")
        assert world.send(world.tenant, "listMailboxes", key).status_code == 200
        world.revoke(key)
        deadline = time.monotonic() + _SOON
        while world.send(world.tenant, "listMailboxes", key).status_code == 200:
            assert time.monotonic() < deadline
        answer = world.send(world.tenant, "listMailboxes", key)
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid_api_key")

    def test_ends_long_polls_when_it_is_revoked(self, world: World) -> None:
        key = world.made(name="polling")
        headers = {"Authorization": f"Bearer {key}"}
        since = world.http.get("/emails/changes", params={"mailbox_id": world.tenant.mailbox_id}, headers=headers)
        with ThreadPoolExecutor(1) as pool:
            polling = pool.submit(
                world.http.get,
                "/emails/changes",
                params={"mailbox_id": world.tenant.mailbox_id, "since": since.json()["next_since"]},
                headers={**headers, "Prefer": "wait=60"},
            )
            world.revoke(key)
            assert polling.result(timeout=_SOON).json()["code"] == "invalid_api_key"

    def test_ends_quiet_streams_soon_after_its_revocation(self, world: World) -> None:
        key = world.made(name="streaming")
        headers = {"Authorization": f"Bearer {key}"}
        params = {"mailbox_id": world.tenant.mailbox_id}
        with world.http.stream("GET", "/emails/changes/stream", params=params, headers=headers) as stream:
            pieces = stream.iter_raw()
            next(pieces)
            world.revoke(key)
            revoked = time.monotonic()
            # The connection can be cut before the last event is sent.
            with suppress(httpx.RemoteProtocolError):
                assert b"invalid_api_key" in b"".join(pieces)
        assert time.monotonic() < revoked + _SOON

    def test_ends_exports_soon_after_its_revocation(self, world: World) -> None:
        key = world.made(name="exporting")
        email = world.control.new_user()
        for _ in range(_LARGE_MESSAGES):
            world.control._http.post(f"/users/{email}/import", content=_LARGE_MESSAGE).raise_for_status()
        person = Person.sign_in(world.http, email)
        person.sync()
        headers = {"Authorization": f"Bearer {key}", "Accept-Encoding": "identity"}
        mailbox = person.get("/mailboxes").json()["mailboxes"][0]["mailbox_id"]
        received = 0
        with world.http.stream("GET", "/emails/export", params={"mailbox_id": mailbox}, headers=headers) as export:
            pieces = export.iter_raw()
            received += len(next(pieces))
            world.revoke(key)
            revoked = time.monotonic()
            while world.send(world.tenant, "listMailboxes", key).status_code == 200:
                assert time.monotonic() < revoked + _SOON
            received += until_broken(pieces)
        assert time.monotonic() < revoked + _SOON
        assert received < _LARGE_MESSAGES * len(_LARGE_MESSAGE)


def until_broken(pieces: Iterator[bytes]) -> int:
    """Read a stream that breaks off; return how many bytes came."""
    received = 0
    try:
        for piece in pieces:
            received += len(piece)
    except httpx.RemoteProtocolError:
        return received
    raise AssertionError("the stream came to its end")
