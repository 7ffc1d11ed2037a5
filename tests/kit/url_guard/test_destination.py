"""URLs that may be requested."""

import pytest

from services.kit.url_guard.destination import LONGEST, UnfitUrlError, parse


class TestParse:
    def test_names_host_port_and_target(self) -> None:
        found = parse("https://Example.COM/hook/%C3%A4?a=b&c=d")
        assert (found.scheme, found.host, found.port) == ("https", "example.com", 443)
        assert found.target == "/hook/%C3%A4?a=b&c=d"
        assert found.authority == "example.com"

    def test_encodes_a_name_in_another_script(self) -> None:
        assert parse("https://bücher.example/").host == "xn--bcher-kva.example"

    def test_keeps_a_port_in_the_authority(self) -> None:
        assert parse("https://[2606:4700::1]:8443/").authority == "[2606:4700::1]:8443"

    @pytest.mark.parametrize(
        ("url", "reason"),
        [
            ("", "https"),
            ("hook", "https"),
            ("//example.com/", "https"),
            ("http://example.com/", "https"),
            ("ftp://example.com/", "https"),
            ("file:///etc/passwd", "https"),
            ("gopher://example.com/", "https"),
            ("https:///hook", "host"),
            ("https://user@example.com/", "user name"),
            ("https://user:word@example.com/", "user name"),
            ("https://@example.com/", "user name"),
            ("https://example.com/#part", "fragment"),
            ("https://example.com/#", "fragment"),
            ("https://example.com:0/", "port"),
            ("https://example.com:22/", "port"),
            ("https://example.com:25/", "port"),
            ("https://example.com:6667/", "port"),
            ("https://example.com:99999/", "port"),
            ("https://127.1/", "usual form"),
            ("https://2130706433/", "usual form"),
            ("https://0x7f000001/", "usual form"),
            ("https://0x7f.1/", "usual form"),
            ("https://0177.0.0.1/", "is not a URL"),
            ("https://1.2.3.4.5/", "usual form"),
            ("https://exa mple.com/", "spaces"),
            ("https://example.com\\@other.example/", "backslashes"),
            ("https://example.com/\r\nx: y", "spaces"),
            ("https://-example.com/", "host"),
            ("https://a..example/", "host"),
            ("https://ex%61mple.com/", "host"),
            ("https://[::1/", "is not a URL"),
            ("https://example.com/" + "a" * LONGEST, "characters"),
        ],
    )
    def test_refuses(self, url: str, reason: str) -> None:
        with pytest.raises(UnfitUrlError, match=reason):
            parse(url)

    def test_takes_http_where_it_is_allowed(self) -> None:
        assert parse("http://localhost:3000/hook", allow_http=True).port == 3000
