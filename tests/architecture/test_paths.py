"""Texts of the repository name files and modules that exist."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.support.architecture.paths import missing_paths

ROOT = Path(__file__).parents[2]
Checkout = Callable[[Mapping[str, str]], Path]


def test_every_path_that_is_written_exists() -> None:
    assert missing_paths(ROOT) == []


@pytest.mark.parametrize(
    "name",
    ["services/mail/gone.py", "tests/mail/test_gone.py", "docs/gone.md", "services.mail.gone.names", "deploy.gone.x"],
)
def test_a_path_that_does_not_exist_is_found(checkout: Checkout, name: str) -> None:
    root = checkout({"services/mail/ids.py": "", "README.md": f"First line.\nSee `{name}`.\n"})
    assert missing_paths(root) == [f"README.md:2: {name}"]


def test_a_link_that_leads_nowhere_is_found(checkout: Checkout) -> None:
    links = "[a](page.md) [b](page.md#part) [c](../README.md) [d](#here) [e](https://example.com/x.md)"
    root = checkout({"README.md": "", "docs/page.md": links, "docs/other.md": "[f](old name.md) [g](gone.md#part)"})
    assert missing_paths(root) == ["docs/other.md:1: old name.md", "docs/other.md:1: gone.md"]


@pytest.mark.parametrize(
    "name",
    [
        "services/mail/ids.py",
        "services/mail",
        "services.mail",
        "services.mail.ids.PublicId",
        "deploy/production/secrets",
    ],
)
def test_a_path_that_exists_is_accepted(checkout: Checkout, name: str) -> None:
    root = checkout({"services/mail/ids.py": "", "README.md": f"See `{name}`, or https://example.com/docs/gone.\n"})
    assert missing_paths(root) == []
