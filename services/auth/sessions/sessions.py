"""Sessions: families of refresh tokens, each token spent for the next one and an access token.

A token that is repeated within seconds gets the same successor, since responses get lost and tabs race. One that is
repeated later has been copied. The copy cannot be told from the original, so the session ends (RFC 9700, section
4.14.2).
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from services.auth.model import UNKNOWN_CLIENT, Client, EventType, SecurityEvent
from services.auth.sessions.access_tokens import AccessToken, AccessTokens
from services.auth.sessions.refresh_tokens import RefreshToken, RefreshTokens, parse
from services.auth.store.sessions import SessionRecord
from services.auth.store.transaction import Store, Transaction
from services.kit.errors import AppError, Kind

log = structlog.get_logger()

REPEATABLE = timedelta(seconds=15)
# What cannot be undone needs a sign-in of this age at most.
RECENT = timedelta(minutes=10)
# Sessions of a list.
_MOST_SESSIONS = 200


@dataclass(frozen=True)
class Tokens:
    """The tokens that a client gets, and whose they are."""

    user_id: UUID
    access_token: AccessToken
    refresh_token: RefreshToken


@dataclass(frozen=True)
class Lifetimes:
    """The limits of a session: between two uses, and in total."""

    idle: timedelta
    absolute: timedelta


class Sessions:
    """The sessions of all users."""

    def __init__(
        self,
        *,
        store: Store,
        access_tokens: AccessTokens,
        refresh_tokens: RefreshTokens,
        lifetimes: Lifetimes,
        clock: Callable[[], datetime],
        new_id: Callable[[], UUID],
    ) -> None:
        self._store = store
        self._access_tokens = access_tokens
        self._refresh_tokens = refresh_tokens
        self._lifetimes = lifetimes
        self._clock = clock
        self._new_id = new_id

    async def begin(self, user_id: UUID, *, client: Client = UNKNOWN_CLIENT) -> Tokens | None:
        """Begin a session of this user; return None if the user was deleted meanwhile."""
        now = self._clock()
        session = SessionRecord(self._new_id(), user_id, now, now, now + self._lifetimes.absolute, client)
        refresh_token = self._refresh_tokens.first(session.session_id)
        async with self._store.transaction() as transaction:
            if not await transaction.sessions.add(session, token_digest=refresh_token.digest):
                return None
            await transaction.events.add(
                SecurityEvent(user_id, EventType.SIGNED_IN, session_id=session.session_id, client=client)
            )
            await transaction.commit()
        return await self._tokens(session, refresh_token)

    async def refresh(self, value: str, *, client: Client = UNKNOWN_CLIENT) -> Tokens:
        """Spend a refresh token and return the next tokens of its session. Raises AppError invalid_refresh_token."""
        presented = parse(value)
        if presented is None:
            raise _invalid()
        async with self._store.transaction() as transaction:
            session = await transaction.sessions.lock(presented.session_id)
            # Read under the lock of the session, so that concurrent repeats see times in the order of their handling.
            now = self._clock()
            if session is None or self._is_over(session, now):
                raise _invalid()
            successor = await self._successor(transaction, presented, now, client)
            if successor is None:
                await self._end_for_reuse(transaction, session, client)
                raise _invalid()
            await transaction.commit()
        return await self._tokens(session, successor)

    async def end(self, value: str, *, all_sessions: bool, client: Client = UNKNOWN_CLIENT) -> bool:
        """End the session of this refresh token, or all sessions of its user, also if it was spent long ago.

        A token that was never issued ends no session. Returns whether a session was ended.
        """
        presented = parse(value)
        if presented is None:
            return False
        async with self._store.transaction() as transaction:
            session = await transaction.sessions.lock(presented.session_id)
            known = await transaction.sessions.find_token(presented.session_id, presented.digest)
            if session is None or (known is None and not self._refresh_tokens.issued(presented)):
                return False
            ended = await _end(
                transaction,
                user_id=session.user_id,
                session_id=None if all_sessions else session.session_id,
                client=client,
            )
            await transaction.commit()
        return ended

    async def end_of_user(self, user_id: UUID, *, session_id: UUID | None, client: Client = UNKNOWN_CLIENT) -> bool:
        """End one session of this user, or all of them; return whether a session was ended."""
        async with self._store.transaction() as transaction:
            if session_id is not None:
                session = await transaction.sessions.lock(session_id)
                if session is None or session.user_id != user_id:
                    return False
            ended = await _end(transaction, user_id=user_id, session_id=session_id, client=client)
            await transaction.commit()
        return ended

    async def end_for_deletion(self, user_id: UUID, *, client: Client = UNKNOWN_CLIENT) -> bool:
        """End all sessions of a user who asks for their deletion, and record it; return whether any was ended.

        Idempotent.
        """
        async with self._store.transaction() as transaction:
            if not await transaction.users.lock(user_id):
                return False
            ended = await transaction.sessions.end_for_deletion(user_id)
            if not await transaction.events.has(user_id, EventType.DELETION_REQUESTED):
                await transaction.events.add(SecurityEvent(user_id, EventType.DELETION_REQUESTED, client=client))
            await transaction.commit()
        return ended > 0

    async def list_live(self, user_id: UUID) -> list[SessionRecord]:
        """Return a user's sessions that go on, the last used one first."""
        now = self._clock()
        async with self._store.transaction() as transaction:
            return await transaction.sessions.list_live(
                user_id, now=now, unused_since=now - self._lifetimes.idle, limit=_MOST_SESSIONS
            )

    async def verify_recent(self, user_id: UUID, *, session_id: UUID | None, user_deletion: bool) -> None:
        """Check that the session goes on and began a short time ago.

        `user_deletion` allows for any session of a user whose deletion was requested: a repeat changes nothing.
        Raises AppError invalid_token, reauthentication_required.
        """
        async with self._store.transaction() as transaction:
            if user_deletion and await _is_being_deleted(transaction, user_id):
                return
            session = None if session_id is None else await transaction.sessions.find(session_id)
        now = self._clock()
        if session is None or session.user_id != user_id or self._is_over(session, now):
            raise AppError(Kind.UNAUTHENTICATED, "invalid_token", "The session of the access token has ended.")
        if now - session.created_at > RECENT:
            raise AppError(
                Kind.UNAUTHENTICATED, "reauthentication_required", "This needs a sign-in of the last 10 minutes."
            )

    async def forget_expired(self) -> None:
        """Delete the expired sessions."""
        now = self._clock()
        unused_since = now - self._lifetimes.idle
        await self._store.in_batches(
            lambda transaction, limit: transaction.sessions.forget_expired(
                now=now, unused_since=unused_since, limit=limit
            )
        )

    def _is_over(self, session: SessionRecord, now: datetime) -> bool:
        return now >= session.expires_at or now >= session.used_at + self._lifetimes.idle

    async def _successor(
        self, transaction: Transaction, presented: RefreshToken, now: datetime, client: Client
    ) -> RefreshToken | None:
        """Return the successor; None if the token was spent too long ago. Raises AppError invalid_refresh_token."""
        session_id = presented.session_id
        known = await transaction.sessions.find_token(session_id, presented.digest)
        candidates = self._refresh_tokens.successors(presented)
        if known is None and not self._refresh_tokens.issued(presented):
            # Forged with the session's id, which access tokens and events show: no reason to end the session.
            raise _invalid()
        if known is None:
            return None
        if known.spent_at is None:
            await transaction.sessions.rotate(
                session_id,
                spent=presented.digest,
                successor=candidates[0].digest,
                now=now,
                forget_before=now - REPEATABLE,
                client=client,
            )
            return candidates[0]
        if now - known.spent_at > REPEATABLE:
            return None
        for candidate in candidates:
            if await transaction.sessions.find_token(session_id, candidate.digest) is not None:
                return candidate
        # The secret was replaced without keeping the previous one, so that the successor cannot be computed.
        raise _invalid()

    async def _end_for_reuse(self, transaction: Transaction, session: SessionRecord, client: Client) -> None:
        await transaction.sessions.end(session.session_id)
        await transaction.events.add(
            SecurityEvent(session.user_id, EventType.REFRESH_TOKEN_REUSED, session_id=session.session_id, client=client)
        )
        await transaction.commit()
        log.warning("a spent refresh token came back: its session was ended", user_id=str(session.user_id))

    async def _tokens(self, session: SessionRecord, refresh_token: RefreshToken) -> Tokens:
        access_token = await self._access_tokens.issue(
            session.user_id,
            session_id=session.session_id,
            signed_in_at=session.created_at,
            session_expires_at=session.expires_at,
        )
        return Tokens(session.user_id, access_token, refresh_token)


async def _is_being_deleted(transaction: Transaction, user_id: UUID) -> bool:
    """Return whether the user asked for their deletion, or is deleted.

    In this order: a user who is deleted in between has no event any more.
    """
    if await transaction.events.has(user_id, EventType.DELETION_REQUESTED):
        return True
    return await transaction.users.find(user_id) is None


async def _end(transaction: Transaction, *, user_id: UUID, session_id: UUID | None, client: Client) -> bool:
    if session_id is None:
        ended, event = await transaction.sessions.end_all(user_id), EventType.SIGNED_OUT_EVERYWHERE
    else:
        ended, event = await transaction.sessions.end(session_id), EventType.SIGNED_OUT
    if ended:
        await transaction.events.add(SecurityEvent(user_id, event, session_id=session_id, client=client))
    return ended > 0


def _invalid() -> AppError:
    return AppError(Kind.UNAUTHENTICATED, "invalid_refresh_token", "The refresh token is not valid; sign in again.")
