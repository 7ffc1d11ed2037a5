"""Paths, modules and links that the repository's own texts name."""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from tests.support.architecture.repository import tracked_files

MADE_LATER = (
    "deploy/production",  # by deploy/first-install, outside of git
    "deploy/compose/sandbox",  # continued by a variable in docker-compose.yml
)
NOT_CHECKED = ("protos/gen/", "deploy/locks/", "tests/architecture/")
_PACKAGES = "services|tests|deploy|benchmarks"
_PATH = re.compile(rf"(?<![\w./@:{{}}<>$~-])(?:{_PACKAGES}|docs|protos)/[\w./-]*\w")
_LINK = re.compile(r"\]\((?!https?://|mailto:|#)([^)#]+)(?:#[^)]*)?\)")
_MODULE = re.compile(rf"(?<![\w/])(?:{_PACKAGES})(?:\.[a-z_][a-z_0-9]*)+")


def missing_paths(root: Path) -> list[str]:
    """Return `FILE:LINE: NAME` of paths, modules and Markdown links that texts name and that do not exist."""
    files = set(tracked_files(root))
    folders = {str(parent) for path in files for parent in PurePosixPath(path).parents}
    checked = (path for path in sorted(files) if not path.startswith(NOT_CHECKED))
    return [finding for path in checked for finding in _missing(root, path, files | folders)]


def _missing(root: Path, path: str, existing: set[str]) -> Iterator[str]:
    try:
        lines = (root / path).read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        return
    for number, line in enumerate(lines, start=1):
        for match in _PATH.finditer(line):
            if match[0] not in existing and not match[0].startswith(MADE_LATER):
                yield f"{path}:{number}: {match[0]}"
        for match in _MODULE.finditer(line):
            if not _is_module(match[0].replace(".", "/"), existing):
                yield f"{path}:{number}: {match[0]}"
        for match in _LINK.finditer(line) if path.endswith(".md") else ():
            if not (root / path).parent.joinpath(match[1]).exists():
                yield f"{path}:{number}: {match[1]}"


def _is_module(name: str, existing: set[str]) -> bool:
    """Return whether this is a module, a package, or a name in one of them."""
    parent = name.rpartition("/")[0]
    return any(found in existing for found in (name, f"{name}.py", parent, f"{parent}.py"))
