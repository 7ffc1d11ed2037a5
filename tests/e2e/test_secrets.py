"""No secret of a sign-in, a sync and the reading afterwards is in any output, nor unencrypted in any column."""

import base64
import hashlib
import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import asyncpg
import httpx

from services.auth.cipher import Cipher
from services.auth.provider_grants.token_encryption import ACCESS_TOKEN, REFRESH_TOKEN
from services.auth.sessions.signing_keys import PRIVATE_KEY
from tests.support.e2e.people import Person, Provider
from tests.support.e2e.running_stack import RunningStack
from tests.support.e2e.trace_collector import TraceCollector

_DATABASES = ("auth", "mail")
_PROCESSES = ("sandbox", "auth", "mail", "worker", "deliverer", "gateway")


@dataclass
class Secrets:
    """Values that must not be found, by name. A name may have several values."""

    values: set[tuple[str, str]] = field(default_factory=set)

    def add(self, **named: str) -> None:
        assert all(len(value) >= 12 for value in named.values()), "too short to search for"
        self.values |= set(named.items())

    @property
    def names(self) -> set[str]:
        return {name for name, _ in self.values}

    def in_text(self, text: str) -> set[str]:
        """Return the names of the values in `text`: plain, URL-encoded, or as Postgres prints bytes."""
        return {
            name
            for name, value in self.values
            if value in text or quote(value, safe="") in text or value.encode().hex() in text
        }


def sign_in_and_read(http: httpx.Client, provider: Provider, found: Secrets) -> Person:
    """Sign in with PKCE, sync, read, refresh, and send many invalid requests; every secret is recorded."""
    email = provider.new_user(messages=20)
    verifier = secrets.token_urlsafe(48)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    started = http.get("/auth/google/start", params={"code_challenge": challenge, "code_challenge_method": "S256"})
    page = started.json()["authorization_url"]
    found.add(client_verifier=verifier, state=started.json()["state"], nonce=_query(page)["nonce"])
    callback = http.post(page, data={"account": email, "decision": "allow"}).headers["location"]
    found.add(code=_query(callback)["code"])
    login_code = _query(http.get(callback).headers["location"])["state"]
    found.add(login_code=login_code)
    # Twice: refusals are logged in more detail.
    http.get(callback)
    http.get(
        "/auth/google/callback", params={"state": login_code, "code": _query(callback)["code"], "iss": "x" + login_code}
    )
    redeeming = {"state": login_code, "code_verifier": verifier}
    tokens = http.post("/auth/token", json=redeeming).raise_for_status().json()
    assert http.post("/auth/token", json=redeeming).status_code == 400
    refreshed = http.post("/auth/refresh", json={"refresh_token": tokens["refresh_token"]}).raise_for_status().json()
    for answer in (tokens, refreshed):
        found.add(our_access_token=answer["access_token"], our_refresh_token=answer["refresh_token"])
        # The signature alone completes a token whose other parts are known.
        found.add(our_signature=answer["access_token"].split(".")[2])
    person = Person(http=http, email=email, token=refreshed["access_token"])
    person.sync()
    for message in person.emails(limit=5):
        assert person.get(f"/emails/{message['id']}/raw").status_code == 200
    assert http.get("/emails", headers={"Authorization": f"Bearer {person.token}x"}).status_code == 401
    return person


def outlive_the_token(person: Person, provider: Provider) -> None:
    """Let the provider's token expire and be replaced."""
    provider.post(f"/users/{person.email}/tokens/expire")
    provider.deliver(person.email, subject="after the token expired")
    person.sync()
    assert len(person.emails()) == 21


