"""Commit hooks, development container and editor settings say what the Makefile and pyproject.toml say."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()


def recipe(target: str) -> list[str]:
    """The commands of a make target."""
    found = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    assert found is not None
    return [line.strip().replace("$(BIN)", ".venv/bin") for line in found[1].splitlines()]


def repositories() -> list[dict[str, Any]]:
    """The repositories of hooks."""
    found: list[dict[str, Any]] = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    return found


class TestCommitHooks:
    def test_run_what_make_check_runs(self) -> None:
        hooks = [hook for repository in repositories() for hook in repository["hooks"]]
        assert [hook["entry"] for hook in hooks] == recipe("check")

    def test_fetch_nothing(self) -> None:
        assert {repository["repo"] for repository in repositories()} == {"local"}
        hooks = [hook for repository in repositories() for hook in repository["hooks"]]
        assert {hook["language"] for hook in hooks} == {"system"}
        assert not any("additional_dependencies" in hook for hook in hooks)

    def test_choose_files_that_exist(self) -> None:
        files = [
            str(path.relative_to(ROOT)) for folder in ("services", "deploy") for path in (ROOT / folder).rglob("*.*")
        ]
        for repository in repositories():
            for hook in repository["hooks"]:
                assert "types" in hook or any(re.search(hook["files"], file) for file in files), hook["id"]


class TestDevelopmentContainer:
    def test_has_the_python_of_the_project_installs_it_and_forwards_its_ports(self) -> None:
        container = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())
        assert container["image"].rpartition(":")[2] == (ROOT / ".python-version").read_text().strip()
        assert container["postCreateCommand"] == "make install"
        assert container["forwardPorts"] == [8000, 8100]


class TestEditorSettings:
    def test_have_the_line_length_of_the_formatter(self) -> None:
        ruff = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]
        assert f"max_line_length = {ruff['line-length']}\n" in (ROOT / ".editorconfig").read_text()
