"""What both other ways of serving lists share: where they find things, and who is asking."""

import json
import sys
from dataclasses import asdict, dataclass
from typing import Self

import jwt
import uvicorn
from starlette.types import ASGIApp

POOL = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """`dsn` names the mail database, `keys` is auth's JSON Web Key Set, `port` is where to serve."""

    dsn: str
    issuer: str
    keys: str
    port: int

    def dumps(self) -> str:
        """For the stdin of another process."""
        return json.dumps(asdict(self))

    @classmethod
    def given(cls) -> Self:
        """What this process was given."""
        return cls(**json.loads(sys.stdin.read()))


class Tokens:
    """Verifies access tokens as the gateway does."""

    def __init__(self, place: Place) -> None:
        self._keys = {key.key_id: key for key in jwt.PyJWKSet.from_json(place.keys).keys}
        self._issuer = place.issuer

    def user_id(self, token: str) -> str:
        """The user of a token. Raises jwt.PyJWTError."""
        key = self._keys[jwt.get_unverified_header(token)["kid"]]
        claims = jwt.decode(token, key, algorithms=["ES256"], issuer=self._issuer, audience=self._issuer)
        return str(claims["sub"])


def serve(app: ASGIApp, place: Place) -> None:
    """Serves as the gateway does: uvloop, httptools, no access log."""
    uvicorn.run(app, host="127.0.0.1", port=place.port, loop="uvloop", http="httptools", log_level="warning")
