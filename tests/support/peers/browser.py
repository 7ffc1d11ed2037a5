"""A program for the interpreter of the peers: shows pages in a browser and writes a line of JSON about each.

    python browser.py BROWSER ORIGIN COUNT

Each page shows a message between neighbours (see attack_pages.py). A line names whatever the message did to the page.
"""

import hashlib
import json
import sys
from collections.abc import Iterator

from playwright.sync_api import BrowserContext, Page, Playwright, sync_playwright
from playwright.sync_api import Error as BrowserError

PATIENCE = 10_000
"""Milliseconds for a step of a page, which takes some tens."""

# What a message must not change, as pairs of a name and a value.
_FACTS = """
() => {
    const facts = [["ran", window.ran], ["title", document.title], ["scrolled", `${scrollX} ${scrollY}`]];
    const place = (name, ...numbers) => facts.push([`moved ${name}`, numbers.map(Math.round).join(" ")]);
    for (const scene of document.querySelectorAll(".scene")) {
        const box = scene.querySelector(".message").getBoundingClientRect();
        const grown = scene.id === "grown" ? box.height : 0;
        place(`${scene.id} message`, box.x, box.y, box.width, box.height - grown);
        for (const neighbour of scene.querySelectorAll(".neighbour")) {
            // A message that grows moves what is below it and stretches what is beside it, and does nothing else.
            const rect = neighbour.getBoundingClientRect();
            const y = rect.y - (neighbour.matches(".below") ? grown : 0);
            const height = rect.height - (neighbour.matches(".left, .right") ? grown : 0);
            place(`${scene.id} ${neighbour.className}`, rect.x, y, rect.width, height);
        }
    }
    for (const neighbour of document.querySelectorAll(".neighbour")) {
        neighbour.scrollIntoView({block: "center"});
        const rect = neighbour.getBoundingClientRect();
        let covered = 0;
        for (let x = Math.max(rect.left, 0) + 2; x < Math.min(rect.right, innerWidth); x += 12)
            for (let y = Math.max(rect.top, 0) + 2; y < Math.min(rect.bottom, innerHeight); y += 12)
                if (!neighbour.contains(document.elementFromPoint(x, y))) covered += 1;
        facts.push([`covered ${neighbour.closest(".scene").id} ${neighbour.className}`, covered]);
    }
    scrollTo(0, 0);
    return facts.map(([name, value]) => [name, String(value)]);
}
"""
_SETTLE = """
async number => {
    // A browser that was suspended may draw no frame by itself.
    const frame = () => new Promise(resolve => { requestAnimationFrame(resolve); setTimeout(resolve, 500); });
    await frame(); await frame();
    await fetch(`/settled/${number}`);
}
"""


def main(browser: str, origin: str, count: str) -> None:
    """Show the pages one after the other."""
    with sync_playwright() as playwright:
        context = _context(playwright, browser, origin)
        page = None
        for number in range(int(count)):
            page = page or context.new_page()
            facts = dict(_visit(page, f"{origin}/page/{number}", number))
            print(json.dumps(facts), flush=True)
            if "failed" in facts:
                page.close()
                page = None


def _context(playwright: Playwright, program: str, origin: str) -> BrowserContext:
    # Every name leads to the server of the test, so that whatever loads is seen there, and nothing leaves the machine.
    names = f"--host-resolver-rules=MAP * {origin.removeprefix('http://')}"
    launched = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", names])
    context = launched.new_context(viewport={"width": 1000, "height": 700})
    context.set_default_timeout(PATIENCE)
    return context


def _visit(page: Page, url: str, number: int) -> Iterator[tuple[str, str]]:
    try:
        page.goto(url)
        page.wait_for_function("window.shown")
        _touch(page)
        page.evaluate(_SETTLE, number)
        yield from page.evaluate(_FACTS)
        yield "painted", _painted(page)
        yield "address", page.url.removesuffix(f"/{number}")
        yield "pages", str(len(page.context.pages))
    except BrowserError as error:
        yield "failed", error.message.splitlines()[0]


def _touch(page: Page) -> None:
    """Move over the messages, as a reader does."""
    for box in page.locator(".message").all():
        bounds = box.bounding_box()
        if bounds:
            for step in (0.05, 0.3, 0.6):
                page.mouse.move(bounds["x"] + bounds["width"] * step, bounds["y"] + min(bounds["height"], 300) * step)
    page.mouse.move(0, 0)


def _painted(page: Page) -> str:
    """A digest of the pixels around the message of fixed size."""
    area = page.locator("#fixed").bounding_box()
    picture = page.screenshot(clip=area, mask=[page.locator("#fixed .message")]) if area else b""
    return hashlib.sha256(picture).hexdigest()


if __name__ == "__main__":
    main(*sys.argv[1:])
