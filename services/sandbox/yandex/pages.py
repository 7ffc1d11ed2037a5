"""Pages of the authorization endpoint."""

from collections.abc import Iterable
from html import escape
from string import Template

from services.sandbox.mailboxes.user import User
from services.sandbox.yandex.authorization_request import AuthorizationRequest
from services.sandbox.yandex.scopes import WORDS


class Pages:
    """Renders the account chooser, the consent page and the error page into one self-contained template."""

    def __init__(self, template: str) -> None:
        self._template = Template(template)

    def choose_account(self, wanted: AuthorizationRequest, users: Iterable[User], *, unknown: str | None = None) -> str:
        """Render every account as a button; `unknown` is an entered login without an account."""
        warning = f"<p class=warning>No such account: {escape(unknown)}</p>" if unknown else ""
        rows = "".join(
            f'<li><button name=account value="{escape(user.email)}">{escape(user.name)}'
            f"<br><small>{escape(user.email)}</small></button></li>"
            for user in users
        )
        body = f"{warning}<form method=post><ul>{rows}</ul></form>"
        return self._page(f"Choose an account for {wanted.client.name}", body)

    def consent(self, wanted: AuthorizationRequest, user: User) -> str:
        """Render the required scopes as a list, each optional one as a checkbox."""
        facts = "".join(f"<li>{escape(WORDS[scope])}</li>" for scope in WORDS if scope in wanted.scopes)
        boxes = "".join(_checkbox(scope) for scope in WORDS if scope in wanted.optional)
        body = (
            f"<p>{escape(user.email)}</p><ul>{facts}</ul><form method=post>"
            f'<input type=hidden name=account value="{escape(user.email)}">'
            # The empty value marks that boxes were shown, even if all were unticked.
            f"<input type=hidden name=scope value=''>{boxes}"
            "<p><button name=decision value=allow>Allow</button> "
            "<button name=decision value=deny>Deny</button></p></form>"
        )
        return self._page(f"{wanted.client.name} asks for access to your data on Yandex", body)

    def error(self, description: str) -> str:
        """Render the reason of a refusal."""
        return self._page("The request is invalid", f"<p class=warning>{escape(description)}</p>")

    def _page(self, title: str, body: str) -> str:
        return self._template.substitute(title=escape(title), body=body)


def _checkbox(scope: str) -> str:
    return f'<p><label><input type=checkbox name=scope value="{scope}" checked> {escape(WORDS[scope])}</label></p>'
