"""The production file gives a system that keeps its secrets and is closed to the outside."""

import json
import tarfile
import time
from pathlib import Path
from secrets import token_hex
from typing import Any

import httpx
import pytest

from tests.support.compose.composed_system import ComposedSystem
from tests.support.compose.operating import Operator
from tests.support.e2e.people import Person, Provider, external_ids, ids

pytestmark = pytest.mark.compose

STARTING_SECONDS = 60
MANY = 1500
# Connects to the other service's database with its own name and password.
_ENTER = """
import asyncio, asyncpg, pathlib

async def enter(database):
    password = pathlib.Path("/run/secrets/postgres_{service}_service_password").read_text().strip()
    role = "mailroom_{service}_service"
    connection = await asyncpg.connect(host="postgres", user=role, password=password, database=database)
    await connection.close()

asyncio.run(enter("mailroom_{service}"))
try:
    asyncio.run(enter("mailroom_{other}"))
except asyncpg.InsufficientPrivilegeError:
    print("refused", end="")
"""
# Stops the worker, and neither the container's first process nor itself.
_STOP = """
import os, pathlib, signal

for directory in pathlib.Path("/proc").glob("[0-9]*"):
    if int(directory.name) not in (1, os.getpid()) and b"services.mail.worker" in (directory / "cmdline").read_bytes():
        os.kill(int(directory.name), signal.SIGSTOP)
"""
# Requests a provider token from auth: with the gateway's certificate, and in plaintext.
_CALL = """
import grpc, pathlib
from mailroom.auth.v1 import auth_pb2, auth_pb2_grpc

files = (pathlib.Path("/run/mailroom/tls", name) for name in ("ca.crt", "tls.key", "tls.crt"))
ca, key, certificate = (file.read_bytes() for file in files)
named = [("grpc.ssl_target_name_override", "auth")]
identified = grpc.secure_channel("auth:50051", grpc.ssl_channel_credentials(ca, key, certificate), options=named)
for channel in (identified, grpc.insecure_channel("auth:50051")):
    try:
        stub = auth_pb2_grpc.ProviderTokenServiceStub(channel)
        stub.GetAccessToken(auth_pb2.GetAccessTokenRequest(), timeout=10)
    except grpc.RpcError as error:
        print(error.code().name)
"""


@pytest.fixture(scope="module")
def system(production: ComposedSystem) -> ComposedSystem:
    """The system under test."""
    return production


def _inspect(system: ComposedSystem) -> list[dict[str, Any]]:
    names = [container["Name"] for container in system.all_containers()]
    found: list[dict[str, Any]] = json.loads(system.run(["docker", "inspect", *names]))
    return found


def _await_stored(person: Person, sync: dict[str, Any], *, at_least: int) -> int:
    """Wait until this many messages are stored. Returns their number."""
    deadline = time.monotonic() + STARTING_SECONDS
    while (stored := int(person.get(f"/emails/syncs/{sync['id']}").json()["stored"])) < at_least:
        assert time.monotonic() < deadline, f"only {stored} messages"
        time.sleep(0.05)
    return stored


class TestInstallation:
    def test_is_healthy_with_two_workers(self, system: ComposedSystem) -> None:
        everything = system.all_containers()
        ended = [container for container in everything if container["Service"].endswith("-migrations")]
        assert [(container["State"], container["ExitCode"]) for container in ended] == [("exited", 0)] * 2
        running = [container for container in everything if container not in ended]
        names = sorted(container["Service"] for container in running)
        assert names == [
            "auth", "deliverer", "gateway", "mail", "postgres", "redis", "renewal", "sandbox", "worker", "worker",
        ]  # fmt: skip
        assert {container["Health"] for container in running} == {"healthy"}

    def test_a_whole_mailbox_arrives_as_it_is_at_the_provider(self, http: httpx.Client, provider: Provider) -> None:
        ada = Person.sign_in(http, provider.new_user(messages=60))
        ada.sync()
        assert sorted(external_ids(ada.emails())) == sorted(ids(provider.truth(ada.email)))


