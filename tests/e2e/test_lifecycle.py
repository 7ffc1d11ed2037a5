"""Services start in any order, and are stopped and replaced while clients use them."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from deploy.local.ports import Ports
from tests.support.e2e.people import Person, Provider, consent, frontend_query, redeem
from tests.support.e2e.running_stack import RunningStack, running_stack
from tests.support.e2e.traffic import Ask, Balancer, traffic

MESSAGES = 60
# Seconds for which a stopping process still takes requests.
DRAIN_DELAY = 0.5
# Seconds that may follow until a process has ended. A request that is waited for to its end would take 20.
GRACE = 15.0


@dataclass(frozen=True)
class Pair:
    """A stack in which every service has a twin; one of the two runs."""

    stack: RunningStack
    balancer: Balancer
    person: Person
    message_id: str

    def replace(self, name: str) -> float:
        """Start the other twin, then stop the running one. Returns the seconds that this took."""
        leaving, coming = (name, f"{name}-2") if name in self.stack.running() else (f"{name}-2", name)
        self.stack.start(coming)
        told = time.monotonic()
        assert self.stack.stop(leaving) == 0
        return time.monotonic() - told

    def loops(self) -> dict[str, Ask]:
        """Return requests of every kind: short ones to each service, long ones that wait, and streams."""
        person, headers = self.person, {"Authorization": f"Bearer {self.person.token}"}
        address = {"user_email": person.email}
        position = self._json(person.http, "/emails/changes", address, headers)["next_since"]

        def me(http: httpx.Client) -> None:
            assert self._json(http, "/auth/me", {}, headers)["accounts"]

        def addresses(http: httpx.Client) -> None:
            assert self._json(http, "/emails/addresses", {}, headers)["addresses"]

        def wait(http: httpx.Client) -> None:
            waiting = {**headers, "Prefer": "wait=1"}
            self._json(http, "/emails/changes", {**address, "since": position}, waiting)

        def sync(http: httpx.Client) -> None:
            waiting = {**headers, "Prefer": "wait=20"}
            answer = http.post("/emails/sync", json={"email": person.email}, headers=waiting)
            assert answer.status_code in (200, 202), answer.text

        def export(http: httpx.Client) -> None:
            lines = http.get("/emails/export", params=address, headers=headers).text.splitlines()
            assert len(lines) == MESSAGES
            assert '"problem"' not in lines[-1]

        def sign_in(http: httpx.Client) -> None:
            # The provider redirects to the address of one gateway; behind a balancer it could be any.
            callback = urlsplit(consent(http, person.email))
            redeem(http, frontend_query(http, f"{callback.path}?{callback.query}")["state"])

        def download(http: httpx.Client) -> None:
            answer = http.get(f"/emails/{self.message_id}/raw", headers=headers)
            assert answer.status_code == 200, answer.text

        return {
            "me": me,
            "addresses": addresses,
            "sync": sync,
            "export": export,
            "wait": wait,
            "sign in": sign_in,
            "download": download,
        }

    @staticmethod
    def _json(http: httpx.Client, path: str, params: dict[str, str], headers: dict[str, str]) -> dict[str, Any]:
        answer = http.get(path, params=params, headers=headers)
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    home = Path(tempfile.mkdtemp(prefix="mailroom-lifecycle-"))
    yield home
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="module")
def pair(home: Path, ports: Ports) -> Iterator[Pair]:
    numbers = {name: (ports.free(), ports.free()) for name in ("AUTH_PORT", "MAIL_PORT", "GATEWAY_ADMIN_PORT")}
    addresses: dict[str, Any] = {
        f"{name.upper()}_ADDRESS": "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in numbers[f"{name.upper()}_PORT"])
        for name in ("auth", "mail")
    }
    first: dict[str, Any] = {name: str(pair[0]) for name, pair in numbers.items()}
    # Clients start before their servers.
    order = ("gateway", "worker", "mail", "auth", "sandbox")
    with running_stack(
        home,
        order=order,
        SANDBOX_USERS="",
        SANDBOX_QUOTA_WINDOW="1",
        GMAIL_QUOTA_WINDOW="1",
        DRAIN_DELAY_SECONDS=str(DRAIN_DELAY),
        **addresses,
        **first,
    ) as stack:
        twin_port = ports.free()
        stack.add_twin("auth", AUTH_PORT=numbers["AUTH_PORT"][1], AUTH_ADMIN_PORT=ports.free())
        stack.add_twin("mail", MAIL_PORT=numbers["MAIL_PORT"][1], MAIL_ADMIN_PORT=ports.free())
        stack.add_twin("worker", WORKER_ADMIN_PORT=ports.free())
        stack.add_twin("gateway", GATEWAY_PORT=twin_port, GATEWAY_ADMIN_PORT=numbers["GATEWAY_ADMIN_PORT"][1])
        first_admin, twin_admin = numbers["GATEWAY_ADMIN_PORT"]
        balancer = Balancer(
            {
                stack.gateway_url: f"http://127.0.0.1:{first_admin}/readyz",
                f"http://127.0.0.1:{twin_port}": f"http://127.0.0.1:{twin_admin}/readyz",
            }
        )
        with httpx.Client(base_url=stack.gateway_url, trust_env=False, timeout=60) as http:
            provider = Provider(stack.sandbox_url)
            person = Person.sign_in(http, provider.new_user(messages=MESSAGES))
            provider.close()
            person.sync()
            [newest] = person.get(f"/emails?user_email={person.email}&limit=1").json()["emails"]
            yield Pair(stack, balancer, person, newest["id"])


class TestStarting:
    def test_in_any_order_ends_in_a_stack_that_works(self, pair: Pair) -> None:
        assert pair.stack.ended() == []
        assert len(pair.person.emails()) > 0


class TestReplacing:
    @pytest.mark.parametrize("name", ["auth", "mail", "worker", "gateway"])
    def test_a_service_under_load_fails_no_request(self, pair: Pair, name: str) -> None:
        with traffic(pair.balancer, pair.loops()) as clients:
            clients.until_all_were_answered()
            assert pair.replace(name) < DRAIN_DELAY + GRACE
            clients.until_all_were_answered(times=2)
        assert not clients.failures, "\n".join(clients.failures)
