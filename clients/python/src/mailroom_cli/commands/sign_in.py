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


def connect(context: typer.Context, provider: Provider = "google", browser: Browser = True) -> None:
    """Connect one more mailbox to the user who is signed in."""
    options = chosen(context)
    with options.client() as client:
        _consent(options, client, provider, browser=browser)
        options.output.note(f"connected; mailboxes: {_addresses(client)}")


def logout(
    context: typer.Context, everywhere: Annotated[bool, typer.Option(help="End all of the user's sessions.")] = False
) -> None:
    """End the session and forget it."""
    options = chosen(context)
    with options.client() as client:
        client.auth.logout(everywhere=everywhere)
    options.profiles.remove(options.name)


def _consent(options: Chosen, client: "Mailroom", provider: str, *, browser: bool) -> "Token":
    """Return what the consent of the user brings: the browser ends at a page whose address bears the login code."""
    import webbrowser

    from mailroom_client.pkce import challenge_of, new_verifier

    verifier = new_verifier()
    start = client.auth.start(provider, code_challenge=challenge_of(verifier))
    options.output.note(f"Open this page and allow the access:\n\n  {start.authorization_url}\n")
    if browser:
        webbrowser.open(start.authorization_url)
    options.output.note("You end at a page whose address has ?state=. Paste that address here:")
    return client.auth.redeem(_state_in(sys.stdin.readline()), code_verifier=verifier)


def _state_in(address: str) -> str:
    """Return the login code in an address, or the text itself."""
    from urllib.parse import parse_qs, urlsplit

    query = parse_qs(urlsplit(address.strip()).query)
    if "error" in query:
        raise CommandError(f"the sign-in ended with {query['error'][0]}")
    state = query.get("state", [address.strip()])[0]
    if not state:
        raise CommandError("nothing was pasted")
    return state


def _addresses(client: "Mailroom") -> str:
    found = client.mailboxes.list().first(_SHOWN + 1)
    more = ", ..." if len(found) > _SHOWN else ""
    return ", ".join(box.email for box in found[:_SHOWN]) + more or "none yet"
