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
    """An issuer of ES256 tokens. `fetches` counts fetches of its keys, which fail while `failure` is set."""

    def __init__(self, *key_ids: str, max_age: float = 600) -> None:
        self.private_keys = {key_id: ec.generate_private_key(ec.SECP256R1()) for key_id in key_ids}
        self.max_age = max_age
        self.fetches = 0
        self.failure: str | None = None
        self.document: bytes | None = None

    def add_key(self, key_id: str) -> None:
        """Publish another key."""
        self.private_keys[key_id] = ec.generate_private_key(ec.SECP256R1())

    def jwk(self, key_id: str) -> dict[str, Any]:
        """Return the published form of a key."""
        public: dict[str, Any] = jwt.algorithms.ECAlgorithm.to_jwk(self.private_keys[key_id].public_key(), as_dict=True)
        return public | {"kid": key_id, "alg": "ES256", "use": "sig"}

    async def fetch(self) -> PublishedKeys:
        """Fetch the published set, for a KeySet."""
        self.fetches += 1
        if self.failure is not None:
            raise KeysUnavailableError(self.failure)
        return PublishedKeys(self.document or self.key_set(), max_age=self.max_age)

    def key_set(self) -> bytes:
        """Return the JSON Web Key Set."""
        return json.dumps({"keys": [self.jwk(key_id) for key_id in self.private_keys]}).encode()

    def claims(self, **changed: object) -> dict[str, Any]:
        """Return claims that are valid at NOW. A claim that is None is left out."""
        usual = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ada", "iat": int(NOW), "exp": int(NOW) + 60}
        return {name: value for name, value in (usual | changed).items() if value is not None}

    def sign(self, key_id: str, claims: dict[str, Any], **header: object) -> str:
        """Sign a token with these claims. Unlike `jwt.encode` it accepts claims of a wrong type."""
        headers = {"kid": key_id, "typ": "at+jwt", **header}
        return jwt.api_jws.encode(json.dumps(claims).encode(), self.private_keys[key_id], "ES256", headers)
