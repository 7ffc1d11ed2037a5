"""The ES256 keys of our access tokens. They live in Postgres, the private halves sealed, shared by all processes."""

import asyncio
import hashlib
import json
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field

import structlog
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from services.auth.store import SigningKeyRecord, Store
from services.auth.vault import Vault

log = structlog.get_logger()

PRIVATE_KEY = "private_key"
_COORDINATE_BYTES = 32


@dataclass(frozen=True)
class SigningKey:
    """A key that signs."""

    key_id: str
    private_key: ec.EllipticCurvePrivateKey = field(repr=False)


class SigningKeys:
    """The key that signs, made when there is none yet, and the public keys that verify."""

    def __init__(self, *, store: Store, vault: Vault) -> None:
        self._store = store
        self._vault = vault
        self._lock = asyncio.Lock()
        self._current: SigningKey | None = None

    async def current(self) -> SigningKey:
        """The newest key. Raises AppError if the database cannot be used, VaultError if the secret is another now."""
        async with self._lock:
            if self._current is None:
                self._current = self._opened(await self._newest())
            return self._current

    async def jwks(self) -> str:
        """The JSON Web Key Set of all keys (RFC 7517); never empty."""
        records = await self._list()
        if not records:
            await self.current()
            records = await self._list()
        return json.dumps({"keys": [record.public_jwk for record in records]})

    async def _list(self) -> list[SigningKeyRecord]:
        async with self._store.transaction() as transaction:
            return await transaction.list_signing_keys()

    async def _newest(self) -> SigningKeyRecord:
        async with self._store.transaction() as transaction:
            await transaction.lock_signing_keys()
            records = await transaction.list_signing_keys()
            if records:
                return records[0]
            record = _new_record(self._vault)
            await transaction.add_signing_key(record)
            await transaction.commit()
        log.info("made a signing key", key_id=record.key_id)
        return record

    def _opened(self, record: SigningKeyRecord) -> SigningKey:
        pem = self._vault.open(record.private_key, owner=record.key_id, field=PRIVATE_KEY)
        key = load_pem_private_key(pem.encode(), password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError("a signing key is not an elliptic-curve key")
        return SigningKey(record.key_id, key)


def _new_record(vault: Vault) -> SigningKeyRecord:
    private_key = ec.generate_private_key(ec.SECP256R1())
    pem = private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    public_jwk = _public_jwk(private_key.public_key())
    key_id = public_jwk["kid"]
    return SigningKeyRecord(key_id, public_jwk, vault.seal(pem, owner=key_id, field=PRIVATE_KEY))


def _public_jwk(key: ec.EllipticCurvePublicKey) -> dict[str, str]:
    """The key as it is published (RFC 7518, section 6.2.1), named by its thumbprint (RFC 7638)."""
    numbers = key.public_numbers()
    required = {"crv": "P-256", "kty": "EC", "x": _encoded(numbers.x), "y": _encoded(numbers.y)}
    canonical = json.dumps(required, sort_keys=True, separators=(",", ":"))
    thumbprint = urlsafe_b64encode(hashlib.sha256(canonical.encode()).digest()).decode().rstrip("=")
    return {**required, "use": "sig", "alg": "ES256", "kid": thumbprint}


def _encoded(coordinate: int) -> str:
    return urlsafe_b64encode(coordinate.to_bytes(_COORDINATE_BYTES)).decode().rstrip("=")
