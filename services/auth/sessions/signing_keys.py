"""The ES256 keys of our access tokens, shared by all processes in Postgres, with encrypted private halves.

A key is published before it signs, and stays published until all tokens that it signed have expired.
"""

import asyncio
import hashlib
import json
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise

import structlog
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from services.auth.cipher import Cipher
from services.auth.store.signing_keys import SigningKeyRecord
from services.auth.store.transaction import Store

log = structlog.get_logger()

PRIVATE_KEY = "private_key"
# Longer than clients cache the key set.
PUBLISHED_AHEAD = timedelta(minutes=15)
# Longer than the last access token lives that a process signs before it notices the successor.
PUBLISHED_AFTER = timedelta(hours=1)
# A process rereads the signing key this often.
REREAD = timedelta(seconds=60)
_EVER = timedelta(days=36500)
_COORDINATE_BYTES = 32


@dataclass(frozen=True)
class SigningKey:
    """A signing key with its private half."""

    key_id: str
    private_key: ec.EllipticCurvePrivateKey = field(repr=False)


class SigningKeys:
    """The current signing key, created on first use, and the public keys."""

    def __init__(self, *, store: Store, cipher: Cipher, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._cipher = cipher
        self._clock = clock
        self._lock = asyncio.Lock()
        self._current: SigningKey | None = None
        self._read_at: datetime | None = None

    async def current(self) -> SigningKey:
        """Return the key that signs. Raises AppError (database unavailable), DecryptionError (another secret)."""
        async with self._lock:
            now = self._clock()
            if self._current is None or self._read_at is None or now - self._read_at >= REREAD:
                record = await self._signing(now)
                if self._current is None or self._current.key_id != record.key_id:
                    self._current = self._opened(record)
                self._read_at = now
            return self._current

    async def jwks(self) -> str:
        """Return the JSON Web Key Set of all keys (RFC 7517); it is never empty."""
        records = await self._list()
        if not records:
            await self.current()
            records = await self._list()
        return json.dumps({"keys": [record.public_jwk for record in records]})

    async def rotate(self, *, older_than: timedelta = timedelta(0)) -> str | None:
        """Create the next key if the newest has signed for `older_than`, and delete superseded keys.

        Returns the id of the created key. A key that does not sign yet keeps others from being created.
        """
        async with self._store.transaction() as transaction:
            await transaction.signing_keys.lock()
            records = await transaction.signing_keys.list_all()
            now = self._clock()
            added = None
            if not records or records[0].signs_from <= now - older_than:
                added = _new_record(self._cipher, signs_from=now + PUBLISHED_AHEAD if records else now)
                await transaction.signing_keys.add(added)
            await transaction.signing_keys.remove(_superseded(records, now))
            await transaction.commit()
        if added is None:
            return None
        log.info("made a signing key", key_id=added.key_id, signs_from=added.signs_from.isoformat())
        return added.key_id

    async def _list(self) -> list[SigningKeyRecord]:
        async with self._store.transaction() as transaction:
            return await transaction.signing_keys.list_all()

    async def _signing(self, now: datetime) -> SigningKeyRecord:
        records = await self._list()
        if not records:
            # If another process creates the first key at the same moment, both use it.
            await self.rotate(older_than=_EVER)
            records = await self._list()
        # With differing clocks the first key can have a `signs_from` in this machine's future; it signs all the same.
        return next((record for record in records if record.signs_from <= now), records[-1])

    def _opened(self, record: SigningKeyRecord) -> SigningKey:
        pem = self._cipher.decrypt(record.private_key, owner=record.key_id, field=PRIVATE_KEY)
        key = load_pem_private_key(pem.encode(), password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError("a signing key is not an elliptic-curve key")
        return SigningKey(record.key_id, key)


def _superseded(newest_first: list[SigningKeyRecord], now: datetime) -> list[str]:
    """Return the keys whose successor has signed for so long that all tokens of theirs have expired."""
    pairs = pairwise(newest_first)
    return [record.key_id for successor, record in pairs if successor.signs_from + PUBLISHED_AFTER <= now]


def _new_record(cipher: Cipher, *, signs_from: datetime) -> SigningKeyRecord:
    private_key = ec.generate_private_key(ec.SECP256R1())
    pem = private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    public_jwk = _public_jwk(private_key.public_key())
    key_id = public_jwk["kid"]
    return SigningKeyRecord(key_id, public_jwk, cipher.encrypt(pem, owner=key_id, field=PRIVATE_KEY), signs_from)


def _public_jwk(key: ec.EllipticCurvePublicKey) -> dict[str, str]:
    """Return the published form (RFC 7518, section 6.2.1), with the thumbprint as key id (RFC 7638)."""
    numbers = key.public_numbers()
    required = {"crv": "P-256", "kty": "EC", "x": _encoded(numbers.x), "y": _encoded(numbers.y)}
    canonical = json.dumps(required, sort_keys=True, separators=(",", ":"))
    thumbprint = urlsafe_b64encode(hashlib.sha256(canonical.encode()).digest()).decode().rstrip("=")
    return {**required, "use": "sig", "alg": "ES256", "kid": thumbprint}


def _encoded(coordinate: int) -> str:
    return urlsafe_b64encode(coordinate.to_bytes(_COORDINATE_BYTES)).decode().rstrip("=")
