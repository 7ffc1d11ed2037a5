"""The coarse network and program of a client."""

from ipaddress import ip_network

import pytest
from starlette.requests import Request

from services.gateway.client_info import network_of, program_of

_CHROME = "Mozilla/5.0 ({system}) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"
_MAC = "Macintosh; Intel Mac OS X 10_15_7"
_PHONE = "iPhone; CPU iPhone OS 17_5 like Mac OS X"


class TestProgram:
    @pytest.mark.parametrize(
        ("user_agent", "expected"),
        [
            ("Mozilla/5.0 (X11; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0", "Firefox on Linux"),
            (_CHROME.format(system="Windows NT 10.0; Win64; x64"), "Chrome on Windows"),
            (_CHROME.format(system="Linux; Android 14; Pixel 8"), "Chrome on Android"),
            (_CHROME.format(system="X11; CrOS x86_64 14541.0.0"), "Chrome on ChromeOS"),
            (_CHROME.format(system=_MAC) + " Edg/126.0.0.0", "Edge on macOS"),
            (_CHROME.format(system=_MAC) + " OPR/112.0.0.0", "Opera on macOS"),
            (f"Mozilla/5.0 ({_PHONE}) AppleWebKit/605.1.15 Version/17.5 Mobile/15E148 Safari/604.1", "Safari on iOS"),
            (f"Mozilla/5.0 ({_PHONE}) AppleWebKit/605.1.15 CriOS/126.0 Mobile/15E148 Safari/604.1", "Chrome on iOS"),
            ("curl/8.5.0", "curl"),
            ("python-httpx/0.28.1", "python-httpx"),
            ("Mozilla/5.0", ""),
            ("", ""),
            ("<script>", ""),
            ("x" * 500, "x" * 40),
        ],
    )
    def test_is_named_without_versions(self, user_agent: str, expected: str) -> None:
        assert program_of(user_agent) == expected


class TestNetwork:
    @pytest.mark.parametrize(
        ("peer", "expected"),
        [
            ("203.0.113.77", "203.0.113.0/24"),
            ("2001:db8:1:2:3::4", "2001:db8:1::/48"),
            ("::ffff:203.0.113.77", "203.0.113.0/24"),
            ("no address", ""),
        ],
    )
    def test_is_coarse(self, peer: str, expected: str) -> None:
        assert network_of(request_from(peer), trusted_proxies=()) == expected

    def test_is_the_one_that_a_trusted_proxy_reports(self) -> None:
        request = request_from("10.0.0.1", forwarded_for="203.0.113.77")
        assert network_of(request, trusted_proxies=[ip_network("10.0.0.0/8")]) == "203.0.113.0/24"
        assert network_of(request, trusted_proxies=[]) == "10.0.0.0/24"


def request_from(peer: str, *, forwarded_for: str = "") -> Request:
    """Return a request of this peer."""
    headers = [(b"x-forwarded-for", forwarded_for.encode())] if forwarded_for else []
    return Request({"type": "http", "client": (peer, 1), "headers": headers})
