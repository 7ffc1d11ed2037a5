"""API keys: creation, verification, revocation."""

import hmac
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address, ip_network
from typing import NoReturn
from uuid import UUID

import structlog

from services.auth.model import ApiKey, Client, KeyEvent, KeyEventType
from services.auth.store.transaction import Store, Transaction
from services.kit.api_key import ApiKeyText, MalformedKeyError, generate, parse
from services.kit.errors import AppError, Kind
from services.kit.scopes import OPERATOR_SCOPES, WHOLE_APPLICATION, Scope

log = structlog.get_logger()

# A use is recorded once in this time, and so is a refusal, which anyone can cause who has seen the key's id and secret.
COARSE = timedelta(minutes=10)
# The principal of a key names its mailboxes, and travels in the metadata of each call.
MOST_MAILBOXES = 50
MOST_NETWORKS = 50
MOST_KEYS = 200
_EVENTS = 100
_LONGEST_NAME = 100


@dataclass(frozen=True, kw_only=True)
class KeyRules:
    """What a key may do; None: no limit."""

    name: str
    scopes: frozenset[Scope]
    mailbox_ids: frozenset[UUID] | None = None
    networks: tuple[str, ...] | None = None
    expires_at: datetime | None = None


class ApiKeys:
    """The keys of all applications, and those of operators."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Callable[[], datetime],
        random: Callable[[int], bytes],
        most: int = MOST_KEYS,
    ) -> None:
        """`most` is the number of live keys of an application."""
        self._store = store
        self._clock = clock
        self._random = random
        self._most = most

    async def create(self, rules: KeyRules, *, application_id: UUID | None) -> tuple[ApiKey, ApiKeyText]:
        """Create a key by the command line of the server; without an application it is an operator's.

        Its text is not kept. Raises AppError invalid_key_rules.
        """
        _check(rules, is_operators=application_id is None)
        return await self._add(rules, application_id=application_id, created_by=None, client=Client())

    async def create_by_key(self, rules: KeyRules, *, creator_id: str, client: Client) -> tuple[ApiKey, ApiKeyText]:
        """Create a key of the creator's application, which may do no more than its creator.

        Raises AppError invalid_key_rules, invalid_api_key.
        """
        creator = await self.manager(creator_id)
        assert creator.application_id is not None  # noqa: S101 - an operator key manages no keys
        rules = _within(rules, creator)
        _check(rules, is_operators=False)
        return await self._add(rules, application_id=creator.application_id, created_by=creator_id, client=client)

    async def verify(self, text: str, *, address: str, client: Client) -> ApiKey:
        """Return the live key of this text; `address` is the client's.

        Raises AppError malformed_api_key, invalid_api_key, network_not_allowed.
        """
        try:
            presented = parse(text)
        except MalformedKeyError as error:
            raise AppError(
                Kind.UNAUTHENTICATED, "malformed_api_key", "The API key has a typo: its checksum does not fit."
            ) from error
        now = self._clock()
        async with self._store.transaction() as transaction:
            found = await transaction.api_keys.find(presented.key_id)
            if found is None or not hmac.compare_digest(found[1], presented.digest):
                raise _invalid("The API key is not known.")
            key = found[0]
            if key.revoked_at is not None:
                await self._refuse(transaction, key, _invalid("The API key was revoked."), client)
            if not key.is_live(now):
                await self._refuse(transaction, key, _invalid("The API key has expired."), client)
            if not _is_within_networks(address, key.networks):
                await self._refuse(transaction, key, _not_allowed(), client)
            if key.used_at is None or now - key.used_at >= COARSE:
                await transaction.api_keys.set_used(key.key_id, now=now)
                await transaction.commit()
        return key

    async def manager(self, key_id: str) -> ApiKey:
        """Return a live key that manages its application's keys. Raises AppError invalid_api_key."""
        async with self._store.transaction() as transaction:
            found = await transaction.api_keys.find(key_id)
        if found is None or not found[0].is_live(self._clock()) or Scope.KEYS_MANAGE not in found[0].scopes:
            raise _invalid("The API key may not manage keys, or not any more.")
        return found[0]

    async def acting(self, key_id: str) -> ApiKey:
        """Return a live key of an application. Raises AppError invalid_api_key."""
        async with self._store.transaction() as transaction:
            found = await transaction.api_keys.find(key_id)
        if found is None or not found[0].is_live(self._clock()) or found[0].application_id is None:
            raise _invalid("The API key is no application's, or not valid any more.")
        return found[0]

    async def operator(self, key_id: str) -> None:
        """Check that this is a live operator key. Raises AppError invalid_api_key."""
        async with self._store.transaction() as transaction:
            found = await transaction.api_keys.find(key_id)
        if found is None or not found[0].is_live(self._clock()) or found[0].scopes != OPERATOR_SCOPES:
            raise _invalid("The API key is not an operator's, or not any more.")

    async def list_of(self, manager_id: str) -> list[ApiKey]:
        """Return the live keys of the manager's application and the newest others, newest first. Raises AppError."""
        manager = await self.manager(manager_id)
        assert manager.application_id is not None  # noqa: S101 - an operator key manages no keys
        async with self._store.transaction() as transaction:
            found = await transaction.api_keys.list_of(manager.application_id, now=self._clock(), limit=2 * self._most)
        return sorted(found, key=lambda key: key.created_at, reverse=True)

    async def list_events(self, key_id: str, *, manager_id: str) -> list[KeyEvent]:
        """Return the events of a key of the manager's application, newest first. Raises AppError api_key_not_found."""
        manager = await self.manager(manager_id)
        async with self._store.transaction() as transaction:
            found = await transaction.api_keys.find(key_id)
            if found is None or found[0].application_id != manager.application_id:
                raise _not_found()
            return await transaction.api_keys.list_events(key_id, limit=_EVENTS)

    async def revoke_by_key(self, key_id: str, *, manager_id: str, client: Client) -> None:
        """Revoke a key of the manager's application. Idempotent. Raises AppError api_key_not_found."""
        manager = await self.manager(manager_id)
        await self.revoke(key_id, application_id=manager.application_id, client=client)

    async def revoke(self, key_id: str, *, application_id: UUID | None, client: Client) -> None:
        """Revoke a key of this application, or an operator key. Idempotent. Raises AppError api_key_not_found."""
        now = self._clock()
        async with self._store.transaction() as transaction:
            found = await transaction.api_keys.find(key_id)
            if found is None or found[0].application_id != application_id:
                raise _not_found()
            if await transaction.api_keys.revoke(key_id, application_id=application_id, now=now):
                await transaction.api_keys.add_event(key_id, KeyEventType.REVOKED, now=now, client=client)
                await transaction.commit()
                log.info("api key revoked", key_id=key_id)

    async def _add(
        self, rules: KeyRules, *, application_id: UUID | None, created_by: str | None, client: Client
    ) -> tuple[ApiKey, ApiKeyText]:
        text, now = generate(self._random), self._clock()
        if rules.expires_at is not None and rules.expires_at <= now:
            raise _invalid_rules("The time at which the key ends is past.")
        key = ApiKey(
            key_id=text.key_id,
            application_id=application_id,
            name=rules.name,
            scopes=rules.scopes,
            mailbox_ids=rules.mailbox_ids,
            networks=rules.networks,
            created_by=created_by,
            created_at=now,
            expires_at=rules.expires_at,
        )
        async with self._store.transaction() as transaction:
            if application_id is not None:
                await self._check_room(transaction, application_id, most=None if created_by is None else self._most)
            await transaction.api_keys.add(key, digest=text.digest)
            await transaction.api_keys.add_event(key.key_id, KeyEventType.CREATED, now=now, client=client)
            await transaction.commit()
        log.info("api key created", key_id=key.key_id, scopes=" ".join(sorted(key.scopes)))
        return key, text

    async def _check_room(self, transaction: Transaction, application_id: UUID, *, most: int | None) -> None:
        """Check that the application can get another key; until the transaction ends it gets no other one."""
        application = await transaction.applications.lock(application_id)
        if application is not None and application.deleted_at is not None:
            raise _invalid_rules("The application is being deleted.")
        if most is not None and await transaction.api_keys.count_live(application_id, now=self._clock()) >= most:
            raise _invalid_rules(f"An application has {most} live keys at most.")

    async def _refuse(self, transaction: Transaction, key: ApiKey, error: AppError, client: Client) -> NoReturn:
        """Record a refusal unless one was recorded a moment ago, and raise the error."""
        now = self._clock()
        events = await transaction.api_keys.list_events(key.key_id, limit=1)
        if not events or events[0].type != KeyEventType.REFUSED or now - events[0].created_at >= COARSE:
            await transaction.api_keys.add_event(key.key_id, KeyEventType.REFUSED, now=now, client=client)
            await transaction.commit()
            log.warning("api key refused", key_id=key.key_id, reason=error.message)
        raise error


