"""README.ru.md has the structure, the commands and the links of README.md."""

import re

from tests.support.docs.documents import ROOT

ENGLISH = (ROOT / "README.md").read_text(encoding="utf-8")
RUSSIAN = (ROOT / "README.ru.md").read_text(encoding="utf-8")
# Text for people: in comments of commands, and in the labels of the picture.
_COMMENT = re.compile(r"^# .*$|  +#.*$", re.MULTILINE)
_LABEL = re.compile(r'"[^"]*"|\(\[.*?\]\)|\[\(.*?\)\]')


def outline(text: str) -> list[str]:
    """The levels of the headings, with how many list items and table rows stand below each."""
    without_code = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"^(#+|-|\|)(?= |-)", without_code, re.MULTILINE)


def commands(text: str) -> list[str]:
    """The blocks of commands, without comments."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [_COMMENT.sub("", block) for block in blocks]


def picture(text: str) -> str:
    """The picture without what people read in it."""
    [found] = re.findall(r"^```mermaid\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return _LABEL.sub("", found)


def links(text: str) -> list[str]:
    """The targets of the links, but for those to the other language."""
    return [target for target in re.findall(r"\]\(([^)]+)\)", text) if not target.startswith("README")]


class TestTranslation:
    def test_has_the_same_outline(self) -> None:
        assert outline(RUSSIAN) == outline(ENGLISH)
        assert len(outline(ENGLISH)) > 15

    def test_has_the_same_commands(self) -> None:
        assert commands(RUSSIAN) == commands(ENGLISH)
        assert len(commands(ENGLISH)) == 3

    def test_has_the_same_picture(self) -> None:
        assert picture(RUSSIAN) == picture(ENGLISH)

    def test_has_the_same_links(self) -> None:
        assert links(RUSSIAN) == links(ENGLISH)
        assert len(links(ENGLISH)) > 20
