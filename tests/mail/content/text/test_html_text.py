"""Text of HTML is its visible text: elements that their attributes hide are left out, and nothing else."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.mail.content import html_to_text
from tests.support.mail.samples import multipart, parse_as_gmail

HIDING = [
    'style="display:none"',
    "style='DISPLAY : NONE'",
    "style=display:none",
    'style="color:red;display:none !important;margin:0"',
    'style="visibility:hidden"',
    'style="opacity:0"',
    'style="opacity: 0.0"',
    'style="max-height:0;overflow:hidden"',
    'style="overflow: hidden; height: 0px; width: 0"',
    'style="font-size:0"',
    'style="font-size: 0px; line-height: 0"',
    'style="font-size:1px"',
    'style="color:#ffffff;background-color:#fff"',
    'style="background:white; color:#FFF;"',
    'style="color: rgb(255, 255, 255); background-color: white"',
    'style="display:n/* */one"',
    'style="display:&#110;one"',
    "hidden",
    'id=x hidden class="y"',
    "HIDDEN=hidden",
]
SHOWING = [
    'style="display:block"',
    'style="opacity:0.5"',
    'style="overflow:hidden;height:10px"',
    'style="max-height:0"',
    'style="font-size:10px"',
    'style="font-size:1em"',
    'style="color:#fff;background-color:#000"',
    'style="color:#ffffff"',
    'style="mso-hide:all"',
    'aria-hidden="true"',
    'class="hidden"',
    'title="hidden"',
    'data-hidden="1"',
]


class TestHiddenText:
    @pytest.mark.parametrize("attribute", HIDING)
    @pytest.mark.parametrize("element", ["div", "span", "p", "b"])
    def test_it_is_left_out(self, element: str, attribute: str) -> None:
        page = f"<p>Hello<{element} {attribute}>Not <i>shown</i></{element}>, Ann</p>"
        assert html_to_text(page).replace("\n", "") == "Hello, Ann"

    @pytest.mark.parametrize("attribute", SHOWING)
    def test_what_only_looks_hidden_stays(self, attribute: str) -> None:
        assert html_to_text(f"<p>Hello, <span {attribute}>Ann</span></p>") == "Hello, Ann"

    @pytest.mark.parametrize(
        ("page", "text"),
        [
            ('<div style="display:none">a<div>b</div>c</div>d', "d"),
            ('<p style="display:none">a<p>b', "b"),
            ('<p style="display:none">a<i>b<div>c</div>', "c"),
            ('<ul><li style="display:none">a<li>b</ul>', "- b"),
            ('<table><tr><td style="display:none">a<td>b</table>', "b"),
            ('<table><tr style="display:none"><td>a<tr><td>b</table>', "b"),
            ('<table style="display:none"><tr><td>a<p>b</table>c', "c"),
            ('<div style="display:none">a</span>b</p>c</div>d', "d"),
            ('<div style="display:none"><!-- </div> --><style>x</style>a</div>b', "b"),
            ('<div style="display:none">of an element without an end', "of an element without an end"),
            ('<br style="display:none">a', "a"),
            ('a<img hidden alt="x"><img alt="y">', "ay"),
            ('<a href="https://x.org/a">see <span hidden>x</span>this</a>', "see this (https://x.org/a)"),
            ('<span hidden><a href="https://x.org/a">see</a></span>a', "a"),
            ('<td style="overflow:hidden;height:0">a cell grows with its text</td>', "a cell grows with its text"),
        ],
    )
    def test_the_element_ends_where_a_browser_ends_it(self, page: str, text: str) -> None:
        assert html_to_text(page) == text

    @pytest.mark.parametrize(
        ("page", "text"),
        [
            ('<td style="font-size:0px"><div style="font-size:13px">a <b>b</b></div>gap</td>', "a b"),
            ('<td style="font-size:0"><table><tr><td>a</table></td>', "a"),
            ('<td style="font-size:0"><font size="2">a</font></td>', "a"),
            ('<style>.t{font-size:14px}</style><td style="font-size:0"><p class="t">a</p></td>', "a"),
            ('<div style="color:#fff;background:#fff">a<b style="color:red">b</b></div>', "b"),
        ],
    )
    def test_a_style_within_shows_text_again(self, page: str, text: str) -> None:
        assert html_to_text(page) == text

    def test_the_text_of_a_message_is_without_its_preheader(self) -> None:
        page = '<div style="display:none;max-height:0">Preheader &zwnj;&nbsp;&zwnj;</div><h1>Sale</h1>'
        message = parse_as_gmail(multipart("alternative", f"Content-Type: text/html\n\n{page}"))
        assert (message.text, message.html) == ("Sale", page)

    _WORD = st.sampled_from(["seen", "also seen", "&amp;", "<br>"])
    _SECRET = st.sampled_from(
        ["secret", "<b>secret</b>", "<div>secret</div>", "<br>secret", "<img alt=secret>", "&nbsp;"]
    )
    _HIDDEN = st.builds(
        lambda element, attribute, inside: f"<{element} {attribute}>{''.join(inside)}</{element}>",
        st.sampled_from(["div", "span", "section", "center"]),
        st.sampled_from([each for each in HIDING if "font" not in each and "color" not in each]),
        st.lists(_SECRET, max_size=4),
    )
    _SHOWN = st.builds(
        lambda element, attribute, inside: f"<{element} {attribute}>{''.join(inside)}</{element}>",
        st.sampled_from(["div", "span", "section", "table"]),
        st.sampled_from(SHOWING),
        st.lists(_WORD, max_size=4),
    )

    @settings(max_examples=300)
    @given(st.lists(st.one_of(_HIDDEN, _SHOWN, _WORD), max_size=10))
    def test_nothing_hidden_is_in_it_and_nothing_else_is_lost(self, pieces: list[str]) -> None:
        text = html_to_text("".join(pieces))
        assert "secret" not in text
        assert text.count("seen") == "".join(pieces).count("seen")

    @pytest.mark.parametrize(
        "piece",
        [
            "<div hidden>",
            '<p style="display:none">',
            "</div>",
            "<td hidden><table>",
            '<b style="color:red;',
            'style="',
            "hidden ",
            '<i style="color:a;color:b;">',
            "<li hidden><p>",
        ],
    )
    def test_hostile_pages_take_linear_time(self, piece: str) -> None:
        started = time.process_time()
        html_to_text("<i hidden></i></div>" + piece * (500_000 // len(piece)))
        assert time.process_time() - started < 5
