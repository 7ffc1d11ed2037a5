"""Rules for folders: how many modules one holds, and which test folders there are."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from tests.support.architecture.repository import tracked_files

MODULES_PER_FOLDER = 20
SUITES = frozenset({"architecture", "compose", "contract", "docs", "e2e", "mutants", "peers", "soak"})
"""Test folders over the system as a whole, or over no code folder of their own."""
_NOT_COUNTED = frozenset({"__init__.py", "__main__.py"})


def crowded_folders(root: Path) -> dict[str, int]:
    """Return the folders below `services/` with more than 20 Python modules, with their counts.

    Migrations are not counted: they are numbered, one for each change, and never change again.
    """
    paths = (PurePosixPath(path) for path in tracked_files(root, "services"))
    counted = (path for path in paths if path.suffix == ".py" and path.name not in _NOT_COUNTED)
    counts = Counter(str(path.parent) for path in counted if not path.match("migrations/versions/*"))
    return {folder: count for folder, count in counts.items() if count > MODULES_PER_FOLDER}


def unmirrored_test_folders(root: Path) -> list[str]:
    """Return the folders of tests, and of their support code, that name no code folder.

    `tests/mail/sync` mirrors `services/mail/sync`, `tests/deploy/local` mirrors `deploy/local`. A folder of
    `tests/support` is named after the folder of tests that it serves, at any depth.
    """
    tests = _folders(tracked_files(root, "tests"))
    code = _folders(tracked_files(root, "services", "deploy", "protos", "benchmarks", "clients"))
    return sorted(folder for folder in tests if not _is_expected(PurePosixPath(folder), tests, code))


def _is_expected(folder: PurePosixPath, tests: set[str], code: set[str]) -> bool:
    match folder.parts[1:]:
        case () | ("support",):
            return True
        case ("support", name, *rest):
            return not rest and any(
                test.split("/")[-1] == name for test in tests if not test.startswith("tests/support")
            )
        case (suite, *_) if suite in SUITES:
            return True
        case parts:
            below = "/".join(parts)
            return below in code or f"services/{below}" in code


def _folders(paths: Iterable[str]) -> set[str]:
    """Return every folder on the way to these files."""
    return {str(parent) for path in paths for parent in PurePosixPath(path).parents if parent.parts}
