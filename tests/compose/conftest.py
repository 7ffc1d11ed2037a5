"""One composed system at a time, for all tests of a file."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from deploy.local.ports import Ports
from tests.compose.composed_system import (
    ROOT,
    UP_SECONDS,
    ComposedSystem,
    NoEngineError,
    composed_system,
    require_engine,
)
from tests.e2e.people import Provider

PRODUCTION = ("deploy/compose.production.yml", "tests/compose/production.sandbox.yml")


def _need_engine() -> None:
    try:
        require_engine()
    except NoEngineError as reason:
        pytest.skip(f"needs a Docker engine with compose v2: {reason}")


@pytest.fixture(scope="module")
def development() -> Iterator[ComposedSystem]:
    """Everything that docker-compose.yml describes, built from clean, with nothing set but free ports."""
    _need_engine()
    variables = _free_ports("GATEWAY_PORT", "SANDBOX_PORT", "POSTGRES_PORT", "REDIS_PORT")
    with composed_system(ComposedSystem(project=_project(), variables=variables)) as running:
        yield running


@pytest.fixture(scope="module")
def production(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComposedSystem]:
    """What docs/operate.md installs in production, with the sandbox in Google's place."""
    _need_engine()
    directory = tmp_path_factory.mktemp("production")
    ports = _free_ports("GATEWAY_PORT", "SANDBOX_PORT")
    variables = ports | {
        "MAILROOM_PRODUCTION": str(directory),
        "MAILROOM_IMAGES": _project(),
        "PUBLIC_URL": f"http://localhost:{ports['GATEWAY_PORT']}",
        "FRONTEND_REDIRECT_URL": "http://localhost:3000/your-frontend",
        "GATEWAY_PUBLISH": f"127.0.0.1:{ports['GATEWAY_PORT']}",
    }
    system = ComposedSystem(project=_project(), variables=variables, files=PRODUCTION)
    with composed_system(system, prepare=lambda: _install(system, directory)) as running:
        yield running


def _install(system: ComposedSystem, directory: Path) -> None:
    system.run([str(ROOT / "deploy/first-install"), str(directory)])
    (directory / "secrets/google_client_secret").write_text("GOCSPX-sandbox-secret\n")
    system.compose("run", "--rm", "certificates", timeout=UP_SECONDS)


def _project() -> str:
    return f"mailroom-test-{secrets.token_hex(4)}"


def _free_ports(*names: str) -> dict[str, str]:
    ports = Ports()
    chosen = {name: str(ports.free()) for name in names}
    ports.release()
    return chosen


@pytest.fixture(scope="module")
def http(system: ComposedSystem) -> Iterator[httpx.Client]:
    """A client of the gateway that follows no redirects."""
    with httpx.Client(base_url=system.gateway_url, trust_env=False, timeout=90) as client:
        yield client


@pytest.fixture(scope="module")
def provider(system: ComposedSystem) -> Iterator[Provider]:
    """The sandbox's control API."""
    control = Provider(system.sandbox_url)
    yield control
    control.close()
