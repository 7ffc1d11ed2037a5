"""One composed system for all tests in this folder."""

import secrets
from collections.abc import Iterator

import httpx
import pytest

from deploy.local.ports import Ports
from tests.compose.composed_system import ComposedSystem, NoEngineError, composed_system
from tests.e2e.people import Provider


@pytest.fixture(scope="session")
def system() -> Iterator[ComposedSystem]:
    """Everything that docker-compose.yml describes, built from clean, with nothing set but free ports."""
    ports = Ports()
    names = ("GATEWAY_PORT", "SANDBOX_PORT", "POSTGRES_PORT", "REDIS_PORT")
    variables = {name: str(ports.free()) for name in names}
    ports.release()
    try:
        with composed_system(f"mailroom-test-{secrets.token_hex(4)}", variables) as running:
            yield running
    except NoEngineError as reason:
        pytest.skip(f"needs a Docker engine with compose v2: {reason}")


@pytest.fixture(scope="session")
def http(system: ComposedSystem) -> Iterator[httpx.Client]:
    """A client of the gateway that follows no redirects."""
    with httpx.Client(base_url=system.gateway_url, trust_env=False, timeout=90) as client:
        yield client


@pytest.fixture(scope="session")
def provider(system: ComposedSystem) -> Iterator[Provider]:
    """The sandbox's control API."""
    control = Provider(system.sandbox_url)
    yield control
    control.close()
