"""The styles of messages: declarations are written anew, and keep their element in its place."""

import re
import time

import pytest
import tinycss2
from hypothesis import example, given
from hypothesis import strategies as st

from services.gateway.html.css_properties import PROPERTIES
from services.gateway.html.styles import LONGEST_STYLE, safe_style

# A number or dimension that is negative. (A hyphen within a name begins no number.)
_NEGATIVE = re.compile(r"(?<![a-z])-\s*[\d.]", re.IGNORECASE)
_PIECES = st.sampled_from(
    [
        *(
            "margin",
            "margin-left",
            "width",
            "float",
            "line-height",
            "font-size",
            "font",
            "color",
            "background",
            "border",
        ),
        *("height", "padding", "text-indent", "font-family", "position", ":", ":", ":", ";", ";", " ", " ", ",", "/"),
        *("0", "1", "-1", "5000", ".5", "-.5", "+9", "1e3", "-1e3", "px", "px", "em", "%", "vw", "!important", "right"),
        *(
            "auto",
            "inherit",
            "red",
            "#fff",
            "rgb(",
            "calc(",
            "round(",
            "var(--x",
            "url(x",
            ")",
            ")",
            "'",
            '"',
            "\\",
            "/*",
        ),
        *(
            "*/",
            "{",
            "}",
            "[",
            "]",
            "\n",
            "@x",
            "expression(",
            "-",
            "--",
            "\\2d",
            "fixed",
            "<",
            ">",
            "&quot;",
            "é",
            "\x00",
        ),
    ]
)
_STYLES = st.one_of(st.text(max_size=80), st.lists(_PIECES, max_size=20).map("".join))


def style(text: str, *, tag: str = "p") -> str:
    return safe_style(text, tag=tag)


class TestKept:
    @pytest.mark.parametrize(
        ("given", "kept"),
        [
            ("color:red", "color:red"),
            (" COLOR : Red ; ; ", "color:red"),
            ("color:#0A7D3C !important", "color:#0A7D3C"),
            ("c\\6flor:r\\65 d", "color:red"),
            ("color:/* none */red", "color:red"),
            ("color:rgb(10 20 30 / 50%)", "color:rgba(10,20,30,0.5)"),
            ("color:hsl(120,100%,50%);background-color:transparent", "color:rgb(0,255,0);background-color:transparent"),
            ("width:600px;max-width:100%", "width:600px;max-width:100%"),
            ("width:+6e2px;padding:.50em 0 -0px 1.0pt", "width:600px;padding:0.5em 0 0px 1pt"),
            ("margin:0 auto", "margin:0 auto"),
            ("border:1px solid #ccc;border-top:none", "border:1px solid #ccc;border-top:none"),
            ("border-radius:4px 5px/50%", "border-radius:4px 5px/50%"),
            ("line-height:1.5;font-size:14px", "line-height:1.5;font-size:14px"),
            ("font-family:Arial, 'Segoe UI' ,sans-serif", "font-family:Arial,'Segoe UI',sans-serif"),
            ("font-family:Times New Roman,serif", "font-family:Times New Roman,serif"),
            ("font-family:-apple-system,BlinkMacSystemFont", "font-family:-apple-system,BlinkMacSystemFont"),
            ('font-family:"a;b","}x",Arial', "font-family:Arial"),
            ("text-decoration:underline dotted red", "text-decoration:underline dotted red"),
            ("display:inline-block;vertical-align:middle", "display:inline-block;vertical-align:middle"),
            ("list-style:square inside", "list-style:square inside"),
            ("mso-line-height-rule:exactly;color:red;-webkit-text-size-adjust:100%", "color:red"),
            ("color:red;color:blue", "color:blue"),
            ("padding:1px;padding-left:2px;padding:3px", "padding-left:2px;padding:3px"),
            ("color:inherit;width:initial", "color:inherit;width:initial"),
        ],
    )
    def test_is_written_anew(self, given: str, kept: str) -> None:
        assert style(given) == kept

    @pytest.mark.parametrize(
        ("given", "kept"),
        [
            (
                "font:12px Arial",
                "font-style:normal;font-variant:normal;font-weight:normal;font-size:12px;line-height:normal",
            ),
            (
                "font:italic bold 12px/20px a",
                "font-style:italic;font-variant:normal;font-weight:bold;font-size:12px;line-height:20px",
            ),
            (
                "font:200px/0 a",
                "font-style:normal;font-variant:normal;font-weight:normal;font-size:200px;line-height:1",
            ),
        ],
    )
    def test_of_a_font_are_its_parts(self, given: str, kept: str) -> None:
        assert style(given).rpartition(";")[0] == kept

    @pytest.mark.parametrize(
        "given", ["font:Arial", "font:12px", "font:-12px Arial", "font:12px/", "font:caption", "font:"]
    )
    def test_of_a_font_without_size_or_family_is_nothing(self, given: str) -> None:
        assert style(given) == ""


