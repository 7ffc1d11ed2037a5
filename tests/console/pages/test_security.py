"""Headers of every response, and files that pages load."""

import hashlib
import re
from pathlib import Path

import pytest

from tests.console.conftest import Browser

CONSOLE = Path(__file__).parents[3] / "services/console"
VENDOR = CONSOLE / "static/vendor"


class TestPolicy:
    @pytest.mark.parametrize(
        "path", ["/mailboxes", "/sign-in", "/nowhere", "/static/console.css", "/messages/email-1/frame"]
    )
    async def test_is_on_every_response_and_allows_nothing_unsafe_to_pages(self, browser: Browser, path: str) -> None:
        headers = (await browser.get(path)).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        if "sandbox" not in policy:
            assert "unsafe" not in policy
            for part in ("require-trusted-types-for 'script'", "base-uri 'none'", "frame-ancestors 'none'"):
                assert part in policy

    async def test_names_another_nonce_in_each_response(self, browser: Browser) -> None:
        pages = [await browser.get("/mailboxes") for _ in range(2)]
        nonces = [re.findall(r"'nonce-([^']+)'", page.headers["content-security-policy"])[0] for page in pages]
        assert nonces[0] != nonces[1]
        for page, nonce in zip(pages, nonces, strict=True):
            assert set(re.findall(r'nonce="([^"]+)"', page.text)) == {nonce}

    async def test_keeps_pages_out_of_caches(self, browser: Browser) -> None:
        assert (await browser.get("/mailboxes")).headers["cache-control"] == "no-store"

    async def test_asks_for_files_again_only_when_they_have_changed(self, browser: Browser) -> None:
        whole = await browser.get("/static/console.css")
        assert whole.headers["cache-control"] == "public, no-cache"
        same = await browser.get("/static/console.css", **{"if-none-match": whole.headers["etag"]})
        assert (same.status_code, same.content) == (304, b"")
        other = await browser.get("/static/console.css", **{"if-none-match": '"x"'})
        assert other.content == whole.content


class TestFiles:
    @pytest.mark.parametrize("name", ["../settings.py", "%2e%2e/settings.py", "vendor/NOTICE", "vendor"])
    async def test_are_those_of_the_folder_that_browsers_load(self, browser: Browser, name: str) -> None:
        assert (await browser.get(f"/static/{name}")).status_code == 404

    def test_of_others_are_unchanged_and_have_their_licence(self) -> None:
        listed = dict(line.split()[::-1] for line in (VENDOR / "SHA256SUMS").read_text().splitlines())
        scripts = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in VENDOR.glob("*.js")}
        assert listed == scripts
        assert "Zero-Clause BSD" in (VENDOR / "htmx.LICENSE.txt").read_text()
        assert all(name in (VENDOR / "NOTICE").read_text() for name in scripts)

    def test_hold_no_inline_script_style_or_handler(self) -> None:
        for page in (CONSOLE / "templates").rglob("*.html"):
            text = page.read_text(encoding="utf-8")
            assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|hx-on", text), page.name

    def test_give_every_element_of_htmx_its_nonce(self) -> None:
        for page in (CONSOLE / "templates").rglob("*.html"):
            for tag in re.findall(r"<[a-z]+[^<>]*\shx-(?:get|post)=[^>]*>", page.read_text(encoding="utf-8")):
                assert 'hx-nonce="{{ nonce }}"' in tag, page.name