def _check(rules: KeyRules, *, is_operators: bool) -> None:
    if not 0 < len(rules.name) <= _LONGEST_NAME:
        raise _invalid_rules(f"A key needs a name of {_LONGEST_NAME} characters at most.")
    if not rules.scopes:
        raise _invalid_rules("A key needs a scope.")
    if is_operators != (rules.scopes == OPERATOR_SCOPES) or (not is_operators and rules.scopes & OPERATOR_SCOPES):
        raise _invalid_rules("applications.manage is the scope of operator keys, and their only one.")
    if rules.mailbox_ids is not None:
        if not 0 < len(rules.mailbox_ids) <= MOST_MAILBOXES:
            raise _invalid_rules(f"A key is limited to at least 1 and at most {MOST_MAILBOXES} mailboxes.")
        if rules.scopes & WHOLE_APPLICATION:
            raise _invalid_rules("A key that is limited to mailboxes cannot manage keys or webhooks.")
    if rules.networks is not None:
        _check_networks(rules.networks)


def _check_networks(networks: Collection[str]) -> None:
    if not 0 < len(networks) <= MOST_NETWORKS:
        raise _invalid_rules(f"A key is limited to at least 1 and at most {MOST_NETWORKS} networks.")
    for network in networks:
        try:
            ip_network(network)
        except ValueError as error:
            raise _invalid_rules("A network is like 192.0.2.0/24 or 2001:db8::/32.") from error


