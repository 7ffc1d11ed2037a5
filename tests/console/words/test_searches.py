"""Searches of links, read as the search reads them."""

from datetime import UTC, datetime

import pytest

from services.console.words.searches import label_search
from services.mail.search.parser import parse
from services.mail.search.syntax import HasLabel


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("Work", "Work"),
        ("Kunden/Müller & Söhne", "Kunden/Müller & Söhne"),
        ('12" records', "Label_7"),
        ('"quoted"', "Label_7"),
        ("“typographic”", "“typographic”"),
        ("a (b) OR -c:d", "a (b) OR -c:d"),
        ("back\\slash", "back\\slash"),
    ],
)
def test_find_the_label(name: str, found: str) -> None:
    assert parse(
        label_search({"id": "Label_7", "name": name}), now=datetime(2026, 1, 1, tzinfo=UTC), me=()
    ) == HasLabel(found)
