"""What the options before the command say, and the client for it."""

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypedDict

import typer

from mailroom_cli import exit_codes
from mailroom_cli.failures import CommandError, reported
from mailroom_cli.output import Output
from mailroom_cli.profile import Profile, Profiles, chosen_profile

if TYPE_CHECKING:
    from mailroom_client import AsyncMailroom, Mailroom
    from mailroom_client.models import Mailbox, Token


# Mailboxes that are named where one has to be chosen.
_SHOWN = 20


class _Credentials(TypedDict):
    token: str | None
    refresh_token: str | None
    on_refresh: "Callable[[Token], None]"


@dataclass(frozen=True, slots=True)
class Chosen:
    """The options of all commands."""

    profiles: Profiles
    name: str
    url: str | None
    output: Output

    def profile(self) -> Profile:
        """Return the profile in use."""
        return chosen_profile(self.profiles, self.name, url=self.url)

    @contextmanager
    def client(self, *, signed_in: bool = True) -> Generator["Mailroom"]:
        """Return the client; failures end the process. Tokens that it replaces are stored."""
        with reported(), self.open_client(signed_in=signed_in) as client:
            yield client

    def open_client(self, *, signed_in: bool = True) -> "Mailroom":
        """Return the client, whose failures are raised. Raises CommandError."""
        from mailroom_client import Mailroom

        profile = self._profile(signed_in=signed_in)
        return Mailroom(profile.url, **self._credentials(profile))

    def async_client(self) -> "AsyncMailroom":
        """Return an asynchronous client of the same server. Raises CommandError."""
        from mailroom_client import AsyncMailroom

        profile = self._profile(signed_in=True)
        return AsyncMailroom(profile.url, **self._credentials(profile))

    def _profile(self, *, signed_in: bool) -> Profile:
        profile = self.profile()
        if signed_in and profile.token is None:
            raise CommandError("not signed in; sign in with: mailroom login", code=exit_codes.NOT_AUTHORIZED)
        return profile

    def _credentials(self, profile: Profile) -> "_Credentials":
        return {
            "token": profile.token,
            "refresh_token": profile.refresh_token,
            "on_refresh": lambda token: self.keep(profile, token),
        }

    def keep(self, profile: Profile, token: "Token") -> None:
        """Store the tokens of a profile."""
        refresh_token = token.refresh_token or profile.refresh_token
        self.profiles.save(self.name, replace(profile, token=token.access_token, refresh_token=refresh_token))


def chosen(context: typer.Context) -> Chosen:
    """Return the options of a command's context."""
    found = context.find_object(Chosen)
    assert found is not None  # noqa: S101 - the callback of the app has set it
    return found


def mailbox_of(client: "Mailroom", name: str | None) -> "Mailbox":
    """Return the mailbox of an address or id, or the only one. Raises CommandError."""
    if name is not None and "@" not in name:
        return client.mailboxes.get(name)
    found = client.mailboxes.list(email=name).first(_SHOWN)
    if len(found) == 1:
        return found[0]
    if name is not None and found:
        raise CommandError("several mailboxes have this address: take an id of: mailroom mailboxes", code=2)
    if name is not None:
        raise CommandError(f"there is no mailbox {name}; see: mailroom mailboxes", code=exit_codes.NOT_FOUND)
    if not found:
        raise no_mailbox()
    raise CommandError(f"choose a mailbox with --mailbox: {', '.join(box.email for box in found)}", code=2)


def no_mailbox() -> CommandError:
    """Return the failure that there is no mailbox yet."""
    return CommandError("no mailbox is connected; connect one with: mailroom connect", code=exit_codes.NOT_FOUND)


def environment() -> dict[str, str]:
    """Return the environment."""
    return dict(os.environ)
