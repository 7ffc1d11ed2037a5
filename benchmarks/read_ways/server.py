"""Configuration and authentication of both alternatives that serve lists."""

import json
import sys
from dataclasses import asdict, dataclass
from typing import Self

import jwt
import uvicorn
from starlette.types import ASGIApp

POOL = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """Configuration: `dsn` of the mail database, `keys` is auth's JSON Web Key Set, `port` to listen on."""

    dsn: str
    issuer: str
    keys: str
    port: int

    def dumps(self) -> str:
        """Serialize for the stdin of another process."""
        return json.dumps(asdict(self))

    @classmethod
    def given(cls) -> Self:
        """Read from stdin."""
        return cls(**json.loads(sys.stdin.read()))


class Tokens:
    """Verifies access tokens as the gateway does."""

    def __init__(self, config: ServerConfig) -> None:
        self._keys = {key.key_id: key for key in jwt.PyJWKSet.from_json(config.keys).keys}
        self._issuer = config.issuer

    def user_id(self, token: str) -> str:
        """Return the user of a token. Raises jwt.PyJWTError."""
        key = self._keys[jwt.get_unverified_header(token)["kid"]]
        claims = jwt.decode(token, key, algorithms=["ES256"], issuer=self._issuer, audience=self._issuer)
        return str(claims["sub"])


def serve(app: ASGIApp, config: ServerConfig) -> None:
    """Serve as the gateway does: uvloop, httptools, no access log."""
    uvicorn.run(app, host="127.0.0.1", port=config.port, loop="uvloop", http="httptools", log_level="warning")