async def decrypt_columns(stack: RunningStack, person: Person, found: Secrets) -> None:
    """Record this person's provider tokens and our signing keys, decrypted from their columns."""
    cipher = Cipher(stack.variables["SECRET_KEY"], previous=None)
    database = await _connect(stack.variables, "auth")
    try:
        account_id = person.address()["account_id"]
        row = await database.fetchrow("SELECT * FROM provider_tokens WHERE account_id = $1::text::uuid", account_id)
        assert row is not None
        found.add(
            provider_access_token=cipher.decrypt(row[ACCESS_TOKEN], owner=account_id, field=ACCESS_TOKEN),
            provider_refresh_token=cipher.decrypt(row[REFRESH_TOKEN], owner=account_id, field=REFRESH_TOKEN),
        )
        for key in await database.fetch("SELECT * FROM signing_keys"):
            pem = cipher.decrypt(key[PRIVATE_KEY], owner=key["key_id"], field=PRIVATE_KEY)
            found.add(signing_key=_key_text(pem))
    finally:
        await database.close()


async def test_no_secret_is_in_any_output_or_column(
    stack: RunningStack, http: httpx.Client, provider: Provider, traces: TraceCollector
) -> None:
    found = Secrets()
    roles = ("AUTH_POSTGRES", "AUTH_POSTGRES_OWNER", "MAIL_POSTGRES", "MAIL_POSTGRES_OWNER", "WORKER_POSTGRES")
    for name in ("SECRET_KEY", "GOOGLE_CLIENT_SECRET", *(f"{role}_PASSWORD" for role in roles)):
        if name in stack.variables:
            found.add(**{name: stack.variables[name]})
    # Made by the stack: one per service, and the authority's.
    keys = [path.read_text() for path in Path(stack.variables["MAIL_CACHE_DIR"]).parent.glob("tls/*/*.key")]
    assert len(keys) == 4
    for pem in keys:
        found.add(service_key=_key_text(pem))
    person = sign_in_and_read(http, provider, found)
    await decrypt_columns(stack, person, found)
    outlive_the_token(person, provider)
    await decrypt_columns(stack, person, found)
    assert len([name for name, _ in found.values if name == "provider_access_token"]) == 2

    outputs = {name: stack.log_file(name).read_text(errors="replace") for name in _PROCESSES}
    assert all('"level": "debug"' in outputs[name] for name in _PROCESSES if name != "sandbox"), "not at debug level"
    for server in stack.servers.values():
        outputs[server.name] = server.log.read_text(errors="replace")
    outputs["traces"] = traces.file.read_text()
    columns = {place: text for service in _DATABASES async for place, text in _columns(stack.variables, service)}
    # Control: the search finds values that are meant to be there.
    visible = Secrets()
    visible.add(address=person.email)
    assert visible.in_text(columns["auth.accounts"]) == visible.in_text(columns["mail.mailboxes"]) == {"address"}
    # Traces have names of calls, and no data about users.
    assert "GET /auth/{provider}/callback" in outputs["traces"]
    assert person.email not in outputs["traces"]
    leaks = {place: names for place, text in {**outputs, **columns}.items() if (names := found.in_text(text))}
    assert leaks == {}
    assert {"state", "code", "login_code", "our_access_token", "provider_refresh_token", "SECRET_KEY"} <= found.names


def _key_text(pem: str) -> str:
    """Return the part of a key's first line that differs between keys."""
    return "".join(line for line in pem.splitlines() if "-" not in line)[:60]


def _query(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


async def _connect(variables: Mapping[str, str], service: str) -> "asyncpg.Connection[asyncpg.Record]":
    database = variables.get(f"{service.upper()}_POSTGRES_DB", f"{variables['POSTGRES_DB']}_{service}")
    return await asyncpg.connect(
        host=variables["POSTGRES_HOST"],
        port=int(variables["POSTGRES_PORT"]),
        user=variables["POSTGRES_USER"],
        password=variables["POSTGRES_PASSWORD"],
        database=database,
    )


async def _columns(variables: Mapping[str, str], service: str) -> AsyncIterator[tuple[str, str]]:
    """Return each table by name with all its rows as text, encrypted columns included."""
    database = await _connect(variables, service)
    try:
        for [table] in await database.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"):
            rows = await database.fetch(f'SELECT t::text FROM "{table}" t')  # noqa: S608 - the database's own word
            yield f"{service}.{table}", "\n".join(text for [text] in rows)
    finally:
        await database.close()
