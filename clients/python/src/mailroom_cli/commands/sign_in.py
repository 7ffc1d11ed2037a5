"""mailroom login, logout and connect."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from mailroom_cli.context import Chosen, chosen
from mailroom_cli.failures import CommandError
from mailroom_cli.profile import Profile

if TYPE_CHECKING:
    from mailroom_client import Mailroom
    from mailroom_client.models import Token

Provider = Annotated[str, typer.Option(help="Where the mailbox is: google, yandex or another one of the server's.")]
# How API keys begin.
_KEY = "mr_"
# Mailboxes that are named after a sign-in.
_SHOWN = 10
Browser = Annotated[bool, typer.Option(help="Open the page in a browser.")]


def login(
    context: typer.Context,
    provider: Provider = "google",
    token: Annotated[str | None, typer.Option(help="A token that you have already; - reads it.")] = None,
    browser: Browser = True,
) -> None:
    """Sign in and remember it. Without --token a browser asks for your consent."""
    options = chosen(context)
    with options.client(signed_in=False) as client:
        profile = Profile(url=options.profile().url)
        if token is not None:
            # Not among the arguments, which other users of the machine see.
            read = token == "-"  # noqa: S105 - no token, but where it comes from
            given = sys.stdin.readline().strip() if read else token
            options.profiles.save(options.name, Profile(url=profile.url, token=given))
        else:
            options.keep(profile, _consent(options, client, provider, browser=browser))
    with options.client() as client:
        options.output.note(f"signed in at {profile.url}; mailboxes: {_addresses(client)}")
        options.output.receipt(profile=options.name, url=profile.url)


def connect(
    context: typer.Context,
    provider: Provider = "google",
    browser: Browser = True,
    user: Annotated[
        str | None, typer.Option(help="With an API key: your own id of the user whose mailbox it is.")
    ] = None,
    redirect_url: Annotated[
        str, typer.Option(help="With an API key: the application's redirect URL at which the browser ends.")
    ] = "http://localhost:3000/connected",
) -> None:
    """Connect one more mailbox: to the user who is signed in, or with an API key to --user."""
    options = chosen(context)
    with options.client() as client:
        if user is None and (options.profile().token or "").startswith(_KEY):
            raise CommandError("with an API key name the user whose mailbox it is: mailroom connect --user 42", code=2)
        if user is None:
            _consent(options, client, provider, browser=browser)
            _show_connected(options, client)
            return
        session = client.connections.start(user, redirect_url=redirect_url, provider=provider)
        query = _brought_back(options, session.url, browser=browser, bears="?session= and &code=")
        mailbox = client.connections.complete(session.id, query.get("code", ""))
        options.output.one(mailbox, {"mailbox": mailbox.mailbox_id, "address": mailbox.email, "user": mailbox.user_id})


def logout(
    context: typer.Context, everywhere: Annotated[bool, typer.Option(help="End all of the user's sessions.")] = False
) -> None:
    """End the session and forget it."""
    options = chosen(context)
    with options.client() as client:
        client.auth.logout(everywhere=everywhere)
    url = options.profile().url
    options.profiles.remove(options.name)
    options.output.receipt(profile=options.name, url=url)


def _consent(options: Chosen, client: "Mailroom", provider: str, *, browser: bool) -> "Token":
    """Return what the consent of the user brings: the browser ends at a page whose address bears the login code."""
    from mailroom_client.pkce import challenge_of, new_verifier

    verifier = new_verifier()
    start = client.auth.start(provider, code_challenge=challenge_of(verifier))
    query = _brought_back(options, start.authorization_url, browser=browser, bears="?state=")
    return client.auth.redeem(query.get("state", query["text"]), code_verifier=verifier)


def _brought_back(options: Chosen, url: str, *, browser: bool, bears: str) -> dict[str, str]:
    """Let the user consent; return the parameters of the address at which the browser ends, and the whole `text`."""
    import webbrowser
    from urllib.parse import parse_qs, urlsplit

    options.output.note(f"Open this page and allow the access:\n\n  {url}\n")
    if browser:
        webbrowser.open(url)
    options.output.note(f"You end at a page whose address has {bears}. Paste that address here:")
    text = sys.stdin.readline().strip()
    if not text:
        raise CommandError("nothing was pasted")
    query = {name: values[0] for name, values in parse_qs(urlsplit(text).query).items()}
    if "error" in query:
        raise CommandError(f"the sign-in ended with {query['error']}")
    return {**query, "text": text}


def _show_connected(options: Chosen, client: "Mailroom") -> None:
    """Name the mailboxes of the user: the API does not say which of them is the one that was connected."""
    options.output.note(f"connected; mailboxes: {_addresses(client)}")
    if options.output.as_json:
        for mailbox in client.mailboxes.list():
            options.output.line(mailbox)


def _addresses(client: "Mailroom") -> str:
    found = client.mailboxes.list().first(_SHOWN + 1)
    more = ", ..." if len(found) > _SHOWN else ""
    return ", ".join(box.email for box in found[:_SHOWN]) + more or "none yet"
