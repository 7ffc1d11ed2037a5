"""The invariants have a test each. That the tests exist is a matter of every page."""

from tests.support.docs.documents import ROOT


def test_each_has_a_test_that_holds_it() -> None:
    text = (ROOT / "docs/architecture/invariants.md").read_text(encoding="utf-8")
    rows = [row.split(" | ") for row in text.splitlines() if row.startswith("| ") and not row.startswith("| invariant")]
    assert len(rows) > 30
    assert [row[0] for row in rows if len(row) != 3 or "`tests/" not in row[2]] == []


def test_of_the_architecture_have_a_test_each() -> None:
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8").split("## Invariants\n")[1].split("\n## ")[0]
    rows = [row.strip("| ").split(" | ") for row in text.splitlines() if row.startswith("| ")][1:]
    assert len(rows) >= 12
    assert [row[0] for row in rows if len(row) != 2 or not row[1].startswith("`tests/")] == []
