"""A guided tour through the REST API: sign in, sync a mailbox, read mail, receive new mail."""

import asyncio
import base64
import hashlib
import secrets
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from deploy.local.errors import StackError

EMAIL = "ada@example.com"
# The sandbox keeps this user's mailbox too, and shows it over IMAP.
YANDEX_EMAIL = "grace@example.org"
_YANDEX_COUNT = 100
_NEW_MAIL = 25
_PATIENCE = 120.0  # seconds that one sync may take
NEXT = """
Next:
  make run                the stack itself, until Ctrl-C; then in a browser
  http://localhost:8001   the console: sign in with the key in .mailroom/api-key
  README.md               the same with curl and a key; docs/command-line.md
  docs/webhooks.md        events for a back end; docs/frontends.md: a page
  docs/connect-google.md  a Google project of your own; docs/connect-yandex.md
  docs/README.md          every page"""


@dataclass(frozen=True, slots=True)
class Tour:
    """The tour over a running stack: `gateway` and `sandbox` are their base URLs."""

    gateway: str
    sandbox: str
    console: Console

    async def take(self) -> None:
        """Show every step. Raises StackError for an unexpected response."""
        async with httpx.AsyncClient(base_url=self.gateway, trust_env=False, timeout=30.0) as client:
            self._step("Sign in with (sandbox) Google")
            token = await self._consent(client, provider="google", email=EMAIL)
            self.console.print(f"signed in as {EMAIL}, access token for {token['expires_in']} s")
            client.headers["Authorization"] = f"Bearer {token['access_token']}"
            await self._show_addresses(client)
            self._step(f"Copy the whole mailbox of {EMAIL} (with a quota larger than Gmail's)")
            await self._sync(client, EMAIL, count="all")
            await self._show_addresses(client)
            self._step("Read the newest mail")
            await self._show_newest(client)
            self._step(f"{_NEW_MAIL} new messages arrive; an incremental sync fetches only these")
            await self._deliver()
            await self._sync(client, EMAIL, count="all")
            await self._show_newest(client)
            self._step(
                f"Connect the (sandbox) Yandex mailbox of {YANDEX_EMAIL} too, and copy its newest mail over IMAP"
            )
            await self._consent(client, provider="yandex", email=YANDEX_EMAIL)
            await self._sync(client, YANDEX_EMAIL, count=_YANDEX_COUNT)
            await self._show_addresses(client)
        self.console.print(NEXT, markup=False, highlight=False)

    async def _consent(self, client: httpx.AsyncClient, *, provider: str, email: str) -> dict[str, Any]:
        """Sign in, or with a token connect one more mailbox; posts the consent page's form as a browser does."""
        verifier = secrets.token_urlsafe(48)
        challenge = {"code_challenge": _challenge_of(verifier)}
        start = await _json(client.get(f"/auth/{provider}/start", params=challenge))
        consent = {"account": email, "decision": "allow"}
        callback = await _redirect(client.post(start["authorization_url"], data=consent))
        back = parse_qs(urlsplit(await _redirect(client.get(callback))).query)
        if "state" not in back:
            raise StackError(f"the sign-in ended with {back}")
        redemption = {"state": back["state"][0], "code_verifier": verifier}
        return await _json(client.post("/auth/token", json=redemption))

    async def _sync(self, client: httpx.AsyncClient, email: str, *, count: int | str) -> None:
        """Start a sync and follow it to its end."""
        began = time.monotonic()
        answer = await _checked(client.post("/emails/sync", json={"email": email, "count": count}))
        try:
            async with asyncio.timeout(_PATIENCE):
                sync = await self._follow(client, answer.headers["Location"])
        except TimeoutError as error:
            raise StackError(f"the sync did not end within {_PATIENCE:.0f} s") from error
        if sync["state"] != "completed" or sync["dead_letter_count"]:
            raise StackError(f"the sync ended as {sync['state']} with {sync['dead_letter_count']} dead letters")
        seconds = time.monotonic() - began
        self.console.print(
            f"{sync['stored']} messages in {seconds:.1f} s: {sync['stored'] / seconds:.0f} messages per second, "
            f"{sync['units_spent']} quota units"
        )

    async def _follow(self, client: httpx.AsyncClient, location: str) -> dict[str, Any]:
        """Show the progress of a sync. Returns it when it has ended."""
        with self._progress() as progress:
            bar = progress.add_task("messages", total=None)
            while (sync := await _json(client.get(location)))["state"] in ("queued", "running"):
                progress.update(bar, completed=sync["stored"], total=sync["stored"] + sync["pending"] or None)
                await asyncio.sleep(0.1)
            progress.update(bar, completed=sync["stored"], total=sync["stored"])
        return sync

    async def _deliver(self) -> None:
        async with httpx.AsyncClient(base_url=self.sandbox, trust_env=False, timeout=30.0) as sandbox:
            await _checked(sandbox.post(f"/_sandbox/users/{EMAIL}/messages", json={"count": _NEW_MAIL}))

    async def _show_addresses(self, client: httpx.AsyncClient) -> None:
        table = Table("address", "provider", "status", "messages", "unread", "last synced")
        for address in (await _json(client.get("/mailboxes")))["mailboxes"]:
            names = ("email", "provider", "status", "message_count", "unread_count")
            table.add_row(*(str(address[name]) for name in names), _moment(address["last_synced_at"] or "never"))
        self.console.print(table)

    async def _show_newest(self, client: httpx.AsyncClient) -> None:
        page = await _json(client.get("/emails", params={"email": EMAIL, "limit": 8}))
        table = Table()
        for name, width in (("received", 11), ("from", 20), ("subject", 22), ("labels", 14)):  # 80 with the lines
            table.add_column(name, no_wrap=True, width=width)
        for email in page["emails"]:
            labels = ", ".join(label.removeprefix("CATEGORY_") for label in email["labels"])
            table.add_row(_moment(email["received_at"]), email["from_email"], email["subject"], labels)
        self.console.print(table)
        if page["emails"]:
            message = await _json(client.get(f"/emails/{page['emails'][0]['id']}"))
            text = " ".join((message["text"] or "").split())[:200]
            self.console.print(f"the newest one begins: {text}", markup=False)

    def _progress(self) -> Progress:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        return Progress(*columns, console=self.console)

    def _step(self, text: str) -> None:
        self.console.print(f"\n[bold cyan]{text}[/]")


def _challenge_of(verifier: str) -> str:
    """Return the S256 challenge of a PKCE verifier (RFC 7636, section 4.2)."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")


def _moment(time: str) -> str:
    """Shorten an RFC 3339 time to month, day, hour and minute."""
    return time[5:16].replace("T", " ") if "T" in time else time


async def _checked(request: Awaitable[httpx.Response]) -> httpx.Response:
    try:
        response = await request
    except httpx.HTTPError as error:
        raise StackError(f"no answer: {error!r}") from error
    if response.is_error:
        raise StackError(
            f"{response.request.method} {response.url.path} answered {response.status_code}: {response.text}"
        )
    return response


async def _json(request: Awaitable[httpx.Response]) -> dict[str, Any]:
    answer: dict[str, Any] = (await _checked(request)).json()
    return answer


async def _redirect(request: Awaitable[httpx.Response]) -> str:
    response = await _checked(request)
    if not response.has_redirect_location:
        raise StackError(f"{response.url.path} answered {response.status_code} instead of a redirect")
    return response.headers["Location"]
