"""Redis servers that fail alone: that of sign-ins under way, which strangers can fill, and that of quota and locks."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest
import redis

from deploy.local.ports import Ports
from deploy.local.valkey import EmbeddedValkey
from tests.support.e2e.people import Person, Provider
from tests.support.e2e.running_stack import RunningStack

# More records than fit into ROOM bytes: one takes about 600.
MOST_STARTS = 3_000
ROOM = 500_000


@pytest.fixture
def of_sign_ins(stack: RunningStack, ports: Ports) -> Iterator[EmbeddedValkey]:
    """A small server of its own for the sign-ins of the stack, while the test runs."""
    with tempfile.TemporaryDirectory(prefix="mailroom-valkey-") as home:
        (Path(home) / "logs").mkdir()
        with EmbeddedValkey(Path(home), port=ports.free()) as server:
            stack.stop("auth")
            stack.start("auth", AUTH_SIGN_IN_REDIS_PORT=str(server.address.port))
            yield server
            stack.stop("auth")
            stack.start("auth")


def leave_room(server: EmbeddedValkey, size: int) -> None:
    """Let the server take so many bytes more, then refuse writes."""
    with closing(redis.Redis(port=server.address.port)) as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", client.info("memory")["used_memory"] + size)


def until_refused(http: httpx.Client) -> Iterator[httpx.Response]:
    """Start sign-ins until one is refused."""
    for _ in range(MOST_STARTS):
        response = http.get("/auth/google/start")
        yield response
        if response.status_code != 200:
            return


def download(person: Person, provider: Provider) -> httpx.Response:
    """Download a message with a token of the provider that auth has to refresh, under its lock."""
    provider.post(f"/users/{person.email}/tokens/expire")
    return person.get(f"/emails/{person.emails()[0]['id']}/raw")


class TestSignIns:
    def test_that_fill_their_redis_stop_neither_syncs_nor_tokens(
        self,
        http: httpx.Client,
        provider: Provider,
        new_person: Callable[..., Person],
        of_sign_ins: EmbeddedValkey,
    ) -> None:
        person = new_person(messages=20)
        leave_room(of_sign_ins, ROOM)
        starts = list(until_refused(http))
        assert (starts[-1].status_code, starts[-1].json()["code"]) == (503, "service_unavailable")
        # They filled the server, which did not refuse everything.
        assert len(starts) > 100
        assert person.sync()["state"] == "completed"
        assert download(person, provider).status_code == 200
        assert person.get("/auth/me").status_code == 200

    def test_go_on_without_the_redis_of_quota_and_locks(
        self,
        stack: RunningStack,
        new_person: Callable[..., Person],
        of_sign_ins: EmbeddedValkey,  # noqa: ARG002 - used by auth
    ) -> None:
        server = stack.servers["valkey"]
        server.stop()
        try:
            person = new_person()
            assert person.get("/auth/me").status_code == 200
        finally:
            server.start()
