"""The list of mistakes fits the code: each can be made as the code now stands, and names tests that exist."""

import ast
from functools import cache
from pathlib import Path

import pytest

from tests.mutants.mistakes import Mistake, StaleMistakeError, read

ROOT = Path(__file__).parents[2]
MISTAKES = read()


@cache
def names_in(file: Path) -> set[str]:
    """Return the node ids of a file's tests and classes, without the file."""
    found = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            found |= {node.name, *(f"{node.name}::{each.name}" for each in node.body if hasattr(each, "name"))}
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
    return found


def obstacle_to(mistake: Mistake) -> str:
    """Return why the mistake cannot be made, an empty text where it can."""
    text = (ROOT / mistake.file).read_text(encoding="utf-8")
    try:
        changed = mistake.applied_to(text)
        if mistake.file.endswith(".py"):
            ast.parse(changed)
    except (StaleMistakeError, SyntaxError) as error:
        return repr(error)
    return "" if changed != text else "it changes nothing"


class TestMistake:
    def test_can_be_made(self) -> None:
        assert {mistake.name: problem for mistake in MISTAKES if (problem := obstacle_to(mistake))} == {}

    def test_names_tests_that_exist(self) -> None:
        named = [test.partition("::") for mistake in MISTAKES for test in mistake.tests]
        assert [
            (file, name) for file, _, name in named if name and name.split("[")[0] not in names_in(ROOT / file)
        ] == []

    def test_has_a_name_of_its_own(self) -> None:
        names = [mistake.name for mistake in MISTAKES]
        assert sorted(set(names)) == sorted(names)

    @pytest.mark.parametrize("text", ["", "old old"])
    def test_is_stale_without_one_place_for_it(self, text: str) -> None:
        mistake = Mistake(name="any", file="any.py", old="old", new="new", tests=[], origin="any")
        with pytest.raises(StaleMistakeError):
            mistake.applied_to(text)


class TestList:
    def test_has_what_was_found_and_forty_more(self) -> None:
        origins = [mistake.origin for mistake in MISTAKES]
        assert set(origins) == {"gap", "own", "fault"}
        assert origins.count("gap") >= 26
        assert origins.count("own") >= 40
        assert origins.count("fault") >= 90

    def test_names_few_that_survive(self) -> None:
        own = [mistake for mistake in MISTAKES if mistake.origin == "own"]
        assert sum(bool(mistake.survives) for mistake in own) <= 0.15 * len(own)
        assert not any(mistake.survives for mistake in MISTAKES if mistake.origin != "own")
