"""What `make demo` ends with."""

import re
from pathlib import Path

from deploy.local.tour import NEXT

ROOT = Path(__file__).parents[3]


def test_names_commands_and_documents_that_exist() -> None:
    documents = re.findall(r"docs/[\w/-]+\.md", NEXT)
    assert len(documents) >= 5
    assert [name for name in documents if not (ROOT / name).exists()] == []
    [target] = re.findall(r"make (\w+)", NEXT)
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert "the console" in NEXT