def _within(rules: KeyRules, creator: ApiKey) -> KeyRules:
    """Return the rules within those of the creator. Raises AppError invalid_key_rules."""
    if not rules.scopes <= creator.scopes:
        raise _invalid_rules("A key gives no scopes that it does not have.")
    networks, expires_at = rules.networks, rules.expires_at
    if creator.networks is not None:
        if networks is None:
            networks = creator.networks
        elif not all(_is_subnet(network, creator.networks) for network in networks):
            raise _invalid_rules("A key gives no networks that it is not allowed itself.")
    if creator.expires_at is not None:
        expires_at = creator.expires_at if expires_at is None else min(expires_at, creator.expires_at)
    return KeyRules(
        name=rules.name,
        scopes=rules.scopes,
        mailbox_ids=rules.mailbox_ids,
        networks=networks,
        expires_at=expires_at,
    )


def _is_subnet(network: str, networks: Collection[str]) -> bool:
    try:
        inner = ip_network(network)
    except ValueError as error:
        raise _invalid_rules("A network is like 192.0.2.0/24 or 2001:db8::/32.") from error
    outer = map(ip_network, networks)
    return any(other.prefixlen <= inner.prefixlen and inner.network_address in other for other in outer)


def _is_within_networks(address: str, networks: Collection[str] | None) -> bool:
    if networks is None:
        return True
    try:
        client = ip_address(address)
    except ValueError:
        return False
    return any(client in ip_network(network) for network in networks)


def _invalid_rules(message: str) -> AppError:
    return AppError(Kind.INVALID, "invalid_key_rules", message)


def _invalid(message: str) -> AppError:
    return AppError(Kind.UNAUTHENTICATED, "invalid_api_key", message)


def _not_allowed() -> AppError:
    return AppError(Kind.FORBIDDEN, "network_not_allowed", "The API key may not be used from this network.")


def _not_found() -> AppError:
    return AppError(Kind.NOT_FOUND, "api_key_not_found", "There is no such API key.")
