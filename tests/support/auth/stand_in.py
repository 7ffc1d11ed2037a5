"""An OpenID provider other than Google, strict about the protocol, with deviations that a test sets.

The sandbox serves wherever Google's behaviour and its faults suffice (tests/auth/sign_in/test_with_sandbox.py and
tests/e2e). It is faithful to Google. These tests need other things: rotation of refresh tokens and the end of a grant
on reuse (RFC 9700), ID tokens with wrong claims, keys or algorithms, missing and malformed fields of responses, offline
access always or never, and requests that wait until a test releases them.
"""

import asyncio
import base64
import hashlib
import json
import secrets
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.support.sandbox.key_ring import next_key

CLIENT_ID = "client.example"
CLIENT_SECRET = "client-secret"
REDIRECT_URI = "http://localhost:8000/auth/google/callback"
MAIL_SCOPE = "https://www.googleapis.com/auth/gmail.readonly"


@dataclass
class Person:
    """An account at the provider."""

    subject: str
    email: str
    email_verified: Any = True


class Gate:
    """A gate that holds requests until a test opens it."""

    def __init__(self) -> None:
        self._arrived = asyncio.Event()
        self._opened = asyncio.Event()

    async def pass_through(self) -> None:
        """Hold a request until the gate is open."""
        self._arrived.set()
        await self._opened.wait()

    async def arrival(self) -> None:
        """Wait for the first request."""
        async with asyncio.timeout(30):
            await self._arrived.wait()

    def open(self) -> None:
        """Release all requests."""
        self._opened.set()


@dataclass
class Deviations:
    """The differences of the provider from Google. A new object resets them."""

    lifetime: Any = 3599
    rotates: bool = False
    # RFC 9700, section 4.14.2: a spent refresh token ends the grant.
    revokes_on_reuse: bool = False
    always_consents: bool = False
    never_offline: bool = False
    omitted: frozenset[str] = frozenset()
    extra: dict[str, Any] = field(default_factory=dict)
    claims: dict[str, Any] = field(default_factory=dict)
    userinfo: dict[str, Any] | None = None
    id_token: str | None = None
    jwks_answer: Response | None = None
    names_keys: bool = True
    token_answers: list[Response] = field(default_factory=list)
    revoke_answer: Response | None = None
    # Holds a revocation before it is carried out.
    revoke_gate: Gate | None = None
    # Holds the answer of a revocation that has been carried out.
    revoke_answer_gate: Gate | None = None
    # A revocation is carried out, and answered with an error.
    revoke_answer_is_lost: bool = False
    token_gate: Gate | None = None
    # Holds the response of a request that has been carried out.
    answer_gate: Gate | None = None


@dataclass
class _Code:
    person: Person
    scope: str
    challenge: str
    nonce: str
    offline: bool


