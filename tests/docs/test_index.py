"""docs/README.md leads to every page, and docs/decisions/README.md to every decision."""

import re
from pathlib import Path

from tests.support.docs.documents import ROOT

DOCS, DECISIONS = ROOT / "docs", ROOT / "docs/decisions"


def linked(index: Path) -> set[Path]:
    """The pages that an index links."""
    targets = re.findall(r"\]\(([^)#]+)", index.read_text(encoding="utf-8"))
    return {(index.parent / target).resolve() for target in targets}


def test_of_the_documentation_lists_every_page() -> None:
    pages = {page for page in DOCS.rglob("*.md") if page.parent != DECISIONS} | {DECISIONS / "README.md"}
    assert pages - {DOCS / "README.md"} - linked(DOCS / "README.md") == set()


def test_of_the_decisions_lists_every_decision() -> None:
    assert set(DECISIONS.glob("*.md")) - {DECISIONS / "README.md"} - linked(DECISIONS / "README.md") == set()
