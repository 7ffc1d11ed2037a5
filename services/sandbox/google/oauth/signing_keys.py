"""RSA keys that sign ID tokens and push tokens, published as a JWK set (RFC 7517)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from jwt.algorithms import RSAAlgorithm

KEYS_KEPT = 3
"""The last signer, the signer and the one after it: what Google publishes around a rotation."""


def new_private_key() -> RSAPrivateKey:
    """A key as Google has them."""
    return generate_private_key(public_exponent=65537, key_size=2048)


@dataclass(frozen=True, slots=True)
class _Key:
    kid: str
    private: RSAPrivateKey

    def public_jwk(self) -> dict[str, str]:
        numbers: dict[str, Any] = RSAAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        return {"kty": "RSA", "alg": "RS256", "use": "sig", "kid": self.kid, "n": numbers["n"], "e": numbers["e"]}


class SigningKeys:
    """A signer and a published successor. Signs RS256 only."""

    def __init__(self, new_id: Callable[[], str], *, new_key: Callable[[], RSAPrivateKey] = new_private_key) -> None:
        self._new_id = new_id
        self._new_key = new_key
        self._keys = [self._generate(), self._generate()]
        self._signer = self._keys[0]

    def sign(self, claims: Mapping[str, object]) -> str:
        """A compact JWT with `kid` and `typ` in its header."""
        return jwt.encode(dict(claims), self._signer.private, algorithm="RS256", headers={"kid": self._signer.kid})

    def verify(self, token: str, *, audience: str | None = None) -> dict[str, Any]:
        """The claims of a token that a published key signed, whatever its times; jwt.InvalidTokenError otherwise."""
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
        """What the JWKS address answers."""
        return {"keys": [key.public_jwk() for key in self._keys]}

    def rotate(self, *, announced: bool, keep_old: bool) -> str:
        """Change the signer and return its `kid`.

        Announced: the published successor takes over. Otherwise a key nobody has seen signs at once, which clients
        meet when their cache outlives a rotation. Without `keep_old` tokens signed before stop verifying.
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
