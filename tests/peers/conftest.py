"""A sandbox for peers, and what becomes of tests whose peer is not installed."""

from collections.abc import Generator, Iterator

import pytest

from deploy.local.ports import Ports
from services.sandbox.settings import Settings
from tests.mail.conftest import mail_database, mail_databases, servers  # noqa: F401 - fixtures
from tests.support.e2e.people import Provider
from tests.support.peers.skips import fail_if_skipped
from tests.support.sandbox.on_socket import sandbox_on_socket


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail skipped tests where peers are required."""
    report: pytest.TestReport = yield
    fail_if_skipped(report)
    return report


@pytest.fixture(scope="session")
def sandbox_url(ports: Ports) -> Iterator[str]:
    """A sandbox whose issuer is its own address, and whose quota never binds: its window is a millisecond."""
    port = ports.free()
    url = f"http://127.0.0.1:{port}"
    settings = Settings(sandbox_enabled=True, users=(), messages=0, quota_window=0.001, public_url=url)
    with sandbox_on_socket(settings, port=port) as served:
        assert served == url
        yield served


@pytest.fixture(scope="session")
def provider(sandbox_url: str) -> Iterator[Provider]:
    """The control API of that sandbox."""
    provider = Provider(sandbox_url)
    yield provider
    provider.close()
