"""docs/architecture/storage.md lists every table of both services, and nothing else."""

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
