"""Access tokens of Yandex at its mail servers."""

from services.sandbox.mailboxes.user import User, UserDirectory
from services.sandbox.yandex.grants import YandexGrants
from services.sandbox.yandex.rules import AllRules
from services.sandbox.yandex.scopes import READ_MAIL

# One mailbox has interchangeable domains.
_DOMAINS = ("yandex.ru", "yandex.com", "ya.ru")


class MailTokens:
    """The tokens that log in over IMAP."""

    def __init__(self, *, users: UserDirectory, grants: YandexGrants, rules: AllRules) -> None:
        self._users = users
        self._grants = grants
        self._rules = rules

    def user_of(self, token: str, address: str) -> User | None:
        """Return the user of a token that reads mail, if the address is theirs and IMAP is switched on for them.

        An empty address is the token's own (RFC 7628, section 3.1).
        """
        pair = self._grants.find_access(token)
        user = self._users.find_sub(pair.sub) if pair and pair.scopes & READ_MAIL else None
        if user is None or not self._rules.of(user.sub).imap:
            return None
        return user if not address or address.lower() in _names_of(user) else None

    def owner_of(self, address: str) -> User | None:
        """Return the user with this address, or None."""
        return self._users.find_user(address)


def _names_of(user: User) -> set[str]:
    names = {address.lower() for address in user.addresses}
    login, _, domain = user.email.lower().partition("@")
    return names | ({f"{login}@{other}" for other in _DOMAINS} if domain in _DOMAINS else set())
