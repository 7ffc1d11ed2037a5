"""Every error code of docs/errors.md, got from the running stack by a request."""

from collections.abc import Iterator

import httpx
import pytest

from deploy.local.ports import Ports
from tests.gateway.test_error_catalogue import documented
from tests.support.e2e.error_requests import REQUESTS, STRICT_CONNECTIONS, Place
from tests.support.e2e.people import Provider
from tests.support.e2e.running_stack import RunningStack


@pytest.fixture(scope="module")
def strict(stack: RunningStack) -> Iterator[httpx.Client]:
    """A gateway without mail, whose auth demands PKCE.

    It allows a user one request a minute, and an address STRICT_CONNECTIONS connections.
    """
    ports = Ports()
    auth_port, gateway_port = ports.free(), ports.free()
    auth = stack.add_twin("auth", AUTH_PORT=auth_port, AUTH_ADMIN_PORT=ports.free())
    gateway = stack.add_twin("gateway", GATEWAY_PORT=gateway_port, GATEWAY_ADMIN_PORT=ports.free())
    stack.start(auth, AUTH_REQUIRE_CLIENT_PROOF="true")
    stack.start(
        gateway,
        AUTH_ADDRESS=f"127.0.0.1:{auth_port}",
        MAIL_ADDRESS="127.0.0.1:1",
        GATEWAY_USER_LIMIT="1/minute",
        GATEWAY_MAX_CONNECTIONS_PER_ADDRESS=str(STRICT_CONNECTIONS),
        CORS_ORIGINS="https://app.example",
    )
    with httpx.Client(base_url=f"http://127.0.0.1:{gateway_port}", trust_env=False, timeout=30) as client:
        yield client
    stack.stop(gateway)
    stack.stop(auth)
    ports.release()


@pytest.fixture(scope="module")
def shared_place(stack: RunningStack, http: httpx.Client, strict: httpx.Client) -> Iterator[Place]:
    """The place of all requests: most of them share a user."""
    control = Provider(stack.sandbox_url)
    yield Place(stack=stack, provider=control, http=http, strict=strict)
    control.close()


@pytest.fixture
def place(shared_place: Place) -> Iterator[Place]:
    """The place, without faults of the provider after each test."""
    yield shared_place
    shared_place.provider.end_faults()


class TestCode:
    @pytest.mark.parametrize("code", list(REQUESTS))
    async def test_is_got_by_a_request(self, place: Place, code: str) -> None:
        answer = await REQUESTS[code](place)
        assert (answer.headers["content-type"], answer.json()["code"]) == ("application/problem+json", code)
        assert answer.status_code == answer.json()["status"] == documented()[code]

    def test_of_the_catalogue_has_a_request(self) -> None:
        assert REQUESTS.keys() == documented().keys()
