"""One composed system at a time."""

import secrets
from collections.abc import Generator, Iterator

import httpx
import pytest

from deploy.local.ports import Ports
from tests.support.compose.composed_system import (
    ComposedSystem,
    NoEngineError,
    composed_system,
    name_standins,
    require_engine,
)
from tests.support.compose.operating import Operator
from tests.support.e2e.people import Provider


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Function, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Attach the containers' logs to a failed test: the containers are removed afterwards."""
    report: pytest.TestReport = yield
    system = item.funcargs.get("system")
    if report.when == "call" and report.failed and isinstance(system, ComposedSystem):
        said = system.compose("logs", "--no-color", "--timestamps", "--since", f"{call.duration + 5:.0f}s")
        report.sections.append(("logs of the containers", said))
    return report


def _need_engine() -> None:
    try:
        require_engine()
    except NoEngineError as reason:
        pytest.skip(f"needs a Docker engine with compose v2: {reason}")
    name_standins()


@pytest.fixture(scope="module")
def development() -> Iterator[ComposedSystem]:
    """Services of docker-compose.yml, built from scratch, with free ports as the only settings."""
    _need_engine()
    variables = _free_ports("GATEWAY_PORT", "SANDBOX_PORT", "POSTGRES_PORT", "REDIS_PORT")
    with composed_system(ComposedSystem(project=_project(), variables=variables)) as running:
        yield running


@pytest.fixture(scope="session")
def production(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComposedSystem]:
    """The production installation of docs/operate.md, with the sandbox in Google's place; shared by all files."""
    _need_engine()
    directory = tmp_path_factory.mktemp("production")
    ports = _free_ports("SANDBOX_PORT") | _neighbours("GATEWAY_PORT", "SECOND_GATEWAY_PORT")
    system = Operator.prepare(directory, project=_project(), ports=ports)
    with composed_system(system, start=lambda system: Operator(system).follow("One machine: compose")) as running:
        yield running


@pytest.fixture(scope="session")
def operator(production: ComposedSystem) -> Operator:
    """The operator of the production installation."""
    return Operator(production)


def _project() -> str:
    return f"mailroom-test-{secrets.token_hex(4)}"


def _neighbours(first: str, second: str) -> dict[str, str]:
    """Return two consecutive free ports."""
    ports = Ports()
    lower = ports.free()
    while ports.movable(lower + 1) != lower + 1:
        lower = ports.free()
    ports.release()
    return {first: str(lower), second: str(lower + 1)}


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
