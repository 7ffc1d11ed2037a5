"""docs/extend.md: its example is code that works."""

from pathlib import Path

import pytest

from deploy.local.postgres import PostgresAddress
from deploy.local.valkey import RedisAddress
from tests.support.checkout import ROOT, Checkout
from tests.support.docs.page_steps import Step, steps_of

# The example's own tests, and those that hold the code to lists: each can refuse a new route, RPC or table.
TESTS = (
    *("tests/protos", "tests/gateway/routes/test_notes.py", "tests/gateway/http/test_cors.py"),
    *("tests/gateway/test_document.py", "tests/gateway/requests/test_strict_input.py"),
    *("tests/gateway/test_error_catalogue.py", "tests/mail/rpc/test_rpc_notes.py", "tests/mail/test_migrations.py"),
    *("tests/deploy/test_migration_lint.py", "tests/docs/test_api.py", "tests/docs/test_storage.py"),
)


@pytest.fixture(scope="module")
def steps() -> list[Step]:
    """The steps of the page, with the number that the next migration has."""
    page = (ROOT / "docs/extend.md").read_text(encoding="utf-8")
    head = len(list((ROOT / "services/mail/migrations/versions").glob("*.py")))
    numbered = page.replace("NNNN", f"{head + 1:04}").replace("MMMM", f"{head:04}")
    return steps_of(numbered, section="A route, an RPC and a table")


@pytest.fixture(scope="module")
def extended(
    steps: list[Step],
    postgres_server: PostgresAddress,
    redis_server: RedisAddress,
    server_home: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Checkout:
    """A copy of the tree after the page's steps."""
    environment = {
        "MAILROOM_HOME": str(server_home / "extended"),
        **postgres_server.environment(),
        **redis_server.environment(),
    }
    checkout = Checkout(tmp_path_factory.mktemp("extend") / "mailroom", environment=environment)
    for step in steps:
        step.take(checkout)
    return checkout


class TestExample:
    def test_goes_through_all_layers(self, steps: list[Step]) -> None:
        folders = {Path(step.file).parent.as_posix() for step in steps}
        assert folders >= {"protos/mailroom/mail/v1", "services/mail/store", "services/mail/rpc"}
        assert folders >= {"services/gateway/schemas", "services/gateway/routes", "tests/gateway/routes"}

    def test_passes_the_checks(self, extended: Checkout, steps: list[Step]) -> None:
        touched = sorted({step.file for step in steps if step.file.endswith(".py")})
        for command in (
            ("ruff", "check", *touched),
            ("ruff", "format", "--check", *touched),
            ("importlinter.cli",),
            ("deploy.migration_lint",),
        ):
            done = extended.run(*command)
            assert done.returncode == 0, done.stdout + done.stderr

    @pytest.mark.long  # reads the types of all services
    def test_passes_the_type_checker(self, extended: Checkout, steps: list[Step]) -> None:
        done = extended.run("mypy", *sorted({step.file for step in steps if step.file.endswith(".py")}))
        assert done.returncode == 0, done.stdout

    @pytest.mark.long  # runs half a minute of tests in a copy
    def test_passes_its_tests_and_those_of_the_lists(self, extended: Checkout) -> None:
        done = extended.run("pytest", "-q", *TESTS)
        assert done.returncode == 0, done.stdout
