"""A program for the interpreter of the peers: uses the console in a browser, as a person would.

    python console_visit.py BROWSER AXE TASK < task.json

AXE is the script of axe-core. TASK is `look` (every page, in both themes, wide and narrow), `keyboard` (journeys
without a pointer), `webhooks` (the same with a webhook), `connect` (a mailbox), `tail` (the time until changes show),
`attacks` (messages that try to act) or `pictures` (for README). It prints what it saw as JSON.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

_PATIENCE = 30_000
"""Milliseconds for a step of a page."""
_SIZES = ((1280, 860), (320, 700))
_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
_VIOLATIONS = """
rules => axe.run({runOnly: rules}).then(found => found.violations.map(each =>
    `${each.id}: ${each.nodes.map(node => node.html.slice(0, 120)).join(" ")}`))
"""
_IN_FRAME = """
async paths => {
    const frame = document.querySelector("iframe.paper");
    for (const path of paths) {
        const loaded = new Promise(resolve => frame.addEventListener("load", resolve, {once: true}));
        frame.src = path;
        await loaded;
        await new Promise(resolve => setTimeout(resolve, 30));
    }
}
"""
_TOO_WIDE = "() => document.documentElement.scrollWidth - innerWidth"
_LISTEN = """
window.violations = [];
document.addEventListener("securitypolicyviolation",
    event => violations.push(`${event.violatedDirective} ${event.blockedURI}`));
