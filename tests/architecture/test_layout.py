"""Folders of code and of tests: their size, and that each test folder has its code."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.support.architecture.layout import crowded_folders, unmirrored_test_folders

ROOT = Path(__file__).parents[2]
Checkout = Callable[[Mapping[str, str]], Path]


def modules(folder: str, number: int) -> dict[str, str]:
    return {f"{folder}/module_{i}.py": "" for i in range(number)}


class TestModulesPerFolder:
    def test_are_at_most_twenty_below_services(self) -> None:
        assert crowded_folders(ROOT) == {}

    def test_beyond_twenty_are_found(self, checkout: Checkout) -> None:
        root = checkout(modules("services/mail/store", 21) | modules("services/mail/sync", 20))
        assert crowded_folders(root) == {"services/mail/store": 21}

    def test_leave_migrations_out(self, checkout: Checkout) -> None:
        assert crowded_folders(checkout(modules("services/mail/migrations/versions", 21))) == {}

    def test_count_neither_entry_points_nor_other_files(self, checkout: Checkout) -> None:
        others = ("__init__.py", "__main__.py", "page.html", "below/module.py")
        root = checkout(modules("services/mail", 20) | {f"services/mail/{name}": "" for name in others})
        assert crowded_folders(root) == {}


class TestTestFolders:
    def test_mirror_the_code(self) -> None:
        assert unmirrored_test_folders(ROOT) == []

    @pytest.mark.parametrize(
        "folder", ["tests/mail/gone", "tests/unknown", "tests/support/unknown", "tests/support/mail/below"]
    )
    def test_without_code_are_found(self, checkout: Checkout, folder: str) -> None:
        root = checkout({"services/mail/sync/turn.py": "", "tests/mail/test_ids.py": "", f"{folder}/module.py": ""})
        assert unmirrored_test_folders(root) == [folder]

    @pytest.mark.parametrize(
        "folder",
        ["tests/mail/sync", "tests/deploy/local", "tests/support/mail", "tests/support/local", "tests/e2e/any"],
    )
    def test_with_code_are_accepted(self, checkout: Checkout, folder: str) -> None:
        code = {"services/mail/sync/turn.py": "", "deploy/local/home.py": ""}
        tests = {"tests/mail/test_ids.py": "", "tests/deploy/local/test_home.py": ""}
        assert unmirrored_test_folders(checkout(code | tests | {f"{folder}/module.py": ""})) == []
