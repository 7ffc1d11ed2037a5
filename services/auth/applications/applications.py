"""Applications, which operators make, and their users, whom they name by ids of their own."""

from collections.abc import Callable, Sequence
from urllib.parse import urlsplit
from uuid import UUID

from services.auth.applications.api_keys import ApiKeys
from services.auth.errors import application_not_found, user_not_found
from services.auth.model import Account, Application, User
from services.auth.providers.urls import LOOPBACK
from services.auth.store.transaction import Store
from services.kit.errors import AppError, Kind

DEFAULT_PAGE = 50
LARGEST_PAGE = 200
_MOST_APPLICATIONS = 1000
_MOST_URLS = 20
_LONGEST = 200
_LONGEST_URL = 1000


class Applications:
    """The applications of an installation, and their users."""

    def __init__(self, *, store: Store, api_keys: ApiKeys, new_id: Callable[[], UUID]) -> None:
        self._store = store
        self._api_keys = api_keys
        self._new_id = new_id

    async def create(self, name: str, redirect_urls: Sequence[str], *, operator_id: str) -> Application:
        """Create an application. Raises AppError invalid_application, application_exists, invalid_api_key."""
        await self._api_keys.operator(operator_id)
        if not 0 < len(name) <= _LONGEST:
            raise _invalid(f"An application needs a name of {_LONGEST} characters at most.")
        _check_urls(redirect_urls)
        async with self._store.transaction() as transaction:
            made = await transaction.applications.add(self._new_id(), name=name, redirect_urls=list(redirect_urls))
            if made is None:
                raise AppError(Kind.CONFLICT, "application_exists", "Another application has this name.")
            await transaction.commit()
        return made

    async def list_all(self, *, operator_id: str) -> list[Application]:
        """Return the applications, oldest first. Raises AppError invalid_api_key."""
        await self._api_keys.operator(operator_id)
        async with self._store.transaction() as transaction:
            return await transaction.applications.list_all(limit=_MOST_APPLICATIONS)

    async def set_redirect_urls(
        self, application_id: UUID, redirect_urls: Sequence[str], *, operator_id: str
    ) -> Application:
        """Replace the addresses to which browsers may be sent.

        Raises AppError invalid_application, application_not_found, invalid_api_key.
        """
        await self._api_keys.operator(operator_id)
        _check_urls(redirect_urls)
        async with self._store.transaction() as transaction:
            changed = await transaction.applications.set_redirect_urls(application_id, list(redirect_urls))
            if changed is None:
                raise application_not_found()
            await transaction.commit()
        return changed

    async def allow_redirect_url(self, application_id: UUID, redirect_url: str) -> None:
        """Let browsers be sent to one more address, by the command line of the server. Idempotent.

        Raises AppError invalid_application.
        """
        async with self._store.transaction() as transaction:
            application = await transaction.applications.lock(application_id)
            if application is None or redirect_url in application.redirect_urls:
                return
            redirect_urls = [*application.redirect_urls, redirect_url]
            _check_urls(redirect_urls)
            await transaction.applications.set_redirect_urls(application_id, redirect_urls)
            await transaction.commit()

    async def add_user(self, external_user_id: str, *, application_id: UUID) -> tuple[User, bool]:
        """Return the application's user of this id, and whether it was created.

        Raises AppError invalid_external_user_id.
        """
        if not 0 < len(external_user_id) <= _LONGEST:
            raise AppError(Kind.INVALID, "invalid_external_user_id", f"An external id has 1 to {_LONGEST} characters.")
        async with self._store.transaction() as transaction:
            added = await transaction.users.add_external(
                self._new_id(), application_id=application_id, external_user_id=external_user_id
            )
            await transaction.commit()
            if added is not None:
                return added, True
            found = await transaction.users.find_external(external_user_id, application_id=application_id)
        if found is None:
            raise user_not_found()
        return found, False

    async def list_users(
        self, application_id: UUID, *, external_user_id: str, after: UUID | None, page_size: int
    ) -> tuple[list[User], UUID | None]:
        """Return users of an application by id, or the one of an external id, and the id after which the next are."""
        limit = min(page_size or DEFAULT_PAGE, LARGEST_PAGE)
        async with self._store.transaction() as transaction:
            if external_user_id:
                found = await transaction.users.find_external(external_user_id, application_id=application_id)
                return [] if found is None else [found], None
            users = await transaction.users.list_of(application_id, after=after, limit=limit + 1)
        page = users[:limit]
        return page, page[-1].user_id if len(users) > limit else None

    async def describe_user(self, user_id: UUID, *, application_id: UUID) -> tuple[User, list[Account]]:
        """Return a user of the application with their accounts. Raises AppError user_not_found."""
        async with self._store.transaction() as transaction:
            user = await transaction.users.find(user_id)
            if user is None or user.application_id != application_id:
                raise user_not_found()
            return user, await transaction.accounts.list_of(user_id)


def _check_urls(redirect_urls: Sequence[str]) -> None:
    if len(redirect_urls) > _MOST_URLS:
        raise _invalid(f"An application has {_MOST_URLS} redirect URLs at most.")
    if not all(_is_redirect_url(url) for url in redirect_urls):
        raise _invalid("A redirect URL begins with https:// (http:// on this machine) and has no fragment.")


def _is_redirect_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return False
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and host in LOOPBACK)
    return is_safe and bool(host) and "#" not in url and "@" not in parts.netloc and len(url) <= _LONGEST_URL


def _invalid(message: str) -> AppError:
    return AppError(Kind.INVALID, "invalid_application", message)
