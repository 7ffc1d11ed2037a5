"""What a sign-in leaves in Redis between its steps: the attempt behind a state, and what a hand-off stands for.

Each is taken exactly once (GETDEL). Keys are hashes of the values that travel through browsers, so that a look at Redis
yields nothing to redeem; records are sealed, so that neither reading nor writing Redis makes a session.
"""

import base64
import hashlib
import secrets
from collections.abc import Callable
from uuid import UUID

from pydantic import BaseModel, ConfigDict
from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.auth.cipher import Vault, VaultError
from services.kit.errors import AppError, Kind

ATTEMPT_SECONDS = 600
HAND_OFF_SECONDS = 120


class Attempt(BaseModel):
    """A sign-in that has been sent to the provider."""

    model_config = ConfigDict(frozen=True)

    provider: str
    code_verifier: str
    nonce: str
    # The client's own PKCE challenge, empty if it gave none.
    client_challenge: str
    force_consent: bool
    # The signed-in user who links one more account; None to sign in.
    link_to: UUID | None = None


class HandOff(BaseModel):
    """A completed sign-in that waits to be redeemed."""

    model_config = ConfigDict(frozen=True)

    user_id: UUID
    client_challenge: str
    # The parked grant, if the user links an account; else they sign in.
    parked_grant: UUID | None = None


def random_value() -> str:
    """256 random bits, URL-safe: for states, hand-offs, nonces and PKCE verifiers (RFC 7636 wants 43 characters)."""
    return secrets.token_urlsafe(32)


class OneTimeRecords[Record: BaseModel]:
    """Records of one kind that expire and can be taken once. Raises AppError if Redis cannot be used now."""

    def __init__(
        self,
        *,
        redis: Redis,
        vault: Vault,
        kind: str,
        record_type: type[Record],
        seconds: int,
        random: Callable[[], str] = random_value,
    ) -> None:
        self._redis = redis
        self._vault = vault
        self._kind = kind
        self._record_type = record_type
        self._seconds = seconds
        self._random = random

    async def put(self, record: Record) -> str:
        """Keeps the record and returns the new value that takes it."""
        value = self._random()
        digest = _digest(value)
        sealed = self._vault.seal(record.model_dump_json(), owner=digest, field=self._kind)
        try:
            await self._redis.set(self._key(digest), base64.b64encode(sealed).decode(), ex=self._seconds)
        except (RedisError, OSError) as error:
            raise redis_unavailable() from error
        return value

    async def take(self, value: str) -> Record | None:
        """The record behind the value, for the first who asks in time; None for everyone else."""
        digest = _digest(value)
        try:
            stored = await self._redis.getdel(self._key(digest))
        except (RedisError, OSError) as error:
            raise redis_unavailable() from error
        if stored is None:
            return None
        try:
            text = self._vault.open(base64.b64decode(stored), owner=digest, field=self._kind)
            return self._record_type.model_validate_json(text)
        except (VaultError, ValueError):
            # Not ours, or of a release whose records had other fields: to be started anew.
            return None

    def _key(self, digest: str) -> str:
        return f"auth:{self._kind}:{digest}"


def redis_unavailable() -> AppError:
    """Redis cannot be used now."""
    return AppError(Kind.UNAVAILABLE, "service_unavailable", "A store is unavailable, try again.")


def _digest(value: str) -> str:
    return hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()
