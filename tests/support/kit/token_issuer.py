"""An issuer of JSON Web Tokens with the keys that it publishes."""

import json
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from services.kit.jwks import KeysUnavailableError, PublishedKeys

NOW = 1_800_000_000.0
ISSUER = "https://issuer.example"
AUDIENCE = "https://audience.example"


class TokenIssuer:
    """Signs ES256 tokens. `fetches` counts how often the keys were fetched; `failure` makes the next fetches fail."""

    def __init__(self, *key_ids: str, max_age: float = 600) -> None:
        self.private_keys = {key_id: ec.generate_private_key(ec.SECP256R1()) for key_id in key_ids}
        self.max_age = max_age
        self.fetches = 0
        self.failure: str | None = None
        self.document: bytes | None = None

    def add_key(self, key_id: str) -> None:
        """Publish one more key."""
        self.private_keys[key_id] = ec.generate_private_key(ec.SECP256R1())

    def jwk(self, key_id: str) -> dict[str, Any]:
        """The public key as it is published."""
        public: dict[str, Any] = jwt.algorithms.ECAlgorithm.to_jwk(self.private_keys[key_id].public_key(), as_dict=True)
        return public | {"kid": key_id, "alg": "ES256", "use": "sig"}

    async def fetch(self) -> PublishedKeys:
        """The published set; the port of a KeySet."""
        self.fetches += 1
        if self.failure is not None:
            raise KeysUnavailableError(self.failure)
        return PublishedKeys(self.document or self.key_set(), max_age=self.max_age)

    def key_set(self) -> bytes:
        """The JSON Web Key Set."""
        return json.dumps({"keys": [self.jwk(key_id) for key_id in self.private_keys]}).encode()

    def claims(self, **changed: object) -> dict[str, Any]:
        """Claims that hold at NOW. A claim that is None is left out."""
        usual = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ada", "iat": int(NOW), "exp": int(NOW) + 60}
        return {name: value for name, value in (usual | changed).items() if value is not None}

    def sign(self, key_id: str, claims: dict[str, Any], **header: object) -> str:
        """A token with these claims; unlike `jwt.encode` it also signs claims of a wrong type."""
        headers = {"kid": key_id, "typ": "at+jwt", **header}
        return jwt.api_jws.encode(json.dumps(claims).encode(), self.private_keys[key_id], "ES256", headers)