class TestDoctor:
    def test_finds_no_fault_and_the_bundle_holds_no_secret(
        self, system: ComposedSystem, operator: Operator, tmp_path: Path
    ) -> None:
        # The machine's disk and what tests before this one restored and backed up are no faults of the installation.
        passing = ("disk of Postgres", "warn  backups", "warn  restore: kept")
        found = system.run(["sh", "-c", "deploy/mailroom doctor || true"])
        others = [line for line in found.splitlines() if not any(words in line for words in passing)]
        assert [line for line in others if not line.startswith("ok ")] == []
        assert len(others) >= 10
        texts = _bundle(operator, tmp_path)
        secrets = [file.read_text().strip() for file in (operator.production / "secrets").iterdir()]
        assert [secret for secret in secrets if secret and any(secret in text for text in texts.values())] == []
        assert "mailroom_dependency_up" in texts["worker.metrics"]
        assert "mailroom_webhook_listening 1.0" in texts["deliverer.metrics"]
        assert "messages" in texts["mailroom_mail.txt"]


class TestSupportBundle:
    def test_holds_nothing_of_the_mail_tokens_and_keys_in_use(
        self, system: ComposedSystem, operator: Operator, http: httpx.Client, provider: Provider, tmp_path: Path
    ) -> None:
        mark = token_hex(8)
        ada = Person.sign_in(http, provider.new_user(email=f"reader-{mark}@example.com"))
        named = {"from": f"Sender {mark} <sender-{mark}@example.org>", "subject": f"Subject {mark}"}
        provider.deliver(ada.email, text=f"Text {mark}", **named)
        ada.sync()
        assert [email["subject"] for email in ada.emails(q=f"Subject {mark}")] == [f"Subject {mark}"]
        # What is logged about failures.
        key = operator.api_key("mail.read", "webhooks.manage")
        _fail_with(mark, http, key=key)
        values = f"INSERT INTO messages (mailbox_id, subject) VALUES (0, 'Subject {mark}')"  # noqa: S608 - our own word
        psql = ["psql", "--username=postgres", "--dbname=mailroom_mail", f"--command={values}"]
        failed = system.run(
            ["sh", "-c", '"$@" 2>&1 || true', "sh", "docker", "compose", "exec", "-T", "postgres", *psql]
        )
        assert mark in failed
        texts = _bundle(operator, tmp_path)
        assert len(texts["worker.log"].splitlines()) > 1
        hidden = {"mark": mark, "token": ada.token, "key": key, "secret of the key": key.rpartition("_")[2]}
        assert [(name, file) for name, text in hidden.items() for file in texts if text in texts[file]] == []


def _fail_with(mark: str, http: httpx.Client, *, key: str) -> None:
    """Send requests that fail, or that let a delivery fail, with a marked word in each place of a request."""
    for bearer in (f"token-{mark}", key):
        headers = {"Authorization": f"Bearer {bearer}", "User-Agent": f"client-{mark}"}
        http.get("/emails", params={"user_email": f"other-{mark}@example.com", "q": f"word{mark}"}, headers=headers)
        http.get(f"/emails/{mark}", headers=headers)
        http.post("/auth/token", json={"state": f"state-{mark}"}, headers=headers)
    body = {"url": f"https://receiver.invalid/{mark}?token={mark}", "events": ["message.created"]}
    made = http.post("/webhooks", json=body, headers={"Authorization": f"Bearer {key}"})
    assert made.status_code == 201, made.text


def _bundle(operator: Operator, directory: Path) -> dict[str, str]:
    """Return the texts of a support bundle by the names of its files."""
    operator.mailroom("support-bundle", str(directory / "bundle.tar.gz"))
    with tarfile.open(directory / "bundle.tar.gz") as bundle:
        files = {member.name: bundle.extractfile(member) for member in bundle.getmembers() if member.isfile()}
        return {name.removeprefix("./"): file.read().decode() for name, file in files.items() if file is not None}


class TestContainers:
    def test_show_no_secret_on_inspection(self, system: ComposedSystem) -> None:
        files = list((Path(system.variables["MAILROOM_PRODUCTION"]) / "secrets").iterdir())
        secrets = {file.name: file.read_text().strip() for file in files}
        assert [name for name, secret in sorted(secrets.items()) if secret == ""] == [
            "mail_secret_key_previous", "redis_sign_ins_password", "secret_key_previous", "yandex_client_secret",
        ]  # fmt: skip
        assert len(secrets) == 16
        shown = json.dumps(_inspect(system))
        assert [name for name, secret in secrets.items() if secret and secret in shown] == []

    def test_have_no_rights_and_nothing_to_write_to(self, system: ComposedSystem) -> None:
        for container in _inspect(system):
            host, name = container["HostConfig"], container["Name"]
            assert host["ReadonlyRootfs"], name
            assert (host["CapDrop"], host["CapAdd"]) == (["ALL"], None), name
            if "sandbox" not in name:
                assert host["SecurityOpt"] == ["no-new-privileges:true"], name
                assert container["Config"]["User"] in ("10001:10001", "postgres", "valkey"), name
                assert host["RestartPolicy"]["Name"] == ("no" if "migrations" in name else "unless-stopped"), name

    def test_have_limits(self, system: ComposedSystem) -> None:
        for container in _inspect(system):
            host = container["HostConfig"]
            if "sandbox" not in container["Name"]:
                assert min(host["Memory"], host["NanoCpus"], host["PidsLimit"]) > 0, container["Name"]


