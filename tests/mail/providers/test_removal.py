"""A provider is removed with its folder and its lines in the registries: nothing else knows it."""

import re
import shutil
from pathlib import Path

import pytest

from deploy.local.postgres import PostgresAddress
from deploy.local.valkey import RedisAddress
from tests.support.checkout import Checkout

MAIL, AUTH = "services/mail/providers", "services/auth/providers"
# The settings of all providers, limits, notifications and sign-ins: what the registries make.
TESTS = (
    *("tests/mail/test_settings.py", "tests/mail/test_notifications.py", "tests/mail/providers/test_registry.py"),
    "tests/auth/sign_in/test_sign_in.py",
)


def without_lines(path: Path, word: str) -> None:
    """Remove the lines of a file that have a word in any case."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    left = [line for line in lines if word not in line.lower()]
    assert len(left) < len(lines), path
    path.write_text("".join(left), encoding="utf-8")


def without_blocks(path: Path, word: str) -> None:
    """Remove the imports of a word, and the functions and conditions that begin with a line that has it."""
    text = path.read_text(encoding="utf-8")
    patterns = (
        # Up to the next line that is not indented and does not end the parameters.
        rf"^def \w*{word}\w*\(.*?(?=^[^\s)]|\Z)",
        rf"^    if [^\n]*{word}[^\n]*\n(?:        [^\n]*\n)+",
        rf"^from [^\n]*{word}[^\n]*\n",
    )
    for pattern in patterns:
        text, removed = re.subn(pattern, "", text, flags=re.MULTILINE | re.DOTALL)
        assert removed, pattern
    path.write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def without_one(
    postgres_server: PostgresAddress,
    redis_server: RedisAddress,
    server_home: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Checkout:
    """Return a copy of the tree without IMAP and without the sign-in with Yandex."""
    environment = {
        "MAILROOM_HOME": str(server_home / "removal"),
        **postgres_server.environment(),
        **redis_server.environment(),
    }
    checkout = Checkout(tmp_path_factory.mktemp("removal") / "mailroom", environment=environment)
    shutil.rmtree(checkout.path / MAIL / "imap")
    (checkout.path / AUTH / "yandex.py").unlink()
    for file in ("registry.py", "settings.py"):
        without_lines(checkout.path / MAIL / file, "imap")
    without_blocks(checkout.path / AUTH / "registry.py", "yandex")
    return checkout


class TestRemoval:
    def test_leaves_code_whose_types_are_right(self, without_one: Checkout) -> None:
        done = without_one.run("mypy", "services/mail", "services/auth")
        assert done.returncode == 0, done.stdout

    def test_leaves_its_tests_green(self, without_one: Checkout) -> None:
        done = without_one.run("pytest", "-q", *TESTS)
        assert done.returncode == 0, done.stdout
