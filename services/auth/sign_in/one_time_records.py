"""Records of a sign-in in Redis between its steps: the authorization request of a state, the sign-in of a login code.

Each record is taken exactly once (GETDEL). Keys are hashes of the values that travel through browsers, so that reading
Redis gives nothing to redeem. Records are encrypted, so that writing to Redis creates no session either.
"""

import base64
import hashlib
import secrets
from collections.abc import Callable
from uuid import UUID

from pydantic import BaseModel, ConfigDict
from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.auth.cipher import Cipher, DecryptionError
from services.kit.errors import service_unavailable

AUTHORIZATION_REQUEST_SECONDS = 600
LOGIN_CODE_SECONDS = 120


class AuthorizationRequest(BaseModel):
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


class LoginCode(BaseModel):
    """A completed sign-in that waits to be redeemed."""

    model_config = ConfigDict(frozen=True)

    user_id: UUID
    client_challenge: str
    # The pending grant if the user links an account; None for a sign-in.
    pending_link: UUID | None = None


def random_value() -> str:
    """256 random bits, URL-safe: for states, login codes, nonces and PKCE verifiers (RFC 7636 wants 43 characters)."""
    return secrets.token_urlsafe(32)


class OneTimeRecords[Record: BaseModel]:
    """Records of one kind that expire and can be taken once. Raises AppError if Redis cannot be used now."""

    def __init__(
        self,
        *,
        redis: Redis,
        cipher: Cipher,
        kind: str,
        record_type: type[Record],
        seconds: int,
        random: Callable[[], str] = random_value,
    ) -> None:
        self._redis = redis
        self._cipher = cipher
        self._kind = kind
        self._record_type = record_type
        self._seconds = seconds
        self._random = random

    async def put(self, record: Record) -> str:
        """Keeps the record and returns the new value that takes it."""
        value = self._random()
        digest = _digest(value)
        encrypted = self._cipher.encrypt(record.model_dump_json(), owner=digest, field=self._kind)
        try:
            await self._redis.set(self._key(digest), base64.b64encode(encrypted).decode(), ex=self._seconds)
        except (RedisError, OSError) as error:
            raise service_unavailable("A store") from error
        return value

    async def take(self, value: str) -> Record | None:
        """The record behind the value, for the first who asks in time; None for everyone else."""
        digest = _digest(value)
        try:
            stored = await self._redis.getdel(self._key(digest))
        except (RedisError, OSError) as error:
            raise service_unavailable("A store") from error
        if stored is None:
            return None
        try:
            text = self._cipher.decrypt(base64.b64decode(stored), owner=digest, field=self._kind)
            return self._record_type.model_validate_json(text)
        except (DecryptionError, ValueError):
            # Not ours, or of a release whose records had other fields: to be started anew.
            return None

    def _key(self, digest: str) -> str:
        return f"auth:{self._kind}:{digest}"


def _digest(value: str) -> str:
    return hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()
