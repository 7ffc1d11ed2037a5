"""Pages of the authorization endpoint."""

from collections.abc import Iterable
from html import escape
from string import Template

from services.sandbox.google.oauth.authorization_request import AuthorizationRequest
from services.sandbox.google.oauth.scopes import EMAIL, GMAIL_WORDS, PROFILE
from services.sandbox.mailboxes.user import User

_SIGN_IN_WORDS = {
    PROFILE: "See your personal info, including any personal info you've made publicly available",
    EMAIL: "See your primary Google Account email address",
}


class ConsentPages:
    """Renders the account chooser, the consent page and the error page into one self-contained template."""

    def __init__(self, template: str) -> None:
        self._template = Template(template)

    def choose_account(self, wanted: AuthorizationRequest, users: Iterable[User], *, unknown: str | None = None) -> str:
        """Render every account as a button; `unknown` is an entered address without an account."""
        rows = "".join(_account_button(user) for user in users)
        warning = f'<p class="warning">Couldn’t find your Google Account: {escape(unknown)}</p>' if unknown else ""
        body = (
            f"{warning}<form method=post><ul class=accounts>{rows}</ul></form>"
            "<details><summary>Use another account</summary><form method=post class=other>"
            '<input name=account type=email placeholder="Email" required autocomplete=off aria-label="Email">'
            "<button class=primary>Next</button></form></details>"
            "<form method=post class=actions><button name=decision value=deny>Cancel</button></form>"
        )
        return self._page("Choose an account", f"to continue to <b>{escape(wanted.client.name)}</b>", body)

    def consent(self, wanted: AuthorizationRequest, user: User) -> str:
        """Render the requested scopes: those of sign-in as a list, each other one as a checkbox."""
        facts = "".join(f"<li>{escape(_SIGN_IN_WORDS[s])}</li>" for s in _SIGN_IN_WORDS if s in wanted.scopes)
        boxes = "".join(_checkbox(scope) for scope in GMAIL_WORDS if scope in wanted.scopes)
        # The empty scope marks that boxes were shown, even if all were unticked.
        body = (
            f"<p class=chip>{_avatar(user)}{escape(user.email)}</p><ul class=facts>{facts}</ul>"
            f'<form method=post><input type=hidden name=account value="{escape(user.email)}">'
            f"<input type=hidden name=scope value=''>{boxes}"
            "<div class=actions><button name=decision value=deny>Cancel</button>"
            "<button name=decision value=allow class=primary>Continue</button></div></form>"
        )
        name = escape(wanted.client.name)
        return self._page(f"{name} wants access to your Google Account", "", body)

    def error(self, error: str, description: str) -> str:
        """Render the reason of a refusal."""
        body = f"<p>{escape(description)}</p><p class=code>Error: {escape(error)}</p>"
        return self._page("Access blocked: the request is invalid", "", body)

    def _page(self, title: str, subtitle: str, body: str) -> str:
        return self._template.substitute(title=title, subtitle=subtitle, body=body)


def avatar_svg(user: User) -> str:
    """Draw a round picture with the first letter of the name, in a colour derived from `sub`."""
    hue = int(user.sub[-6:]) % 360
    letter = escape(user.name[:1].upper())
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 40 40" width="40" height="40" aria-hidden="true">'
        f'<circle cx="20" cy="20" r="20" fill="hsl({hue} 55% 42%)"/><text x="20" y="27" text-anchor="middle" '
        f'font-family="sans-serif" font-size="19" fill="#fff">{letter}</text></svg>'
    )


def _avatar(user: User) -> str:
    return f"<span class=avatar>{avatar_svg(user)}</span>"


def _account_button(user: User) -> str:
    return (
        f'<li><button name=account value="{escape(user.email)}">{_avatar(user)}'
        f"<span><b>{escape(user.name)}</b><br><small>{escape(user.email)}</small></span></button></li>"
    )


def _checkbox(scope: str) -> str:
    return (
        f'<label class=scope><input type=checkbox name=scope value="{escape(scope)}" checked>'
        f"<span>{escape(GMAIL_WORDS[scope])}<br><small>{escape(scope)}</small></span></label>"
    )
