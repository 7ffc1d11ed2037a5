"""The words of docs/architecture/glossary.md are the words of the code, the contracts and the tables."""

import re
from functools import cache

import pytest

from tests.support.docs.documents import ROOT

TEXT = (ROOT / "docs/architecture/glossary.md").read_text(encoding="utf-8")
ROWS = [row.strip("| ").split(" | ") for row in TEXT.splitlines() if re.match(r"\| (?!word|---)", row)]


@cache
def words() -> frozenset[str]:
    """Every identifier in the services' code and in the contracts, and the names of files and folders."""
    files = [*(ROOT / "services").rglob("*.py"), *(ROOT / "protos/mailroom").rglob("*.proto")]
    named = {part.removesuffix(".py") for path in files for part in path.parts}
    return frozenset(named.union(*(re.findall(r"\w+", path.read_text(encoding="utf-8")) for path in files)))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row[0]))
def test_a_word_has_one_sentence_and_stands_in_the_code(row: list[str]) -> None:
    _, meaning, places = row
    assert meaning.endswith(".")
    assert meaning.count(". ") == 0
    named = set(re.findall(r"`(\w+)`", places))
    assert named
    assert named - words() == set()


def test_each_word_is_explained_once() -> None:
    explained = [row[0] for row in ROWS]
    assert len(explained) > 60
    assert sorted(explained) == sorted(set(explained))
