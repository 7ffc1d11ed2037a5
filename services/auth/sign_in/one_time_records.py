"""Records of a sign-in between its steps, in Redis: authorization requests by state, and login codes.

Each record is taken exactly once (GETDEL). Keys are hashes of the values that travel through browsers, so that a reader
of Redis can redeem none of them. Records are encrypted, so that a writer to Redis can create no session.
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
# Records of a kind. Strangers make them, and they may share Redis with quota and locks: 20,000 are about 12 MB.
MOST_RECORDS = 20_000

# Stores KEYS[1] with ARGV[1] for ARGV[2] seconds, and lists it in KEYS[2] by the time at which it expires. Beyond
# ARGV[3] records the oldest are deleted. SET is the first write: a full server refuses only that one of a script, and a
# script that began with a deletion would store records beyond the server's limit.
_PUT = """
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', '(' .. now)
redis.call('ZADD', KEYS[2], now + ARGV[2], KEYS[1])
redis.call('EXPIRE', KEYS[2], ARGV[2])
local oldest = redis.call('ZRANGE', KEYS[2], 0, -ARGV[3] - 1)
for _, key in ipairs(oldest) do
  redis.call('DEL', key)
  redis.call('ZREM', KEYS[2], key)
end
"""


class Connection(BaseModel):
    """The connect session of an authorization request, and the application's URL to which the browser returns."""

    model_config = ConfigDict(frozen=True)

    session_id: UUID
    redirect_url: str


class AuthorizationRequest(BaseModel):
    """A sign-in that waits for the provider's response."""

    model_config = ConfigDict(frozen=True)

    provider: str
    code_verifier: str
    nonce: str
    # The client's own PKCE challenge, empty if it gave none.
    client_challenge: str
    force_consent: bool
    # The largest age of the user's authentication at the provider in seconds; None takes any.
    max_age: int | None = None
    # The signed-in user of a link, or the user of a connect session; None for a sign-in.
    link_to: UUID | None = None
    connection: Connection | None = None
    # The address that the user is likely to take.
    login_hint: str = ""


class LoginCode(BaseModel):
    """A completed sign-in that waits to be redeemed."""

    model_config = ConfigDict(frozen=True)

    user_id: UUID
    client_challenge: str
    # The pending grant if the user links an account; None for a sign-in.
    pending_link: UUID | None = None


def random_value() -> str:
    """Return 256 random bits, URL-safe: a state, login code, nonce or PKCE verifier (43 characters, RFC 7636)."""
    return secrets.token_urlsafe(32)


class OneTimeRecords[Record: BaseModel]:
    """Records of one kind that expire and can be taken once. Methods raise AppError if Redis is unavailable.

    Beyond `most` of them the oldest go: a flood of new ones cannot fill Redis.
    """

    def __init__(
        self,
        *,
        redis: Redis,
        cipher: Cipher,
        kind: str,
        record_type: type[Record],
        seconds: int,
        most: int = MOST_RECORDS,
        random: Callable[[], str] = random_value,
    ) -> None:
        self._redis = redis
        self._cipher = cipher
        self._kind = kind
        self._record_type = record_type
        self._seconds = seconds
        self._most = most
        self._put = redis.register_script(_PUT)
        self._index = f"sign_in:{kind}s"
        self._random = random

    async def put(self, record: Record) -> str:
        """Store the record and return the value that takes it."""
        value = self._random()
        digest = _digest(value)
        encrypted = self._cipher.encrypt(record.model_dump_json(), owner=digest, field=self._kind)
        text = base64.b64encode(encrypted).decode()
        try:
            await self._put(keys=[self._key(digest), self._index], args=[text, self._seconds, self._most])
        except (RedisError, OSError) as error:
            raise service_unavailable("A store") from error
        return value

    async def take(self, value: str) -> Record | None:
        """Take the record of the value; None if it was taken, has expired, or never existed."""
        digest = _digest(value)
        try:
            stored = await self._taken(self._key(digest))
        except (RedisError, OSError) as error:
            raise service_unavailable("A store") from error
        if stored is None:
            return None
        try:
            text = self._cipher.decrypt(base64.b64decode(stored), owner=digest, field=self._kind)
            return self._record_type.model_validate_json(text)
        except (DecryptionError, ValueError):
            # Written by a stranger, or by a release whose records had other fields: the sign-in must start again.
            return None

    async def _taken(self, key: str) -> str | None:
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.getdel(key)
            pipeline.zrem(self._index, key)
            stored, _ = await pipeline.execute()
        return stored if stored is None else str(stored)

    def _key(self, digest: str) -> str:
        return f"auth:{self._kind}:{digest}"


def _digest(value: str) -> str:
    return hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()