class TestNetworks:
    def test_publish_the_gateway_only(self, system: ComposedSystem) -> None:
        published = {
            (container["Service"], port["URL"])
            for container in system.all_containers()
            for port in container["Publishers"] or []
            if port["PublishedPort"]
        }
        assert published == {("gateway", "127.0.0.1"), ("sandbox", "127.0.0.1")}

    def test_of_servers_lead_nowhere(self, system: ComposedSystem) -> None:
        names = [f"{system.project}_{name}" for name in ("data", "limits", "rpc")]
        networks = json.loads(system.run(["docker", "network", "inspect", *names]))
        assert [network["Internal"] for network in networks] == [True, True, True]

    @pytest.mark.parametrize(("service", "other"), [("auth", "mail"), ("mail", "auth")])
    def test_do_not_open_the_database_of_another_service(
        self, system: ComposedSystem, service: str, other: str
    ) -> None:
        assert system.python(service, _ENTER.format(service=service, other=other)) == "refused"


class TestIdentity:
    def test_of_the_gateway_gets_no_provider_token(self, system: ComposedSystem) -> None:
        assert system.python("gateway", _CALL).split() == ["PERMISSION_DENIED", "UNAVAILABLE"]

    def test_is_shown_to_its_service_only(self, system: ComposedSystem) -> None:
        mounts = {
            (container["Config"]["Labels"]["com.docker.compose.service"], Path(mount["Source"]).name)
            for container in _inspect(system)
            for mount in container["Mounts"]
            if "certificates" in mount["Source"]
        }
        # The one that renews them is in no network.
        mounts.discard(("renewal", "certificates"))
        assert mounts == {("auth", "auth"), ("gateway", "gateway"), ("mail", "mail"), ("worker", "mail")}


class TestWorker:
    def test_killed_in_mid_sync_leaves_the_rest_to_another(
        self, system: ComposedSystem, http: httpx.Client, provider: Provider
    ) -> None:
        ada = Person.sign_in(http, provider.new_user(messages=MANY))
        victim, other = system.compose("ps", "--quiet", "worker").split()
        system.run(["docker", "stop", other])
        sync = ada.start_sync()
        assert 100 <= _await_stored(ada, sync, at_least=100) < MANY
        system.run(["docker", "kill", victim])
        system.run(["docker", "start", other])
        ended = ada.await_end(sync)
        assert (ended["state"], ended["error"]) == ("completed", None)
        assert sorted(external_ids(ada.emails())) == sorted(ids(provider.truth(ada.email)))
        system.compose("up", "--detach", "--no-recreate", "--wait")

    def test_that_is_stopped_loses_its_mailboxes_to_another_and_is_named_until_it_is_restarted(
        self, system: ComposedSystem, operator: Operator, http: httpx.Client, provider: Provider
    ) -> None:
        ada = Person.sign_in(http, provider.new_user(messages=5))
        ada.sync()
        victim = system.compose("ps", "--quiet", "worker").split()[0]
        system.run(["docker", "exec", victim, "python", "-c", _STOP])
        try:
            provider.deliver(ada.email, count=2)
            ada.sync()
            assert sorted(external_ids(ada.emails())) == sorted(ids(provider.truth(ada.email)))
            _await_health(system, victim, "unhealthy")
            assert "is running and unhealthy" in system.run(["sh", "-c", "deploy/mailroom doctor || true"])
        finally:
            operator.mailroom("restart", "worker")
        _await_health(system, victim, "healthy")


def _await_health(system: ComposedSystem, container: str, health: str) -> None:
    deadline = time.monotonic() + 2 * STARTING_SECONDS
    command = ["docker", "inspect", "--format", "{{.State.Health.Status}}", container]
    while (shown := system.run(command).strip()) != health:
        assert time.monotonic() < deadline, shown
        time.sleep(0.5)


def test_every_process_stops_by_itself_when_it_is_told_to(system: ComposedSystem) -> None:
    system.compose("stop", timeout=180)
    codes = [container["ExitCode"] for container in system.all_containers()]
    system.compose("up", "--detach", "--wait", timeout=300)
    assert codes == [0] * len(codes)
