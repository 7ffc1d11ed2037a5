"""The images' lock files hold the packages of their service, in the tested versions."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVICES = ("auth", "mail", "gateway", "console", "sandbox")


def _pins(lock: Path) -> dict[str, frozenset[str]]:
    """Map `name==version` to its accepted hashes."""
    joined = lock.read_text().replace("\\\n", " ")
    pins = {}
    for line in joined.splitlines():
        if pin := re.match(r"([a-z0-9.-]+==[^ ;]+)", line):
            pins[pin[1]] = frozenset(re.findall(r"--hash=(sha256:[0-9a-f]{64})", line))
    return pins


def _names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=~! ]", requirement, maxsplit=1)[0] for requirement in requirements}


@pytest.mark.parametrize("service", SERVICES)
class TestServiceLock:
    def test_every_pin_and_hash_is_one_of_the_whole_lock(self, service: str) -> None:
        whole = _pins(ROOT / "requirements.lock")
        for pin, hashes in _pins(ROOT / f"deploy/locks/{service}.txt").items():
            assert hashes, f"{pin} has no hash"
            assert hashes <= whole.get(pin, frozenset()), f"{pin} differs: run `make lock`"

    def test_everything_that_the_service_asks_for_is_pinned(self, service: str) -> None:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        wanted = _names([*project["dependencies"], *project["optional-dependencies"][service]])
        pinned = {pin.partition("==")[0] for pin in _pins(ROOT / f"deploy/locks/{service}.txt")}
        assert wanted <= pinned, "run `make lock`"

    def test_it_names_no_registry(self, service: str) -> None:
        assert "://" not in (ROOT / f"deploy/locks/{service}.txt").read_text()


def test_linters_are_pinned_by_hash() -> None:
    pins = _pins(ROOT / "deploy/lint-tools.txt")
    wanted = [line for line in (ROOT / "deploy/lint-tools.in").read_text().splitlines() if not line.startswith("#")]
    assert pins.keys() >= set(wanted), "run `make lock`"
    assert all(pins.values())


def test_images_of_others_have_exact_tags() -> None:
    files = [*ROOT.glob("deploy/**/*.yml"), ROOT / "docker-compose.yml"]
    named = {
        image for path in files for image in re.findall(r"^ +image: ([a-z/]+:\S+)", path.read_text(), re.MULTILINE)
    }
    named |= set(
        re.findall(r"^(?:ARG PYTHON_IMAGE=|FROM )([a-z/]+:\S+)", (ROOT / "deploy/Dockerfile").read_text(), re.MULTILINE)
    )
    assert len(named) == 6
    assert [image for image in named if not re.search(r":v?\d+\.\d+\.\d+|^postgres:\d+\.\d+", image)] == []


@pytest.mark.parametrize("service", ["gateway", "console", "sandbox"])
def test_a_service_without_tables_gets_no_database_packages(service: str) -> None:
    pinned = {pin.partition("==")[0] for pin in _pins(ROOT / f"deploy/locks/{service}.txt")}
    assert not pinned & {"alembic", "asyncpg", "sqlalchemy"}
