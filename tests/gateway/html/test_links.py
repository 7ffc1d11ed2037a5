"""Links and pictures as browsers read them."""

from collections.abc import Mapping

import pytest

from services.gateway.html.links import picture_finder, safe_link

PICTURES: Mapping[str, str] = {
    "logo@x": "/1",
    "http://news.example/logo.png": "/2",
    "img/head er.png": "/3",
    "Photo 1.JPG": "/4",
}


class TestSafeLink:
    @pytest.mark.parametrize(
        ("href", "url"),
        [
            ("https://example.com/a?b#c", "https://example.com/a?b#c"),
            ("HTTP://example.com", "HTTP://example.com"),
            (" \x01\thttps://exa\nmple.com\x00 ", "https://example.com"),
            ("mailto:ann@example.com?subject=x", "mailto:ann@example.com?subject=x"),
            ("tel:+123", "tel:+123"),
        ],
    )
    def test_leads_elsewhere(self, href: str, url: str) -> None:
        assert safe_link(href) == url

    @pytest.mark.parametrize(
        "href",
        [
            *(
                "https:emails/addresses",
                "https:/emails",
                "http:?q",
                "HTTPS:x",
                "https:\\emails",
                "https:///emails",
                "https://",
            ),
            *(
                "https://?x",
                "https://#x",
                "https:// x",
                "\u00a0https://example.com",
                "\u2028https://example.com",
                "//example.com",
            ),
            *(
                "/emails",
                "emails",
                "?x",
                "#x",
                "",
                "javascript:x",
                "java\nscript:x",
                "data:text/html,x",
                "cid:x",
                "file:///x",
            ),
            *("blob:https://example.com/x", "vbscript:x", "x-https://example.com", "about:blank", "ftp://example.com"),
        ],
    )
    def test_leads_neither_to_the_pages_own_host_nor_runs_anything(self, href: str) -> None:
        assert safe_link(href) is None


class TestPictures:
    @pytest.mark.parametrize(
        ("src", "path"),
        [
            ("cid:logo@x", "/1"),
            ("CID:LOGO%40X", "/1"),
            (" c\nid:logo@x", "/1"),
            ("http://news.example/logo.png", "/2"),
            ("img/head%20er.png", "/3"),
            ("Photo%201.JPG", "/4"),
            ("photo 1.jpg", "/4"),
            ("cid:Photo 1.JPG", "/4"),
            ("images/photo 1.jpg?x=1", "/4"),
            ("file:///C:/Users/Ann/Photo%201.JPG", "/4"),
            ("pictures\\Photo 1.JPG", "/4"),
        ],
    )
    def test_of_the_message_are_found_by_every_name(self, src: str, path: str) -> None:
        assert picture_finder(PICTURES)(src) == path

    @pytest.mark.parametrize(
        "src",
        [
            *(
                "http://evil.example/Photo%201.JPG",
                "//evil.example/Photo 1.JPG",
                "https://news.example/logo.png",
                "cid:x",
            ),
            *("/emails/m/attachments/1", "", "/", "#", "data:image/svg+xml;base64,AAAA", "data:image/png,x", "logo"),
        ],
    )
    def test_of_others_are_not_shown(self, src: str) -> None:
        assert picture_finder(PICTURES)(src) is None

    def test_in_the_html_itself_are_shown(self) -> None:
        assert picture_finder({})("data:image/png;base64,AA\nAA") == "data:image/png;base64,AAAA"
