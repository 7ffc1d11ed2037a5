"""A program for the interpreter of the peers: uses the page of docs/frontend and the gateway's own pages in a browser.

    python frontend_visit.py BROWSER PAGE GATEWAY EMAIL

It prints what the pages show, and every error of their consoles, as JSON.
"""

import json
import sys
from typing import Any

from playwright.sync_api import Page, expect, sync_playwright

_PATIENCE = 30_000
"""Milliseconds for a step of a page."""


def main(browser: str, page_url: str, gateway: str, email: str) -> None:
    """Sign in by the page, reload it, and look at the gateway's pages."""
    errors: list[str] = []
    with sync_playwright() as playwright:
        context = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"]).new_context()
        context.set_default_timeout(_PATIENCE)
        expect.set_options(timeout=_PATIENCE)
        page = context.new_page()
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        facts: dict[str, Any] = {"signed_in": _sign_in(page, f"{page_url}?api={gateway}", email), "address": page.url}
        page.reload()
        facts["reloaded"] = _mail(page, email)
        facts["landing"] = _title(page, f"{gateway}/")
        facts["docs"] = _operations(page, f"{gateway}/docs")
    print(json.dumps({**facts, "errors": errors}))


def _sign_in(page: Page, url: str, email: str) -> list[str]:
    page.goto(url)
    page.get_by_role("button", name="Sign in with Google").click()
    page.locator(f'button[name=account][value="{email}"]').click()
    page.get_by_role("button", name="Continue").click()
    return _mail(page, email)


def _mail(page: Page, email: str) -> list[str]:
    expect(page.get_by_role("status")).to_have_text(f"The newest mail of {email}")
    return list(page.locator("#mail li").all_inner_texts())


def _title(page: Page, url: str) -> str:
    page.goto(url)
    return str(page.get_by_role("heading", level=1).inner_text())


def _operations(page: Page, url: str) -> int:
    page.goto(url)
    page.locator(".opblock").first.wait_for()
    return int(page.locator(".opblock").count())


if __name__ == "__main__":
    main(*sys.argv[1:])
