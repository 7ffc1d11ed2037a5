"""docs/search.md lists every operator of the query language with the values that it takes, and no other."""

import re

from services.mail.search import operators
from tests.support.docs.documents import ROOT

TABLE = (ROOT / "docs/search.md").read_text(encoding="utf-8").split("| query |")[1].split("\n\n")[0]
QUERIES = " ".join(row.split(" | ")[0] for row in TABLE.splitlines()[2:])


def test_lists_every_operator() -> None:
    assert set(re.findall(r"\b([a-z_0-9]+):", QUERIES)) == operators.OPERATORS


def test_lists_the_values_of_operators_that_take_one_of_a_few() -> None:
    assert set(re.findall(r"`is:(\w+)`", QUERIES)) == operators._STATES.keys()
    [categories] = re.findall(r"^\| `category:` \|(.*)\|$", TABLE, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", categories)) == operators._CATEGORIES.keys()