"""

Task = dict[str, Any]


class Visitor:
    """A browser at the console, with what it complained about."""

    def __init__(self, browser: Browser, task: Task, axe: str, **options: Any) -> None:
        self.complaints: list[str] = []
        self._axe = axe
        self._task = task
        self.context: BrowserContext = browser.new_context(**options)
        self.context.set_default_timeout(_PATIENCE)
        self.context.add_init_script(_LISTEN)
        self.page = self.context.new_page()
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        self.page.on("console", self._listen)

    def sign_in(self) -> None:
        """Sign in with the key of the task."""
        self.open("/sign-in")
        self.page.get_by_label("API key").fill(self._task["key"])
        self.page.get_by_role("button", name="Sign in").click()
        self.page.wait_for_url("**/overview")

    def open(self, path: str) -> None:
        """Open a page, and wait for what it loads."""
        self.page.goto(self._task["console"] + path)
        self.page.wait_for_load_state()

    def check(self, name: str) -> None:
        """Note what is wrong with the page."""
        self.page.evaluate(self._axe)
        found = self.page.evaluate(_VIOLATIONS, _RULES)
        if (excess := self.page.evaluate(_TOO_WIDE)) > 0:
            found.append(f"scrolls by {excess} pixels")
        found += self.page.evaluate("() => window.violations ?? []")
        self.complaints += [f"{name}: {each}" for each in found]

    def _listen(self, message: Any) -> None:
        # A page that is shown with the status of a failure is no failure of the console.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.complaints.append(f"console: {message.text}")


def look(browser: Browser, task: Task, axe: str) -> Any:
    """Check the pages of `paths`, and those that follow from the mailbox, in every theme and size."""
    seen: dict[str, list[str]] = {}
    for theme in ("light", "dark"):
        for width, height in _SIZES:
            visitor = Visitor(
                browser,
                task,
                axe,
                color_scheme=theme,
                viewport={"width": width, "height": height},
                reduced_motion="reduce",
            )
            visitor.open("/sign-in")
            visitor.check("/sign-in")
            visitor.sign_in()
            for path in task["paths"]:
                visitor.open(path)
                if task.get("opens"):
                    visitor.page.evaluate(
                        "() => document.querySelectorAll('details').forEach(each => { each.open = true })"
                    )
                if "view=raw" in path:
                    visitor.page.get_by_label("The message as the provider has it").wait_for()
                visitor.check(path)
            visitor.page.get_by_role("link", name="Mailroom", exact=True).click()
            # Loaded, with the script that knows the shortcuts.
            visitor.page.wait_for_url("**/overview")
            visitor.page.locator("body").press("?")
            visitor.page.get_by_role("dialog").wait_for()
            visitor.check("shortcuts")
            seen[f"{theme} {width}"] = visitor.complaints
            visitor.context.close()
    return seen


def keyboard(browser: Browser, task: Task, axe: str) -> Any:
    """Sign in, search, read, go back, make a key, and sign out, with keys alone; return what was reached."""
    visitor = Visitor(browser, task, axe)
    page, keys, reached = visitor.page, visitor.page.keyboard, []
    visitor.open("/sign-in")
    keys.type(task["key"])
    _enter(page)
    keys.press("Tab")
    reached.append(_focused(page))
    _tab_to(page, "Mailboxes", within=".side nav a")
    _enter(page)
    keys.press("j")
    reached.append(_focused(page))
    _enter(page)
    _tab_to(page, "Mail", within="nav.tabs a")
    _enter(page)
    keys.press("/")
    keys.type(task["query"])
    _enter(page)
    page.locator(".message").first.wait_for()
    keys.press("j")
    keys.press("j")
    keys.press("k")
    reached.append(_focused(page))
    _enter(page)
    reached.append(page.get_by_role("heading", level=1).inner_text())
    keys.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    keys.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    _tab_to(page, "Headers", within="nav.tabs a")
    _enter(page)
    page.locator("table.headers").wait_for()
    visitor.open("/keys")
    _tab_to(page, None, within="#name")
    keys.type("by keyboard")
    _tab_to(page, "Create key", within="button")
    _enter(page)
    page.get_by_label("API key", exact=True).wait_for()
    reached.append(page.get_by_role("heading", level=1).inner_text())
    _tab_to(page, "Sign out", within="button")
    _enter(page)
    page.get_by_role("status").wait_for()
    reached.append(page.get_by_role("status").inner_text())
    return {"reached": reached, "complaints": visitor.complaints}


def webhooks(browser: Browser, task: Task, axe: str) -> Any:
    """Create, change, test and rotate a webhook with keys alone; return what was reached."""
    visitor = Visitor(browser, task, axe)
    page, keys, reached = visitor.page, visitor.page.keyboard, []
    visitor.sign_in()
    visitor.open("/webhooks")
    _tab_to(page, None, within="#url")
    keys.type("https://shop.example/keys")
    _tab_to(page, None, within="input[value='message.created']")
    keys.press("Space")
    _tab_to(page, "Create webhook", within="button")
    _enter(page)
    first = page.get_by_label("Secret", exact=True).inner_text()
    visitor.check("secret")
    _tab_to(page, "To the webhook", within="a.button")
    _enter(page)
    _tab_to(page, "Change…", within="a.button")
    _enter(page)
    _tab_to(page, "Only some mailboxes", within="summary")
    keys.press("Enter")
    _tab_to(page, None, within=f"input[value='{task['mailbox']}']")
    keys.press("Space")
    visitor.check("edit")
    _tab_to(page, "Change", within="button")
    _enter(page)
    reached.append(page.get_by_role("status").inner_text())
    reached.append(page.locator(".facts").first.inner_text())
    _tab_to(page, "Send a test", within="button")
    _enter(page)
    reached.append(page.get_by_role("status").inner_text())
    _tab_to(page, "Rotate the secret…", within="summary")
    keys.press("Enter")
    _tab_to(page, "Rotate", within="button")
    _enter(page)
    second = page.get_by_label("Secret", exact=True).inner_text()
    return {
        "reached": reached,
        "is_another": first != second,
        "secrets": [first, second],
        "complaints": visitor.complaints,
    }


def connect(browser: Browser, task: Task, axe: str) -> Any:
    """Connect a mailbox at the sandbox, copy it, and return what its page says in the end."""
    visitor = Visitor(browser, task, axe)
    page = visitor.page
    visitor.sign_in()
    visitor.open("/mailboxes")
    page.get_by_role("link", name="Connect a mailbox").click()
    page.get_by_label("Your own id").fill("42")
    visitor.check("/connect")
    page.get_by_role("button", name="Go on").click()
    page.get_by_role("link", name="Go to the provider").click()
    page.get_by_role("button").first.click()
    page.locator(f"button[name=account][value='{task['email']}']").click()
    page.get_by_role("button", name="Continue").click()
    page.get_by_role("heading", name="One step left").wait_for()
    visitor.check("/connect/done")
    page.get_by_role("button", name="Connect the mailbox").click()
    page.get_by_role("status").wait_for()
    page.get_by_role("button", name="Sync").click()
    expect(page.locator("#state .pill").first).to_contain_text("Up to date")
    return {"shown": page.locator("#state").inner_text(), "complaints": visitor.complaints}


def tail(browser: Browser, task: Task, axe: str) -> Any:
    """Deliver messages while the feed is open; return the seconds until each showed."""
    visitor = Visitor(browser, task, axe)
    visitor.sign_in()
    with visitor.page.expect_request("**/changes/next*"):
        visitor.open(f"/mailboxes/{task['mailbox']}/changes")
    seconds = []
    for number in range(task["count"]):
        mail = f"{task['sandbox']}/_sandbox/users/{task['email']}/messages"
        assert visitor.context.request.post(mail, data={"subject": f"Tail {number}", "text": "x"}).ok
        begin = time.monotonic()
        visitor.page.get_by_text(f"Tail {number}").wait_for()
        seconds.append(time.monotonic() - begin)
    visitor.check("changes")
    return {"seconds": seconds, "complaints": visitor.complaints}


def attacks(browser: Browser, task: Task, axe: str) -> Any:
    """Open the pages of `paths`, then each document of `frames` in the frame of the last one.

    Return whether a script ran, and the pages that were left.
    """
    visitor = Visitor(browser, task, axe)
    visitor.page.on("dialog", lambda dialog: visitor.complaints.append(f"dialog: {dialog.message}"))
    visitor.page.goto(task["canary"])
    visitor.sign_in()
    for path in task["paths"]:
        visitor.open(path)
        if (frame := visitor.page.query_selector("iframe.paper")) and (content := frame.content_frame()):
            content.wait_for_load_state()
        if visitor.page.evaluate("() => window.ran ?? top.ran ?? 0"):
            visitor.complaints.append(f"{path}: a script ran")
        if not visitor.page.url.endswith(path):
            visitor.complaints.append(f"{path}: left for {visitor.page.url}")
    visitor.page.evaluate(_IN_FRAME, task["frames"])
    if visitor.page.evaluate("() => window.ran ?? top.ran ?? 0"):
        visitor.complaints.append("a script ran")
    if not visitor.page.url.endswith(task["paths"][-1]):
        visitor.complaints.append(f"left for {visitor.page.url}")
    # What the browser says in its console of what it blocked is the wall at work.
    return {"complaints": [each for each in visitor.complaints if not each.startswith("console: ")]}


def pictures(browser: Browser, task: Task, axe: str) -> Any:
    """Take the pictures of `pictures`: paths by file."""
    for theme in ("light", "dark"):
        visitor = Visitor(browser, task, axe, color_scheme=theme, viewport={"width": 1140, "height": 600})
        visitor.sign_in()
        for file, path in task["pictures"].items():
            if file.endswith(f"-{theme}.png"):
                visitor.open(path)
                visitor.page.wait_for_timeout(300)
                visitor.page.screenshot(path=str(Path(task["folder"]) / file))
        visitor.context.close()
    return {"taken": sorted(task["pictures"])}


def _focused(page: Page) -> str:
    return str(page.evaluate("() => document.activeElement.innerText")).strip().splitlines()[0]


def _enter(page: Page) -> None:
    """Press Enter, and wait for the page to which it leads."""
    with page.expect_navigation():
        page.keyboard.press("Enter")


def _tab_to(page: Page, text: str | None, *, within: str) -> None:
    """Press Tab until an element is focused, and assert that it shows its focus and is not covered."""
    for _ in range(200):
        page.keyboard.press("Tab")
        found = page.evaluate(
            "([text, within]) => document.activeElement.matches(within)"
            " && (text === null || document.activeElement.innerText.trim() === text)",
            [text, within],
        )
        if found:
            assert page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle") != "none", within
            return
    raise AssertionError(f"{text or within} cannot be reached by Tab")


if __name__ == "__main__":
    program, axe_path, name = sys.argv[1:]
    tasks = {
        "look": look,
        "keyboard": keyboard,
        "webhooks": webhooks,
        "connect": connect,
        "tail": tail,
        "attacks": attacks,
        "pictures": pictures,
    }
    expect.set_options(timeout=_PATIENCE)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        print(json.dumps(tasks[name](chromium, json.load(sys.stdin), Path(axe_path).read_text(encoding="utf-8"))))
