"""Deletion of applications with everything that they own.

It outlives any process: a request is recorded, mail asks for the requests, erases the mailboxes of these applications,
and then has the rest deleted here. A crash repeats a step, each of which changes nothing the second time.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime
from uuid import UUID

import structlog

from services.auth.applications.api_keys import ApiKeys
from services.auth.applications.revoked import KEPT
from services.auth.errors import application_not_found
from services.auth.model import DEFAULT_APPLICATION, Client, EventType, KeyEventType, SecurityEvent
from services.auth.provider_grants.disconnect import Disconnections
from services.auth.store.transaction import Store
from services.kit.errors import AppError, Kind

log = structlog.get_logger()

# Requests that mail works on at a time, and users that are deleted in one call: each can take a call of a provider.
_REQUESTS = 100
USERS_AT_A_TIME = 20


class ApplicationDeletions:
    """Requested deletions of applications."""

    def __init__(
        self,
        *,
        store: Store,
        api_keys: ApiKeys,
        disconnections: Disconnections,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._api_keys = api_keys
        self._disconnections = disconnections
        self._clock = clock

    async def request(self, application_id: UUID, *, operator_id: str, client: Client) -> None:
        """Record the request and revoke the application's keys, by the operator's client. Idempotent.

        Raises AppError invalid_application for the default one, application_not_found, invalid_api_key.
        """
        await self._api_keys.operator(operator_id)
        if application_id == DEFAULT_APPLICATION:
            raise AppError(Kind.INVALID, "invalid_application", "The default application cannot be deleted.")
        now = self._clock()
        async with self._store.transaction() as transaction:
            application = await transaction.applications.lock(application_id)
            if application is None:
                raise application_not_found()
            if application.deleted_at is not None:
                return
            await transaction.applications.set_deleted(application_id, now=now)
            await transaction.connect_sessions.remove_all(application_id)
            for key_id in await transaction.api_keys.revoke_all(application_id, now=now):
                await transaction.api_keys.add_event(key_id, KeyEventType.REVOKED, now=now, client=client)
            await transaction.events.add(
                SecurityEvent(application_id, EventType.APPLICATION_DELETION_REQUESTED, client=client)
            )
            await transaction.commit()
        log.info(
            "deletion of an application requested",
            application_id=str(application_id),
            application_name=application.name,
            operator_key_id=operator_id,
        )

    async def list_requested(self) -> list[UUID]:
        """Return the applications whose deletion was requested, the earliest request first."""
        async with self._store.transaction() as transaction:
            return await transaction.applications.list_deleted(limit=_REQUESTS)

    async def erase_some(self, application_id: UUID) -> bool:
        """Delete some users, and the application after the last one; return whether nothing is left.

        Its revoked keys stay as long as gateways must hear of them: tokens exchanged for them are still valid. An
        application whose deletion was not requested is left alone.
        """
        async with self._store.transaction() as transaction:
            application = await transaction.applications.find(application_id)
            if application is None:
                return True
            if application.deleted_at is None:
                return False
            users = await transaction.users.list_of(application_id, after=None, limit=USERS_AT_A_TIME)
        # Beside each other: one that cannot be deleted yet is waited for, and mail does not wait for three in a row.
        async with asyncio.TaskGroup() as deletions:
            for user in users:
                deletions.create_task(self._delete(user.user_id))
        if self._clock() < application.deleted_at + KEPT:
            return False
        return await self._remove(application_id)

    async def _delete(self, user_id: UUID) -> None:
        """Delete a user; one that cannot be deleted yet keeps back no other."""
        try:
            await self._disconnections.delete_user(user_id)
        except AppError as error:
            log.warning("a user is not deleted yet", user_id=str(user_id), reason=error.reason)

    async def _remove(self, application_id: UUID) -> bool:
        """Delete an application that has no users."""
        async with self._store.transaction() as transaction:
            # From now on no user of it can be added.
            await transaction.applications.lock(application_id)
            if await transaction.users.list_of(application_id, after=None, limit=1):
                return False
            await transaction.connect_sessions.remove_all(application_id)
            await transaction.api_keys.remove_all(application_id)
            await transaction.applications.remove(application_id)
            await transaction.events.add(SecurityEvent(application_id, EventType.APPLICATION_DELETED))
            await transaction.commit()
        log.info("deleted an application", application_id=str(application_id))
        return True