class TestBackground:
    """Text in white cannot be read without the dark background that it was written for."""

    @pytest.mark.parametrize(
        ("given", "kept"),
        [
            ("background:#0a7d3c", "#0a7d3c"),
            ("background:url(x.png) no-repeat center #0a7d3c", "#0a7d3c"),
            ("background:#0a7d3c url('http://evil.example/x') 0 0/cover", "#0a7d3c"),
            ("background:url(a),url(b) rgb(1,2,3)", "rgb(1,2,3)"),
            ("background:linear-gradient(90deg,#0a7d3c 0%,red 100%)", "#0a7d3c"),
            ("background-image:radial-gradient(circle,rgb(1 2 3),red)", "rgb(1,2,3)"),
            ("background-image:linear-gradient(red,blue),url(x)", "red"),
            ("background:none", "transparent"),
        ],
    )
    def test_keeps_its_plain_colour(self, given: str, kept: str) -> None:
        assert style(f"{given};color:#fff") == f"background-color:{kept};color:#fff"

    @pytest.mark.parametrize(
        "given", ["background:url(x)", "background:var(--x)", "background-image:url(x)", "background:x"]
    )
    def test_without_a_colour_is_dropped(self, given: str) -> None:
        assert style(f"{given};color:red") == "color:red"


class TestDropped:
    @pytest.mark.parametrize(
        "given",
        [
            *(
                "margin:-1px",
                "margin:0-5000px",
                "margin:1-9999px",
                "margin:1px-1px",
                "margin:0 0 0 -1px",
                "margin:- 1px",
            ),
            *("margin:-.5em", "margin:-1e3px", "margin:\\2d 1px", "margin:calc(1px)", "margin:min(1px,2px)"),
            *("margin:max(1px,2px)", "margin:clamp(1px,2px,3px)", "margin:round(1px,1px)", "margin:mod(9px,2px)"),
            *("margin:rem(9px,2px)", "margin:abs(1px)", "margin:sign(1px)", "margin:hypot(1px)", "margin:env(x,1px)"),
            *(
                "margin:var(--x)",
                "margin:attr(x px)",
                "margin:-webkit-calc(1px)",
                "margin:anchor(top)",
                "margin:1px/2px",
            ),
            *("margin:501px", "margin:101%", "margin:1vw", "margin:1foo", "margin:1", "margin:1px 2px 3px 4px 5px"),
            *("padding:-1px", "text-indent:-1px", "letter-spacing:-1px", "word-spacing:-1px", "vertical-align:-1px"),
            *("width:2001px", "width:101%", "width:-1px", "width:max-content", "height:99999px", "font-size:201px"),
            *("font-size:-1px", "font-size:501%", "border-width:101px", "border:-1px solid", "line-height:-1"),
            *("line-height:99", "opacity:2", "opacity:-1", "float:inherit", "border-spacing:-1px"),
            *(
                "position:fixed",
                "position:absolute",
                "top:0",
                "inset:0",
                "z-index:9",
                "transform:none",
                "translate:1px",
            ),
            *("outline:1px solid red", "box-shadow:0 0 1px red", "text-shadow:1px 1px red", "filter:none", "zoom:2"),
            *(
                "content:'x'",
                "quotes:'a' 'b'",
                "list-style-type:'x'",
                "list-style:url(x)",
                "cursor:url(x)",
                "all:unset",
            ),
            *(
                "text-decoration:underline 99px",
                "background-position:0 0",
                "display:grid",
                "display:contents",
                "columns:1",
            ),
            *("color:lab(1 2 3)", "color:rgb(calc(1),2,3)", "color:#12345", "color:x", "color:red blue", "color:"),
            *("--x:1px", "{color:red}", "@import x", "x{color:red}", "color red", "width:1px{", "behavior:url(x)"),
            *(
                "width:" + "1" * 3_900 + "px",
                "color:hsl(1e999,1%,1%) x",
                "width:1e999px",
                "direction:\\",
                "font-family:'x",
            ),
        ],
    )
    def test_is_every_other_form(self, given: str) -> None:
        assert style(given) == ""
        assert style(f"color:red;{given}").split(";")[0] == "color:red"

    def test_is_a_style_of_any_length(self) -> None:
        assert style("color:red;" * (LONGEST_STYLE // 10)) == "color:red"
        assert style("color:red;" * (LONGEST_STYLE // 10) + ";") == ""


class TestInPlace:
    """Some declarations are harmless only together with others."""

    @pytest.mark.parametrize(
        ("given", "kept"),
        [
            ("float:right;width:1900px", "float:right;width:1900px;max-width:100%"),
            ("float:left;min-width:900px;max-width:900px", "float:left;max-width:100%"),
            ("float:none;min-width:900px", "float:none;min-width:900px"),
            ("line-height:0", "line-height:1"),
            ("line-height:.9", "line-height:1"),
            ("line-height:50%", "line-height:1"),
            ("line-height:.5em", "line-height:1"),
            ("line-height:1px;font-size:1px", "line-height:1;font-size:1px"),
            ("line-height:20px;font-size:190px", "line-height:1;font-size:190px"),
            ("font-size:190px;line-height:20px", "font-size:190px;line-height:1"),
            ("line-height:20px;font-size:16px", "line-height:20px;font-size:16px"),
            ("height:1px", "min-height:1px"),
            ("height:9px;min-height:5px", "min-height:5px"),
            ("height:9px;overflow:visible", "overflow:visible;min-height:9px"),
            ("height:0;max-height:0;overflow:hidden", "height:0;max-height:0;overflow:hidden"),
            ("max-height:0", ""),
        ],
    )
    def test_they_are_changed(self, given: str, kept: str) -> None:
        assert style(given) == kept

    @pytest.mark.parametrize("tag", ["img", "td", "table", "hr"])
    def test_what_cannot_be_lower_than_its_contents_keeps_its_height(self, tag: str) -> None:
        assert style("height:1px;max-height:2px", tag=tag) == "height:1px;max-height:2px"


class TestAnything:
    @given(text=_STYLES, tag=st.sampled_from(["p", "img"]))
    @example(text="margin:0-1px", tag="p")
    @example(text="font:1px 'a", tag="p")
    def test_gives_allowed_declarations_that_mean_the_same_to_every_parser(self, text: str, tag: str) -> None:
        kept = style(text, tag=tag)
        assert style(kept, tag=tag) == kept
        assert not _NEGATIVE.search(kept)
        assert not re.search(r"[\\{}<>\"@!]|/\*|url|rgba?\((?![\d,.]+\))", kept)
        parts = [part.split(":", 1) for part in kept.split(";") if kept]
        assert all(name in PROPERTIES for name, _ in parts)
        parsed = tinycss2.parse_blocks_contents(kept, skip_whitespace=True)
        assert [node.name for node in parsed if node.type == "declaration"] == [name for name, _ in parts]
        assert len(parsed) == len(parts)


class TestCost:
    @pytest.mark.parametrize(
        "piece", ["(", "a:", "a:b;", "\\", "'", '"', "[{(", "/*", "*/", "a:1px ", "a:'b;", "margin:1px;"]
    )
    def test_of_the_longest_style_is_small(self, piece: str) -> None:
        started = time.process_time()
        for number in range(10):
            style((piece * LONGEST_STYLE)[: LONGEST_STYLE - 2] + str(number))
        assert time.process_time() - started < 1

    @pytest.mark.parametrize("name", ["color", "background", "width", "font", "border", "text-decoration"])
    @pytest.mark.parametrize("bracket", ["(", "[", "{", "rgb(", "linear-gradient(", "calc("])
    def test_of_brackets_within_brackets_is_no_depth_of_calls(self, name: str, bracket: str) -> None:
        for function in ("", "rgb(", "hsl(1,", "linear-gradient(red,", "color-mix("):
            assert style(f"{name}:{function}" + bracket * (3_900 // len(bracket))) in ("", "background-color:red")

    def test_of_repeated_declarations_is_a_look_up(self) -> None:
        text = "font-family:Arial,Helvetica,sans-serif;font-size:14px;line-height:20px;color:#333333;padding:10px 20px"
        style(text)
        started = time.process_time()
        for _ in range(1_000):
            style(text)
        assert time.process_time() - started < 0.1
