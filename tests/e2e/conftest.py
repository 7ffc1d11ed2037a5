"""One stack for all end-to-end tests; every test has its own users."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.e2e.people import Person, Provider
from tests.support.e2e.running_stack import RunningStack, running_stack
from tests.support.e2e.trace_collector import TraceCollector, trace_collector

# A second instead of a minute, with the same limits: syncs are fast, and quota still binds.
QUOTA_WINDOW = "1"


@pytest.fixture(scope="session")
def traces(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TraceCollector]:
    """A collector that writes the traces of the whole session to a file."""
    with trace_collector(tmp_path_factory.mktemp("traces") / "traces.jsonl") as collector:
        yield collector


@pytest.fixture(scope="session")
def only_stack(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Refuses a second stack in another process of a parallel run, which would cost time unnoticed."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        # The processes of a run have sibling directories.
        (tmp_path_factory.getbasetemp().parent / "e2e-stack").mkdir()


@pytest.fixture(scope="session")
def stack(only_stack: None, traces: TraceCollector) -> Iterator[RunningStack]:  # noqa: ARG001 - comes before it starts
    """The stack, traced, in a time zone that is neither UTC nor a whole number of hours away from it."""
    home = Path(tempfile.mkdtemp(prefix="mailroom-e2e-"))
    try:
        with running_stack(
            home,
            TZ="Asia/Kathmandu",
            LOG_LEVEL="DEBUG",
            SANDBOX_USERS="",
            SANDBOX_QUOTA_WINDOW=QUOTA_WINDOW,
            GMAIL_QUOTA_WINDOW=QUOTA_WINDOW,
            # Until another worker takes over from a killed one.
            WORKER_LEASE_SECONDS="3",
            OTEL_EXPORTER_OTLP_ENDPOINT=traces.endpoint,
            # Milliseconds until spans are exported.
            OTEL_BSP_SCHEDULE_DELAY="200",
        ) as running:
            yield running
    finally:
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def http(stack: RunningStack) -> Iterator[httpx.Client]:
    """A client of the gateway that follows no redirects."""
    # The gateway closes what is idle for 5 s: a request must not meet that.
    limits = httpx.Limits(keepalive_expiry=2)
    with httpx.Client(base_url=stack.gateway_url, trust_env=False, timeout=90, limits=limits) as client:
        yield client


@pytest.fixture
def provider(stack: RunningStack) -> Iterator[Provider]:
    """The sandbox's control API, without faults before and after each test."""
    control = Provider(stack.sandbox_url)
    yield control
    control.end_faults()
    control.close()


@pytest.fixture
def sign_in(http: httpx.Client) -> Callable[[str], Person]:
    """Sign in a user, who may have signed in before."""
    return lambda email: Person.sign_in(http, email)


@pytest.fixture
def new_person(http: httpx.Client, provider: Provider) -> Callable[..., Person]:
    """Create a user at the provider with `messages` messages and sign in."""

    def create(messages: int = 0, **fields: object) -> Person:
        return Person.sign_in(http, provider.new_user(messages=messages, **fields))  # type: ignore[arg-type]

    return create