class StandIn:
    """The provider's state and its ASGI application."""

    def __init__(self) -> None:
        self.origin = "http://stand-in.example"
        self.deviations = Deviations()
        self.calls: Counter[str] = Counter()
        self.refresh_tokens: dict[str, tuple[Person, str]] = {}
        self.access_tokens: dict[str, Person] = {}
        self._codes: dict[str, _Code] = {}
        self._consented: set[str] = set()
        self._spent: dict[str, Person] = {}
        self._issued: dict[str, Person] = {}
        self._revoked: Counter[str] = Counter()
        self._keys: dict[str, rsa.RSAPrivateKey] = {}
        self.rotate_keys()
        self.app = Starlette(
            routes=[
                Route("/token", self._token, methods=["POST"]),
                Route("/userinfo", self._userinfo),
                Route("/jwks", self._jwks),
                Route("/revoke", self._revoke, methods=["POST"]),
            ]
        )

    def rotate_keys(self) -> None:
        """Replace the signing key."""
        self._keys = {secrets.token_hex(4): next_key()}

    def person(self, *, email: str | None = None, email_verified: Any = True) -> Person:
        """Create an account."""
        subject = str(secrets.randbits(68))
        return Person(subject, email or f"user{subject}@example.com", email_verified)

    def consent(self, authorization_url: str, person: Person, *, granted: str | None = None) -> dict[str, str]:
        """Consent in the browser and return the parameters of the redirect. `granted` are the scopes left ticked."""
        query = {name: values[0] for name, values in parse_qs(urlsplit(authorization_url).query).items()}
        assert query["client_id"] == CLIENT_ID
        assert query["redirect_uri"] == REDIRECT_URI
        assert query["response_type"] == "code"
        assert query["code_challenge_method"] == "S256"
        assert query["access_type"] == "offline"
        scope = query["scope"] if granted is None else granted
        fresh = person.subject not in self._consented or query.get("prompt") == "consent"
        code = f"4/0{secrets.token_urlsafe(24)}"
        self._codes[code] = _Code(
            person=person,
            scope=scope,
            challenge=query["code_challenge"],
            nonce=query["nonce"],
            offline=(fresh or self.deviations.always_consents) and not self.deviations.never_offline,
        )
        self._consented.add(person.subject)
        return {"state": query["state"], "code": code, "iss": self.origin}

    def revoke_everything(self, person: Person) -> None:
        """End the grants of the account, as a user does in their account settings."""
        self.refresh_tokens = {token: entry for token, entry in self.refresh_tokens.items() if entry[0] != person}
        self._consented.discard(person.subject)

    def sign(self, claims: dict[str, Any], *, headers: dict[str, Any] | None = None) -> str:
        """Sign a token with the current key."""
        [(key_id, key)] = self._keys.items()
        named = {"kid": key_id} if self.deviations.names_keys else {}
        # `jwt.encode` refuses malformed claims.
        return jwt.api_jws.encode(json.dumps(claims).encode(), key, algorithm="RS256", headers=named | (headers or {}))

    def jwks(self) -> list[dict[str, Any]]:
        """Return the published keys."""
        keys = []
        for key_id, key in self._keys.items():
            public = jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
            named = {"kid": key_id} if self.deviations.names_keys else {}
            keys.append({**public, **named, "alg": "RS256", "use": "sig"})
        return keys

    def id_claims(self, person: Person, *, nonce: str, access_token: str) -> dict[str, Any]:
        """Return the claims of a valid ID token."""
        digest = hashlib.sha256(access_token.encode()).digest()[:16]
        now = int(time.time())
        return {
            "iss": self.origin,
            "sub": person.subject,
            "aud": CLIENT_ID,
            "azp": CLIENT_ID,
            "iat": now,
            "exp": now + 3600,
            "nonce": nonce,
            "email": person.email,
            "email_verified": person.email_verified,
            "at_hash": base64.urlsafe_b64encode(digest).decode().rstrip("="),
        }

    async def _token(self, request: Request) -> Response:
        form = {name: str(value) for name, value in (await request.form()).items()}
        self.calls[form.get("grant_type", "none")] += 1
        if self.deviations.token_gate is not None:
            await self.deviations.token_gate.pass_through()
        if self.deviations.token_answers:
            return self.deviations.token_answers.pop(0)
        if (form.get("client_id"), form.get("client_secret")) != (CLIENT_ID, CLIENT_SECRET):
            return _error(401, "invalid_client")
        answer = self._refresh(form) if form["grant_type"] == "refresh_token" else self._exchange(form)
        if self.deviations.answer_gate is not None:
            await self.deviations.answer_gate.pass_through()
        return answer

    def _exchange(self, form: dict[str, str]) -> Response:
        code = self._codes.pop(form["code"], None)
        if code is None or form["redirect_uri"] != REDIRECT_URI:
            return _error(400, "invalid_grant")
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).decode()
        if challenge.rstrip("=") != code.challenge:
            return _error(400, "invalid_grant")
        answer = self._answer(code.person, code.scope)
        claims = self.id_claims(code.person, nonce=code.nonce, access_token=answer["access_token"])
        claims = {name: value for name, value in (claims | self.deviations.claims).items() if value is not None}
        answer["id_token"] = self.deviations.id_token or self.sign(claims)
        if code.offline:
            answer["refresh_token"] = self._new_refresh_token(code.person, code.scope)
        return self._shaped(answer)

    def _refresh(self, form: dict[str, str]) -> Response:
        entry = self.refresh_tokens.get(form["refresh_token"])
        if entry is None:
            if self.deviations.revokes_on_reuse and form["refresh_token"] in self._spent:
                self.revoke_everything(self._spent[form["refresh_token"]])
            return _error(400, "invalid_grant")
        answer = self._answer(*entry)
        if self.deviations.rotates:
            del self.refresh_tokens[form["refresh_token"]]
            self._spent[form["refresh_token"]] = entry[0]
            answer["refresh_token"] = self._new_refresh_token(*entry)
        return self._shaped(answer)

    def _answer(self, person: Person, scope: str) -> dict[str, Any]:
        token = f"ya29.{secrets.token_urlsafe(24)}"
        self.access_tokens[token] = person
        return {"access_token": token, "expires_in": self.deviations.lifetime, "scope": scope, "token_type": "Bearer"}

    def _new_refresh_token(self, person: Person, scope: str) -> str:
        token = f"1//{secrets.token_urlsafe(24)}"
        self.refresh_tokens[token] = (person, scope)
        self._issued[token] = person
        return token

    def _shaped(self, answer: dict[str, Any]) -> Response:
        kept = {name: value for name, value in answer.items() if name not in self.deviations.omitted}
        return JSONResponse(kept | self.deviations.extra)

    async def _userinfo(self, request: Request) -> Response:
        self.calls["userinfo"] += 1
        person = self.access_tokens.get(request.headers.get("authorization", "").removeprefix("Bearer "))
        if person is None:
            return Response(status_code=401, headers={"www-authenticate": 'Bearer error="invalid_token"'})
        usual = {"sub": person.subject, "email": person.email, "email_verified": person.email_verified}
        return JSONResponse(usual if self.deviations.userinfo is None else self.deviations.userinfo)

    async def _jwks(self, _: Request) -> Response:
        self.calls["jwks"] += 1
        if self.deviations.jwks_answer is not None:
            return self.deviations.jwks_answer
        return JSONResponse({"keys": self.jwks()}, headers={"cache-control": "public, max-age=3600"})

    def revocations_of(self, person: Person) -> int:
        """Return how often a grant of this person was to be revoked; those of other tests may be due meanwhile."""
        return sum(count for token, count in self._revoked.items() if self._issued.get(token) == person)

    async def _revoke(self, request: Request) -> Response:
        self.calls["revoke"] += 1
        form = await request.form()
        self._revoked[str(form["token"])] += 1
        if self.deviations.revoke_gate is not None:
            await self.deviations.revoke_gate.pass_through()
        if self.deviations.revoke_answer is not None:
            return self.deviations.revoke_answer
        if (form.get("client_id"), form.get("client_secret")) != (CLIENT_ID, CLIENT_SECRET):
            return _error(401, "invalid_client")
        entry = self.refresh_tokens.get(str(form["token"]))
        if entry is None:
            return _error(400, "invalid_token")
        self.revoke_everything(entry[0])
        if self.deviations.revoke_answer_gate is not None:
            await self.deviations.revoke_answer_gate.pass_through()
        if self.deviations.revoke_answer_is_lost:
            return _error(503, "temporarily_unavailable")
        return JSONResponse({})


def _error(status: int, error: str) -> Response:
    return JSONResponse({"error": error, "error_description": "Bad Request"}, status_code=status)
