"""RSA keys that sign ID tokens and push tokens, published as a JWK set (RFC 7517) and as certificates (RFC 5280)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from jwt.algorithms import RSAAlgorithm

CERTIFICATE_NAME = "federated-signon.system.gserviceaccount.com"
_CERTIFICATE_LIFETIME = timedelta(days=16)
KEYS_KEPT = 3
"""The previous signer, the signer and its successor, which Google publishes around a rotation."""


def new_private_key() -> RSAPrivateKey:
    """Generate a key of Google's size."""
    return generate_private_key(public_exponent=65537, key_size=2048)


@dataclass(frozen=True, slots=True)
class _Key:
    kid: str
    private: RSAPrivateKey

    def public_jwk(self) -> dict[str, str]:
        numbers: dict[str, Any] = RSAAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        return {"kty": "RSA", "alg": "RS256", "use": "sig", "kid": self.kid, "n": numbers["n"], "e": numbers["e"]}

    def certificate(self, now: float) -> str:
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, CERTIFICATE_NAME)])
        begin = datetime.fromtimestamp(now, UTC) - timedelta(days=1)
        unsigned = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self.private.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(begin + _CERTIFICATE_LIFETIME)
        )
        return unsigned.sign(self.private, SHA256()).public_bytes(Encoding.PEM).decode()


class SigningKeys:
    """A signer and its published successor. Signs RS256 only."""

    def __init__(self, new_id: Callable[[], str], *, new_key: Callable[[], RSAPrivateKey] = new_private_key) -> None:
        self._new_id = new_id
        self._new_key = new_key
        self._keys = [self._generate(), self._generate()]
        self._signer = self._keys[0]

    def sign(self, claims: Mapping[str, object]) -> str:
        """Return a compact JWT with `kid` and `typ` in its header."""
        return jwt.encode(dict(claims), self._signer.private, algorithm="RS256", headers={"kid": self._signer.kid})

    def verify(self, token: str, *, audience: str | None = None) -> dict[str, Any]:
        """Return the claims of a token signed by a published key, regardless of times. Raises jwt.InvalidTokenError."""
        kid = jwt.get_unverified_header(token).get("kid")
        key = next((key for key in self._keys if key.kid == kid), None)
        if key is None:
            raise jwt.InvalidKeyError("no published key signed this token")
        options: Any = {"verify_exp": False, "verify_iat": False, "verify_aud": audience is not None}
        claims: dict[str, Any] = jwt.decode(
            token, key.private.public_key(), algorithms=["RS256"], audience=audience, options=options
        )
        return claims

    def public_set(self) -> dict[str, list[dict[str, str]]]:
        """Return the JWK set."""
        return {"keys": [key.public_jwk() for key in self._keys]}

    def certificates(self, *, now: float) -> dict[str, str]:
        """Return a self-signed certificate (PEM) of each public key by `kid`, valid around `now` (epoch seconds)."""
        return {key.kid: key.certificate(now) for key in self._keys}

    def rotate(self, *, announced: bool, keep_old: bool) -> str:
        """Change the signer. Returns its `kid`.

        Announced: the published successor takes over. Otherwise an unpublished key signs at once, which clients meet
        when their cache outlives a rotation. Without `keep_old` tokens signed earlier no longer verify.
        """
        fresh = self._generate()
        position = self._keys.index(self._signer)
        self._signer = self._keys[position + 1] if announced else fresh
        published = [*self._keys, fresh] if announced else [*self._keys[: position + 1], fresh, self._generate()]
        start = published.index(self._signer) if not keep_old else -KEYS_KEPT
        self._keys = published[start:]
        return self._signer.kid

    def _generate(self) -> _Key:
        return _Key(self._new_id(), self._new_key())
