"""Showing where the words of a query stand."""

from datetime import UTC, datetime

import pytest

from services.mail.search.highlight import highlight, wanted_terms
from services.mail.search.parser import parse


def shown(query: str, text: str) -> str | None:
    node = parse(query, now=datetime(2026, 3, 1, tzinfo=UTC), me=["ada@example.com"])
    return highlight(text, wanted_terms(node))


class TestHighlight:
    @pytest.mark.parametrize(
        ("query", "text", "html"),
        [
            ("invoice", "The Invoice is here", "The <mark>Invoice</mark> is here"),
            ("invo*", "Invoices, invoice", "<mark>Invoices</mark>, <mark>invoice</mark>"),
            ("a", '<b onclick="x">a & b</b>', '&lt;b onclick="x"&gt;<mark>a</mark> &amp; b&lt;/b&gt;'),
            ("елка", "Наша\n\nЁлка", "Наша <mark>Ёлка</mark>"),
            ("naive", "so nai\u0308ve", "so <mark>naïve</mark>"),
            ("invoice", "the in\u00advoice x\u0302", "the <mark>in\u00advoice</mark> x\u0302"),
            ("xy", "x\u0302y z", "<mark>x\u0302y</mark> z"),
            ("🎉", "party 🎉🎈", "party <mark>🎉</mark>🎈"),
            ("京都", "東京都庁", "東<mark>京都</mark>庁"),
            ("京", "東京都庁", "東<mark>京</mark>都庁"),
            ("lodz aeble", "Łódź Æble", "<mark>Łódź</mark> <mark>Æble</mark>"),
            (
                "from:me",
                "Ada <ada@example.com>",
                "<mark>Ada</mark> &lt;<mark>ada</mark>@<mark>example</mark>.<mark>com</mark>&gt;",
            ),
            ("from:@example.com", "x@example.com", "x@<mark>example</mark>.<mark>com</mark>"),
            ("a -b", "a b", "<mark>a</mark> b"),
            ("-b", "a b", None),
            ("c", "a b", None),
        ],
    )
    def test_marks_the_words(self, query: str, text: str, html: str | None) -> None:
        assert shown(query, text) == html

    @pytest.mark.parametrize(
        ("query", "end"), [("in", "in…"), ("invoice", "<mark>in</mark>…"), ("invo*", "<mark>in</mark>…")]
    )
    def test_knows_a_word_that_the_end_cuts_in_two(self, query: str, end: str) -> None:
        html = shown(f"{query} OR first", "first " + "x" * 191 + " invoice")
        assert html == f"<mark>first</mark> {'x' * 191} {end}"

    def test_shows_the_part_around_the_first_word_found(self) -> None:
        html = shown("needle", "hay " * 100 + "needle" + " hay" * 100)
        assert html is not None
        assert html.startswith("…hay hay ")
        assert html.endswith("…")
        assert "<mark>needle</mark>" in html
        assert len(html) < 250
