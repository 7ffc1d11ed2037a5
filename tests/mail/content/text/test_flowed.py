"""Flowed text (RFC 3676) becomes paragraphs."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.mail.content.text.flowed import join_flowed
from tests.support.mail.samples import parse, parse_as_gmail, raw

FLOWED = "Content-Type: text/plain; charset=utf-8; format=flowed"
WORDS = st.lists(st.from_regex(r"[A-Za-zё>(-][A-Za-zё]{0,8}", fullmatch=True), min_size=1, max_size=30)


def flow(paragraph: str, *, depth: int, width: int) -> list[str]:
    """The lines that a sender makes of a paragraph: section 4.2, space-stuffed as section 4.4 demands."""
    lines, line = [], ""
    for word in paragraph.split(" "):
        if line and len(line) + len(word) > width:
            lines.append(line + " ")
            line = ""
        line = f"{line} {word}" if line else word
    quote = ">" * depth
    return [f"{quote} {each}" if quote or each.startswith((">", " ", "From ")) else each for each in [*lines, line]]


class TestJoining:
    @pytest.mark.parametrize(
        ("body", "text"),
        [
            ("This is a \nlong line.\nNext\n", "This is a long line.\nNext\n"),
            ("one \ntwo \nthree", "one two three"),
            ("fixed\nlines\n", "fixed\nlines\n"),
            ("> quoted \n> text\n>> deeper \n>> still\nme\n", "> quoted text\n>> deeper still\nme\n"),
            ("> a \nb\n", "> a\nb\n"),
            (" >not quoted\n From here\n  indented\n", ">not quoted\nFrom here\n indented\n"),
            ("text \n-- \nAnn \nLee\n", "text\n-- \nAnn Lee\n"),
            ("> text \n> -- \n> Ann\n", "> text\n> -- \n> Ann\n"),
            ("last line of a paragraph \n\nnext\n", "last line of a paragraph\n\nnext\n"),
            ("ends here ", "ends here"),
            ("", ""),
            ("\n\n", "\n\n"),
        ],
    )
    def test_flowed_lines_are_joined_and_others_stay(self, body: str, text: str) -> None:
        for message in (parse(FLOWED, body=body), parse_as_gmail(raw(FLOWED, body=body))):
            assert message.text == text

    def test_line_ends_and_the_case_of_the_parameter_do_not_matter(self) -> None:
        assert parse("Content-Type: text/plain; FORMAT=Flowed", body="a \r\nb\r\n").text == "a b\n"

    def test_the_marking_space_goes_where_the_sender_says_so(self) -> None:
        assert parse(f"{FLOWED}; DelSp=yes", body="これは長 \nい行です。\n").text == "これは長い行です。\n"
        assert parse(f"{FLOWED}; delsp=no", body="a \nb\n").text == "a b\n"

    def test_text_that_is_not_flowed_keeps_its_lines(self) -> None:
        assert parse("Content-Type: text/plain; format=fixed", body="a \nb\n").text == "a \nb\n"
        assert parse("Content-Type: text/html; format=flowed", body="<pre>a \nb</pre>").html == "<pre>a \nb</pre>"

    def test_encoded_spaces_mark_flowed_lines_in_quoted_printable(self) -> None:
        message = parse(FLOWED, "Content-Transfer-Encoding: quoted-printable", body="caf=C3=A9=20\nau lait\n")
        assert message.text == "café au lait\n"

    @settings(max_examples=300)
    @given(
        paragraphs=st.lists(st.tuples(st.integers(0, 3), WORDS.map(" ".join)), min_size=1, max_size=6),
        width=st.integers(1, 60),
    )
    def test_paragraphs_come_back_as_they_were(self, paragraphs: list[tuple[int, str]], width: int) -> None:
        lines = [line for depth, paragraph in paragraphs for line in flow(paragraph, depth=depth, width=width)]
        expected = [f"{'>' * depth} {paragraph}" if depth else paragraph for depth, paragraph in paragraphs]
        assert join_flowed("\n".join(lines)).split("\n") == expected

    @pytest.mark.parametrize("piece", [" \n", "> \n", ">", ">>> a \n", "-- \n", "a \n"])
    def test_it_takes_linear_time(self, piece: str) -> None:
        started = time.process_time()
        join_flowed(piece * (1_000_000 // len(piece)))
        assert time.process_time() - started < 5
