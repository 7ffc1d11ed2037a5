"""The terms of texts and queries."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.mail.search.terms import LONGEST_WORD, query_terms, terms_of


class TestTermsOf:
    @pytest.mark.parametrize(
        ("text", "terms"),
        [
            ("Hello, World!", ["hello", "world"]),
            ("Ada.Lovelace@Example.com", ["ada", "lovelace", "example", "com"]),
            ("it's foo_bar 1,000 C++", ["it", "s", "foo", "bar", "1", "000", "c"]),
            ("Ёлка и ёж, Йод", ["елка", "и", "еж", "йод"]),
            ("Élan naïve cafe\u0301 ﬁne STRASSE Straße", ["elan", "naive", "cafe", "fine", "strasse", "strasse"]),
            ("Łódź Smørrebrød Đặng Œuvre ÆBLE", ["lodz", "smorrebrod", "dang", "oeuvre", "aeble"]),
            ("Ǽ Ǿ ılık ILIK İLİK Þingvellir Ħal ẞ", ["ae", "o", "ilik", "ilik", "ilik", "thingvellir", "hal", "ss"]),
            ("ｆｕｌｌ２", ["full2"]),
            ("in\u00advoice in\u200bvoice\ufeff 葛\U000e0100城", ["invoice", "invoice", "葛城", "城"]),
            ("東京都", ["東京", "京都", "都"]),
            ("第3回 会議", ["第", "3", "回", "会議", "議"]),
            ("회의 있음", ["회의", "의", "있음", "음"]),
            ("हिन्दी", ["हिन्दी"]),
            ("שָׁלוֹם בית־ספר", ["שלום", "בית", "ספר"]),
            ("مُحَمَّد مـــرحبا أحمد", ["محمد", "مرحبا", "احمد"]),
            ("Party🎉🎉 ❤\ufe0f + 京🗼", ["party", "🎉", "🎉", "❤", "京", "🗼"]),
            ("I ❤ café → ©", ["i", "❤", "cafe"]),
            ("a" * 300, ["a" * LONGEST_WORD]),
            ("", []),
        ],
    )
    def test_a_text_has_these_terms(self, text: str, terms: list[str]) -> None:
        assert terms_of(text) == terms

    @given(text=st.text(alphabet=st.characters(max_codepoint=127)))
    def test_ascii_is_cut_the_same_way_alone_and_in_company(self, text: str) -> None:
        assert terms_of(text) == terms_of(f"é {text}")[1:]
        assert terms_of(text) == terms_of(f"{text} 京")[:-1]


class TestQueryTerms:
    @given(text=st.text())
    def test_every_text_contains_itself(self, text: str) -> None:
        terms = terms_of(text)
        for term in query_terms(text):
            there = terms[term.offset]
            assert there.startswith(term.value) if term.prefix else there == term.value

    def test_a_single_letter_of_an_unspaced_script_begins_a_pair(self) -> None:
        [term] = query_terms("京")
        assert (term.value, term.prefix) == ("京", True)

    def test_a_run_and_the_word_behind_it_keep_their_distance(self) -> None:
        assert [(term.value, term.offset) for term in query_terms("東京都abc")] == [
            ("東京", 0),
            ("京都", 1),
            ("abc", 3),
        ]
