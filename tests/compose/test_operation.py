"""Commands of docs/operate.md work as printed there, and clients notice none of them."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.e2e.test_sync import same_as
from tests.e2e.test_verify import digest_at
from tests.support.compose.composed_system import ComposedSystem
from tests.support.compose.operating import Operator
from tests.support.e2e.people import Person, Provider, consent, frontend_query, new_proof, redeem
from tests.support.e2e.traffic import Balancer, traffic

pytestmark = pytest.mark.compose

# Secrets that survive the loss of a machine: kept elsewhere, or with Google.
KEPT = {"secret_key", "secret_key_previous", "mail_secret_key", "mail_secret_key_previous", "google_client_secret"}
TRY_SECONDS = 60
# Changes with each table, index and migration.
_SCHEMA = "SELECT (SELECT max(oid) FROM pg_class), (SELECT xmin::text || version_num FROM alembic_version)"
_ENTER = """
import asyncio, asyncpg

async def enter():
    await asyncpg.connect(
        host="postgres", user="mailroom_mail_service", password={password!r}, database="mailroom_mail"
    )

try:
    asyncio.run(enter())
    print("entered", end="")
except asyncpg.InvalidPasswordError:
    print("refused", end="")
"""


@pytest.fixture(scope="module")
def system(production: ComposedSystem) -> ComposedSystem:
    """The system under test."""
    return production


@pytest.fixture
def ada(http: httpx.Client, provider: Provider) -> Person:
    """A person with a copied mailbox."""
    person = Person.sign_in(http, provider.new_user(messages=10))
    person.sync()
    return person


@contextmanager
def _used_all_the_time(person: Person, *gateways: str) -> Iterator[None]:
    """Let clients read, sync and sign in without pause at any ready gateway; fail if one request failed."""
    headers = {"Authorization": f"Bearer {person.token}"}

    def read(http: httpx.Client) -> None:
        for path in (f"/emails?user_email={person.email}&limit=5", "/auth/me"):
            answer = http.get(path, headers=headers)
            assert answer.status_code == 200, answer.text

    def sync(http: httpx.Client) -> None:
        answer = http.post("/emails/sync", json={"email": person.email}, headers={**headers, "Prefer": "wait=10"})
        assert answer.status_code in (200, 202), answer.text

    def sign_in(http: httpx.Client) -> None:
        # The provider redirects to the public address, which here is one of the gateways.
        verifier, challenge = new_proof()
        callback = urlsplit(consent(http, person.email, code_challenge=challenge))
        redeem(http, frontend_query(http, f"{callback.path}?{callback.query}")["state"], code_verifier=verifier)

    balancer = Balancer({gateway: f"{gateway}/readyz" for gateway in gateways})
    with traffic(balancer, {"read": read, "sync": sync, "sign in": sign_in}) as clients:
        clients.until_all_were_answered()
        yield
        clients.until_all_were_answered()
    assert not clients.failures, "\n".join(clients.failures)


def _goes_on(provider: Provider, person: Person) -> None:
    """Check that new mail arrives with a token that auth had to refresh, and that no message was lost."""
    provider.post(f"/users/{person.email}/tokens/expire")
    provider.deliver(person.email, count=2)
    person.sync()
    same_as(provider, person)


def _asked_of(system: ComposedSystem, service: str, query: str) -> str:
    """Query the database of a service."""
    psql = ("exec", "-T", "postgres", "psql", "--username=postgres", "--no-align", "--tuples-only")
    return system.compose(*psql, f"--dbname=mailroom_{service}", f"--command={query}").strip()


class TestUpgrade:
    def test_replaces_running_containers_and_fails_no_request(
        self, system: ComposedSystem, operator: Operator, ada: Person
    ) -> None:
        replaced = ("auth", "mail", "worker", "gateway")
        before = {name: system.compose("ps", "--quiet", name).split() for name in replaced}
        # Behind a proxy that knows both ports of the gateway.
        first, second = int(system.variables["GATEWAY_PORT"]), int(system.variables["SECOND_GATEWAY_PORT"])
        ranged = operator.settings(GATEWAY_PUBLISH=f"127.0.0.1:{first}-{second}")
        with ranged, _used_all_the_time(ada, system.gateway_url, f"http://localhost:{second}"):
            operator.follow("Upgrade")
            assert system.compose("port", "gateway", "8000").strip() == f"127.0.0.1:{second}"
        after = {name: system.compose("ps", "--quiet", name).split() for name in replaced}
        assert {name: len(after[name]) for name in replaced} == {"auth": 1, "mail": 1, "worker": 2, "gateway": 1}
        assert all(set(before[name]).isdisjoint(after[name]) for name in replaced)
        # With one port again: with a pause.
        operator.mailroom("replace-service", "gateway")
        assert system.compose("port", "gateway", "8000").strip() == f"127.0.0.1:{first}"
        assert ada.get("/auth/me").status_code == 200

    def test_to_containers_that_fail_leaves_the_old_ones_however_often(
        self, system: ComposedSystem, operator: Operator, ada: Person
    ) -> None:
        before = system.compose("ps", "--all", "--quiet", "worker").split()
        with operator.settings(WORKER_SLOTS="none"), _used_all_the_time(ada, system.gateway_url):
            for _ in range(2):
                with pytest.raises(AssertionError, match="WORKER_SLOTS"):
                    operator.mailroom("replace-service", "worker")
        assert sorted(system.compose("ps", "--all", "--quiet", "worker").split()) == sorted(before)

    def test_without_a_new_migration_leaves_the_tables_as_they_are(self, system: ComposedSystem) -> None:
        services = ("auth", "mail")
        before = [_asked_of(system, service, _SCHEMA) for service in services]
        for service in services:
            system.compose("run", "--rm", f"{service}-migrations")
        assert [_asked_of(system, service, _SCHEMA) for service in services] == before


class TestRollBack:
    def test_starts_an_older_release_on_a_newer_database(
        self, system: ComposedSystem, ada: Person, provider: Provider
    ) -> None:
        _asked_of(system, "mail", "UPDATE alembic_version SET version_num = version_num || '-and-more'")
        system.compose("up", "--detach", "--wait", "--force-recreate", "mail-migrations", "mail", timeout=300)
        assert _asked_of(system, "mail", "SELECT version_num FROM alembic_version").endswith("-and-more")
        _goes_on(provider, ada)
        _asked_of(system, "mail", "UPDATE alembic_version SET version_num = replace(version_num, '-and-more', '')")


def _await_try(http: httpx.Client, webhook: str, headers: dict[str, str]) -> None:
    """Wait until the newest event of a webhook was tried, for which its signature was made."""
    deadline = time.monotonic() + TRY_SECONDS
    while True:
        answer = http.get(f"{webhook}/deliveries", headers=headers)
        assert answer.status_code == 200, answer.text
        if answer.json()["deliveries"][0]["attempts"]:
            return
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.2)


class TestRotation:
    @pytest.mark.long
    def test_of_the_secret_key_fails_no_request_and_forgets_the_old_one(
        self, system: ComposedSystem, operator: Operator, ada: Person, provider: Provider
    ) -> None:
        old = operator.secret("secret_key")
        with _used_all_the_time(ada, system.gateway_url):
            operator.follow("SECRET_KEY")
        assert operator.secret("secret_key") != old
        assert operator.secret("secret_key_previous") == ""
        _goes_on(provider, ada)

    @pytest.mark.long
    def test_of_mails_key_keeps_the_secrets_of_webhooks(
        self, system: ComposedSystem, operator: Operator, http: httpx.Client
    ) -> None:
        headers = {"Authorization": f"Bearer {operator.api_key('webhooks.manage')}"}
        body = {"url": "https://receiver.invalid/mailroom", "events": ["message.created"]}
        made = http.post("/webhooks", json=body, headers=headers)
        assert made.status_code == 201, made.text
        stored = "SELECT string_agg(encode(encrypted, 'hex'), ' ') FROM webhook_secrets"
        before, old = _asked_of(system, "mail", stored), operator.secret("mail_secret_key")
        operator.follow("MAIL_SECRET_KEY")
        assert operator.secret("mail_secret_key") != old
        assert operator.secret("mail_secret_key_previous") == ""
        assert _asked_of(system, "mail", stored) != before
        webhook = f"/webhooks/{made.json()['id']}"
        asked = http.post(f"{webhook}/test", headers=headers)
        assert asked.status_code < 300, asked.text
        _await_try(http, webhook, headers)
        assert "does not open" not in system.compose("logs", "--no-color", "deliverer", "mail")
        http.delete(webhook, headers=headers).raise_for_status()

    @pytest.mark.long
    def test_of_a_database_password_is_in_force_at_once(
        self, system: ComposedSystem, operator: Operator, ada: Person, provider: Provider
    ) -> None:
        old = operator.secret("postgres_mail_service_password")
        operator.follow("A database password")
        passwords = (old, operator.secret("postgres_mail_service_password"))
        entered = [system.python("mail", _ENTER.format(password=password)) for password in passwords]
        assert entered == ["refused", "entered"]
        _goes_on(provider, ada)

    @pytest.mark.long
    def test_of_redis_passwords_is_over_when_everything_is_healthy(
        self, operator: Operator, ada: Person, provider: Provider
    ) -> None:
        old = operator.secret("redis_password"), operator.secret("redis_gateway_password")
        operator.follow("Redis's passwords")
        new = operator.secret("redis_password"), operator.secret("redis_gateway_password")
        assert len({*old, *new}) == 4
        _goes_on(provider, ada)

    def test_of_signing_keys_makes_the_next_one_before_it_is_needed(
        self, system: ComposedSystem, operator: Operator, ada: Person
    ) -> None:
        number = "SELECT count(*) FROM signing_keys"
        before = int(_asked_of(system, "auth", number))
        operator.follow("Keys and certificates of services")
        assert int(_asked_of(system, "auth", number)) == before + 1
        assert ada.get("/auth/me").status_code == 200


class TestRestore:
    def test_on_a_new_machine_goes_on_from_the_cursor(
        self, system: ComposedSystem, operator: Operator, ada: Person, provider: Provider, tmp_path: Path
    ) -> None:
        operator.follow("Back up and restore", backups=tmp_path)
        provider.deliver(ada.email, count=3)
        ada.sync()
        _lose(system, operator)
        operator.follow("One machine: compose")
        assert ada.get("/auth/me").status_code == 401
        operator.follow("Back up and restore", block=1, backups=tmp_path)
        provider.reset_calls()
        # With the session and the grant from before.
        _goes_on(provider, ada)
        calls = provider.get("/calls")["methods"]
        assert "gmail.history.list" in calls
        assert "gmail.messages.list" not in calls
        found = ada.post("/emails/verify", {"email": ada.email}, Prefer="wait=60").json()["verification"]
        clean = {"missing": 0, "extra": 0, "drift": 0}
        assert found == {"done": True, **clean, "digest": digest_at(provider, ada)}


def _lose(system: ComposedSystem, operator: Operator) -> None:
    """Lose the machine, except for secrets that are kept elsewhere and the sandbox."""
    lost = [container["Service"] for container in system.all_containers() if container["Service"] != "sandbox"]
    system.compose("rm", "--stop", "--force", *sorted(set(lost)), timeout=180)
    system.run(["docker", "volume", "rm", f"{system.project}_postgres", f"{system.project}_mail-cache"])
    for secret in (operator.production / "secrets").iterdir():
        if secret.name not in KEPT:
            secret.unlink()
