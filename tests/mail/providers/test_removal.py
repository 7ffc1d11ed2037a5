"""A provider is removed with its folder and its lines in the registries: nothing else knows it."""

import shutil
from pathlib import Path

import pytest

from deploy.local.postgres import PostgresAddress
from deploy.local.valkey import RedisAddress
from tests.support.checkout import Checkout

MAIL, AUTH, SANDBOX = "services/mail/providers", "services/auth/providers", "services/sandbox"
# The settings of all providers, limits, notifications and sign-ins: what the registries make. And a copy of a mailbox.
TESTS = (
    *("tests/mail/test_settings.py", "tests/mail/test_notifications.py", "tests/mail/providers/test_registry.py"),
    *("tests/auth/sign_in/test_sign_in.py::TestComplete", "tests/auth/sign_in/test_with_sandbox.py::TestSignIn"),
    *(
        "tests/sandbox/control/test_users.py",
        "tests/mail/sync/test_sync.py::TestFirstSync::test_stores_the_newest_messages",
    ),
)


def without_lines(path: Path, word: str) -> None:
    """Remove the lines of a file that have a word in any case."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    left = [line for line in lines if word not in line.lower()]
    assert len(left) < len(lines), path
    path.write_text("".join(left), encoding="utf-8")


@pytest.fixture(scope="module")
def without_one(
    postgres_server: PostgresAddress,
    redis_server: RedisAddress,
    server_home: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Checkout:
    """Return a copy of the tree without IMAP, without the sign-in with Yandex, and without their stand-ins."""
    environment = {
        "MAILROOM_HOME": str(server_home / "removal"),
        **postgres_server.environment(),
        **redis_server.environment(),
    }
    checkout = Checkout(tmp_path_factory.mktemp("removal") / "mailroom", environment=environment)
    for folder in (f"{MAIL}/imap", f"{SANDBOX}/imap", f"{SANDBOX}/yandex"):
        shutil.rmtree(checkout.path / folder)
    (checkout.path / AUTH / "yandex.py").unlink()
    for file in ("registry.py", "settings.py"):
        without_lines(checkout.path / MAIL / file, "imap")
    without_lines(checkout.path / AUTH / "registry.py", "yandex")
    without_lines(checkout.path / SANDBOX / "app.py", "yandex")
    return checkout


@pytest.mark.long
class TestRemoval:
    def test_leaves_code_whose_types_are_right(self, without_one: Checkout) -> None:
        done = without_one.run("mypy", "services", "deploy", "benchmarks")
        assert done.returncode == 0, done.stdout

    def test_leaves_its_tests_green(self, without_one: Checkout) -> None:
        done = without_one.run("pytest", "-q", *TESTS)
        assert done.returncode == 0, done.stdout
