"""OAuth scopes of the sandbox, their aliases, and their descriptions on the consent page."""

from collections.abc import Iterable

_PREFIX = "https://www.googleapis.com/auth/"
OPENID = "openid"
EMAIL = f"{_PREFIX}userinfo.email"
PROFILE = f"{_PREFIX}userinfo.profile"
ALIASES = {"email": EMAIL, "profile": PROFILE}
SIGN_IN_SCOPES = frozenset({OPENID, EMAIL, PROFILE})

GMAIL_WORDS = {
    "https://mail.google.com/": "Read, compose, send, and permanently delete all your email from Gmail",
    f"{_PREFIX}gmail.modify": "Read, compose, and send emails from your Gmail account",
    f"{_PREFIX}gmail.readonly": "View your email messages and settings",
    f"{_PREFIX}gmail.metadata": "View your email message metadata such as labels and headers, but not the email body",
    f"{_PREFIX}gmail.compose": "Manage drafts and send emails",
    f"{_PREFIX}gmail.send": "Send email on your behalf",
    f"{_PREFIX}gmail.insert": "Add emails into your Gmail mailbox",
    f"{_PREFIX}gmail.labels": "See and edit your email labels",
    f"{_PREFIX}gmail.settings.basic": "See, edit, create, or change your email settings and filters in Gmail",
}
GMAIL_SCOPES = frozenset(GMAIL_WORDS)
KNOWN_SCOPES = SIGN_IN_SCOPES | GMAIL_SCOPES


def canonical(scope: str) -> str:
    """Return `email` and `profile` by their full names, any other scope unchanged."""
    return ALIASES.get(scope, scope)


def token_scope(scopes: Iterable[str]) -> str:
    """Return the `scope` of a token response: full names in no particular order, `openid` last."""
    return " ".join(sorted(scopes, key=lambda scope: (scope == OPENID, scope)))


def callback_scope(scopes: Iterable[str]) -> str:
    """Return the `scope` of a callback: short names first, then every scope by its full name."""
    granted = set(scopes)
    short = [alias for alias, full in ALIASES.items() if full in granted]
    return " ".join([*short, *sorted(granted - {OPENID}), *([OPENID] if OPENID in granted else [])])
