"""The scopes of API keys."""

from collections.abc import Iterable, Mapping
from enum import StrEnum


class Scope(StrEnum):
    """What an API key may do; docs/applications.md explains each."""

    MAIL_READ = "mail.read"
    MAIL_MODIFY = "mail.modify"
    MAIL_SEND = "mail.send"
    MAILBOXES_READ = "mailboxes.read"
    MAILBOXES_MANAGE = "mailboxes.manage"
    WEBHOOKS_MANAGE = "webhooks.manage"
    KEYS_MANAGE = "keys.manage"
    APPLICATIONS_MANAGE = "applications.manage"


_NAMES = frozenset(map(str, Scope))

MEANINGS: Mapping[Scope, str] = {
    Scope.MAIL_READ: "read stored mail, and download from the provider",
    Scope.MAIL_MODIFY: "change mail; no route needs it yet",
    Scope.MAIL_SEND: "send mail; no route needs it yet",
    Scope.MAILBOXES_READ: "list mailboxes, their syncs, and users",
    Scope.MAILBOXES_MANAGE: "add users, connect and disconnect mailboxes, start syncs, delete users",
    Scope.WEBHOOKS_MANAGE: "make, change and delete webhooks, see what was sent, and have it sent again",
    Scope.KEYS_MANAGE: "list, create and revoke API keys of the application",
    Scope.APPLICATIONS_MANAGE: "list, create, change, delete applications; of operator keys only, which reach no mail",
}
# An operator key has this one and no other.
OPERATOR_SCOPES = frozenset({Scope.APPLICATIONS_MANAGE})
# They concern an application as a whole, so that a key that is limited to some mailboxes cannot have them.
WHOLE_APPLICATION = frozenset({Scope.KEYS_MANAGE, Scope.WEBHOOKS_MANAGE})
DEFAULT_SCOPES = frozenset({Scope.MAIL_READ, Scope.MAILBOXES_READ})
# An access token that a key exchanges for a user can have these: they concern the mailboxes of one user.
EXCHANGEABLE = frozenset(
    {Scope.MAIL_READ, Scope.MAIL_MODIFY, Scope.MAIL_SEND, Scope.MAILBOXES_READ, Scope.MAILBOXES_MANAGE}
)


def known_scopes(names: Iterable[str]) -> frozenset[Scope]:
    """Return the scopes of these names; one of a later release grants nothing here."""
    return frozenset(Scope(name) for name in names if name in _NAMES)
