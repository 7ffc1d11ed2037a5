"""Hostile HTML in a browser, embedded as docs/messages.md says: nothing runs, loads, covers or leaves its place."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence

import pytest

from services.gateway.html.policy import sanitise
from tests.support.docs.documents import ROOT
from tests.support.peers.attack_pages import served
from tests.support.peers.html_attacks import ATTACKS, EVIL
from tests.support.peers.installation import VENV
from tests.support.peers.skips import require

pytestmark = pytest.mark.peers

_PROGRAM = ROOT / "tests/support/peers/browser.py"
_GUIDE = (ROOT / "docs/messages.md").read_text(encoding="utf-8")
PATIENCE = 900
"""Seconds for all pages of a browser; each takes less than one."""
HARMLESS = "<p>Hello</p>"
COVER = "COVER<br>" * 30

type Show = Callable[..., list[list[str]]]
"""A function that returns the changes and requests of each message."""


@pytest.fixture(scope="module")
def show() -> Show:
    """Show messages in a browser and compare each page with that of a harmless message."""
    browser = require(shutil.which("chromium"), "chromium", source="debian")
    playwright = next(VENV.glob("lib/python*/site-packages/playwright"), None)
    require(playwright, "playwright", source="pypi")

    def shown(messages: Sequence[str], *, embedding: str) -> list[list[str]]:
        # Many attacks leave the same HTML.
        distinct = list(dict.fromkeys(messages))
        with served([HARMLESS, *distinct], embedding=embedding) as pages:
            command = [str(VENV / "bin/python"), str(_PROGRAM), browser, pages.origin, str(len(pages.messages))]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=PATIENCE)
        usual, *others = map(json.loads, done.stdout.splitlines())
        assert pages.requests.get(0) is None
        changes = {
            message: [*(name for name in usual if facts.get(name) != usual[name]), *pages.requests.get(number, [])]
            for number, (message, facts) in enumerate(zip(distinct, others, strict=True), 1)
        }
        return [changes[message] for message in messages]

    return shown


def documented() -> str:
    """Return the CSS of the element in which messages are shown."""
    [css] = re.findall(r"```css\n(.*?)```", _GUIDE, re.DOTALL)
    return str(css)


class TestSafeHtml:
    def test_of_hundreds_of_attacks_does_nothing_to_the_page(self, show: Show) -> None:
        attacks = [attack for kind in ATTACKS.values() for attack in kind]
        assert len(set(attacks)) >= 300
        changes = show([sanitise(attack, {}) for attack in attacks], embedding=documented())
        assert {attack: found for attack, found in zip(attacks, changes, strict=True) if found} == {}

    def test_of_attacks_on_the_layout_keeps_its_place_where_the_page_lets_it_go(self, show: Show) -> None:
        attacks = ATTACKS["leaves"]
        changes = show([sanitise(attack, {}) for attack in attacks], embedding=_WITHOUT_CONTAINMENT)
        left = {attack: found for attack, found in zip(attacks, changes, strict=True) if found}
        assert {attack for attack in left if not any(held in attack for held in _HELD_BY_THE_PAGE)} == set()
        harms = {harm for found in left.values() for harm in found}
        assert harms <= {"covered grown neighbour above", "covered grown neighbour below"}


# Long lines are no fault of styles, and in a box of fixed height anything covers what is below.
_WITHOUT_CONTAINMENT = "#fixed { display: none } .message { line-height: normal; overflow-x: clip }"
# Letters that are a seventh higher than a line of their size, and what stands around words within a line.
_HELD_BY_THE_PAGE = (
    *("line-height:0;", "line-height:1px", "line-height:0%", "190px/0", "190px/1px"),
    *("display:inline;padding", "display:inline;border", "<ruby"),
)

_HARMS = {
    "<img src=data:x onerror=top.ran=1>": "ran",
    "<svg onload=top.ran=1>": "ran",
    f"<img src={EVIL}/x>": "GET evil.example/x",
    f'<p style="background:url({EVIL}/y)">x</p>': "GET evil.example/y",
    "<img src=own.png>": "/own.png",
    "<style>.above{margin-top:9px}</style>": "moved fixed neighbour above",
    f'<div style="position:fixed;inset:0">{COVER}</div>': "covered grown neighbour below",
    f'<div style="margin-top:-60px">{COVER}</div>': "covered fixed neighbour above",
    f'<div style="float:right;width:900px">{COVER}</div>': "covered fixed neighbour left",
    '<p style="text-shadow:-150px 0 red">x</p>': "painted",
    "Z" + "\u0300\u0301\u0302\u0303\u0304\u0305\u0306\u0307\u0308" * 100: "painted",
    "<script>document.title='x'</script>": "title",
    "<script>setInterval(scrollTo, 9, 0, 200)</script>" + COVER * 9: "scrolled",
}


class TestTheComparison:
    """Names each harm that HTML does."""

    def test_names_the_harm_of_html_that_is_neither_safe_nor_contained(self, show: Show) -> None:
        changes = show(list(_HARMS), embedding="")
        seen = [any(harm in name for name in found) for harm, found in zip(_HARMS.values(), changes, strict=True)]
        assert dict(zip(_HARMS, seen, strict=True)) == dict.fromkeys(_HARMS, True)

    def test_names_nothing_of_harmless_html(self, show: Show) -> None:
        assert show(["<p>Hello <b>you</b></p>", "<p>x</p>" * 40], embedding=documented()) == [[], []]
