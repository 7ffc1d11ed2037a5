"""A program for the interpreter of the peers: connects mailboxes in a browser, as users of a shop do.

    python connect_visit.py BROWSER SHOP EMAIL VICTIM FOLDER ATTACKERS_URL

It prints what the pages show, and every error of their consoles, as JSON, and leaves pictures in FOLDER.
"""

import json
import sys
from typing import Any

from playwright.sync_api import Browser, Page, expect, sync_playwright

_PATIENCE = 30_000
"""Milliseconds for a step of a page."""
_PHONE, _DESK = {"width": 320, "height": 640}, {"width": 1000, "height": 700}


def main(program: str, shop: str, email: str, victim: str, folder: str, attackers_url: str) -> None:
    """Connect a mailbox twice, look at the page in all its forms, and consent to an attacker's session."""
    errors: list[str] = []
    facts: dict[str, Any] = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        expect.set_options(timeout=_PATIENCE)
        page = _page(browser, errors, java_script_enabled=False, viewport=_PHONE)
        facts["first"] = _connect(page, shop, "ada", email)
        facts["used"] = _seen(page, facts["first"]["url"])
        again = _page(browser, errors, viewport=_DESK)
        # The provider asks for consent once.
        facts["again"] = _connect(again, shop, "ada", email, asks=False)
        for scheme in ("light", "dark"):
            for name, viewport in (("phone", _PHONE), ("desk", _DESK)):
                look = _page(browser, errors, color_scheme=scheme, viewport=viewport)
                look.goto(f"{shop}/login?user=ada")
                look.goto(f"{shop}/connect")
                look.screenshot(path=f"{folder}/{scheme}-{name}.png", full_page=True)
                facts[f"{scheme} {name}"] = _look(look)
        phished = _page(browser, errors, viewport=_DESK)
        phished.goto(f"{shop}/login?user=victim")
        phished.goto(attackers_url)
        facts["phished"] = _consent(phished, victim)
    print(json.dumps({**facts, "errors": errors}))


def _page(browser: Browser, errors: list[str], **options: Any) -> Page:
    context = browser.new_context(**options)
    context.set_default_timeout(_PATIENCE)
    page = context.new_page()
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    return page


def _connect(page: Page, shop: str, user: str, email: str, *, asks: bool = True) -> dict[str, str]:
    page.goto(f"{shop}/login?user={user}")
    page.goto(f"{shop}/connect")
    heading = page.get_by_role("heading", level=1).inner_text()
    return {"heading": heading, "url": page.url, "end": _consent(page, email, asks=asks)}


def _consent(page: Page, email: str, *, asks: bool = True) -> str:
    """Continue to the provider and consent there; return what the shop shows at the end."""
    page.get_by_role("button", name="Continue with Google").click()
    page.locator(f'button[name=account][value="{email}"]').click()
    if asks:
        page.get_by_role("button", name="Continue").click()
    page.wait_for_url("**/connected?**")
    return str(page.locator("p").inner_text())


def _seen(page: Page, url: str) -> str:
    page.goto(url)
    return str(page.get_by_role("heading", level=1).inner_text())


def _look(page: Page) -> dict[str, Any]:
    """Return the colours of the page, and by how many pixels it is wider than the window."""
    overflow = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    background = page.evaluate("getComputedStyle(document.querySelector('.warning')).backgroundColor")
    button = page.get_by_role("button", name="Continue with Google").bounding_box()
    return {"overflow": overflow, "background": background, "height": button["height"] if button else 0}


if __name__ == "__main__":
    main(*sys.argv[1:])
