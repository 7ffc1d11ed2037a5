"""Invisible characters go from single lines, except where a script or an emoji needs them."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.mail.content import clean_line
from tests.support.mail.samples import parse

FAMILY = "👩\u200d👩\u200d👧"
PERSIAN = "می\u200cخواهم"
KANNADA = "ರ\u200dಕ"
SCOTLAND = "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f"
INVISIBLE = [
    *("\u200b", "\u200c", "\u200d", "\u2060", "\ufeff", "\u00ad", "\u034f", "\u061c", "\u180e", "\u2064", "\u3164"),
    *("\uffa0", "\u202e", "\u2066", "\u0007", "\u009f", "\U000e0041", "\U000e0001", "\ufff9", "\U0001d173"),
]


class TestInvisibleCharacters:
    @pytest.mark.parametrize("character", INVISIBLE, ids=lambda character: f"U+{ord(character):04X}")
    def test_they_go_from_subjects_names_and_addresses(self, character: str) -> None:
        spoofed = f"pay{character}pal"
        message = parse(
            f"From: {spoofed} <{spoofed}@example.com>", f"To: x <{character}x@example.com>", f"Subject: {spoofed}"
        )
        assert message.subject == "paypal"
        assert [(each.name, each.email) for each in message.authors] == [("paypal", "paypal@example.com")]
        assert [each.email for each in message.to] == ["x@example.com"]

    @pytest.mark.parametrize("character", INVISIBLE, ids=lambda character: f"U+{ord(character):04X}")
    def test_a_name_of_nothing_else_is_none(self, character: str) -> None:
        [author] = parse(f"From: {character * 3} <a@example.com>").authors
        assert author.name == ""

    @pytest.mark.parametrize(
        "text", [FAMILY, PERSIAN, KANNADA, SCOTLAND, "❤\ufe0f", "👍🏽", "葛\U000e0100", "e\u0301", "한글"]
    )
    def test_what_shapes_the_text_stays(self, text: str) -> None:
        assert clean_line(f"a {text} b") == f"a {text} b"

    def test_joiners_beside_other_letters_go(self) -> None:
        assert clean_line(f"\u200d{FAMILY}\u200d a\u200db {PERSIAN}\u200c") == f"{FAMILY} ab {PERSIAN}"

    @settings(max_examples=500)
    @given(
        st.lists(st.one_of(st.sampled_from([*INVISIBLE, FAMILY, PERSIAN, SCOTLAND]), st.text(max_size=4)), max_size=12)
    )
    def test_a_line_stays_as_it_is_once_it_is_clean(self, pieces: list[str]) -> None:
        line = clean_line("".join(pieces))
        assert clean_line(line) == line
        assert line == line.strip()
        assert not [each for each in line if unicodedata.category(each) == "Cc"]

    @settings(max_examples=300)
    @given(
        visible=st.text(alphabet="abcжéß漢", min_size=1, max_size=12),
        hidden=st.lists(st.tuples(st.sampled_from(INVISIBLE), st.integers(0, 12)), max_size=8),
    )
    def test_no_way_to_hide_characters_changes_what_is_shown(self, visible: str, hidden: list[tuple[str, int]]) -> None:
        text = visible
        for character, place in hidden:
            text = text[:place] + character + text[place:]
        assert clean_line(text) == visible
