"""Token exchange (RFC 8693): access tokens of users for the front end of an application, which never holds its key."""

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

import structlog

from services.auth.applications.api_keys import ApiKeys
from services.auth.errors import user_not_found
from services.auth.model import ApiKey
from services.auth.sessions.access_tokens import AccessToken, AccessTokens
from services.auth.store.transaction import Store
from services.kit.errors import AppError, Kind
from services.kit.scopes import DEFAULT_SCOPES, EXCHANGEABLE, Scope

log = structlog.get_logger()


@dataclass(frozen=True)
class ExchangedToken:
    """An access token with what it may do."""

    token: AccessToken
    scopes: frozenset[Scope]


class TokenExchange:
    """The exchange of an API key for the access token of one of its application's users."""

    def __init__(self, *, store: Store, api_keys: ApiKeys, access_tokens: AccessTokens) -> None:
        self._store = store
        self._api_keys = api_keys
        self._access_tokens = access_tokens

    async def exchange(self, key_id: str, user_id: UUID | None, *, scopes: Collection[str]) -> ExchangedToken:
        """Return a token of the user with these scopes; without any, to read as far as the key reads.

        Raises AppError invalid_api_key, wrong_credential, invalid_scope, user_not_found.
        """
        key = await self._api_keys.acting(key_id)
        if key.mailbox_ids is not None:
            # The token would reach the user's other mailboxes.
            raise AppError(
                Kind.FORBIDDEN, "wrong_credential", "An API key that is limited to mailboxes reaches no users."
            )
        granted = _granted(key, scopes)
        if user_id is None or not await self._has(key, user_id):
            raise user_not_found()
        log.info("api key exchanged", key_id=key.key_id, user_id=str(user_id), scopes=" ".join(sorted(granted)))
        token = await self._access_tokens.issue_by_exchange(user_id, api_key=key, scopes=granted)
        return ExchangedToken(token, granted)

    async def _has(self, key: ApiKey, user_id: UUID) -> bool:
        async with self._store.transaction() as transaction:
            user = await transaction.users.find(user_id)
        return user is not None and user.application_id == key.application_id


def _granted(key: ApiKey, wanted: Collection[str]) -> frozenset[Scope]:
    possible = key.scopes & EXCHANGEABLE
    unknown = set(wanted) - possible
    granted = frozenset(map(Scope, wanted)) if wanted and not unknown else possible & DEFAULT_SCOPES
    if unknown or not granted:
        raise AppError(
            Kind.INVALID,
            "invalid_scope",
            f"The token can have these scopes: {' '.join(sorted(possible)) or 'none'}.",
        )
    return granted
