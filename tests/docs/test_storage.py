"""docs/architecture/storage.md lists every table of both services, docs/operate.md those with figures for vacuum."""

import re
from collections.abc import Iterable

import pytest
from sqlalchemy import MetaData

from services.auth.store import tables as auth
from services.mail.store import tables as mail
from tests.support.docs.documents import ROOT

TEXT = (ROOT / "docs/architecture/storage.md").read_text(encoding="utf-8")


def listed(heading: str) -> Iterable[str]:
    """The tables in the rows of a section."""
    section = TEXT.split(f"## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)


@pytest.mark.parametrize(
    ("heading", "metadata"), [("Tables of auth", auth.metadata), ("Tables of mail", mail.metadata)]
)
def test_lists_every_table_once(heading: str, metadata: MetaData) -> None:
    assert sorted(listed(heading)) == sorted(metadata.tables)


def test_of_vacuum_has_the_figures_of_every_table_that_sets_some() -> None:
    section = (ROOT / "docs/operate.md").read_text(encoding="utf-8").split("### Vacuum\n")[1].split("\n### ")[0]
    said = dict(re.findall(r"^\| `(\w+)` \| (\d+ %|1,000 dead rows)", section, re.MULTILINE))
    options = {name: table.dialect_options["postgresql"]["with"] or {} for name, table in mail.metadata.tables.items()}
    factor = "autovacuum_vacuum_scale_factor"
    parts = {name: settings[factor] for name, settings in options.items() if factor in settings}
    assert said == {name: f"{100 * part:.0f} %" if part else "1,000 dead rows" for name, part in parts.items()}
