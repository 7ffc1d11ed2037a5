"""The keys of our access tokens: created once, shared by all processes, encrypted."""

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta
from uuid import uuid4

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from services.auth.cipher import Cipher, DecryptionError
from services.auth.sessions.access_tokens import LIFETIME, AccessTokens
from services.auth.sessions.signing_keys import PUBLISHED_AFTER, PUBLISHED_AHEAD, REREAD, SigningKeys
from services.auth.settings import AuthSettings
from services.auth.store.tables import signing_keys
from services.auth.store.transaction import Store
from tests.support.auth.client import SECRET_KEY
from tests.support.auth.clock import Time


@pytest.fixture
def cipher() -> Cipher:
    return Cipher(SECRET_KEY, previous=None)


class TestCurrent:
    async def test_is_the_same_for_processes_that_start_at_once(
        self, fresh_engine: AsyncEngine, cipher: Cipher
    ) -> None:
        processes = [SigningKeys(store=Store(fresh_engine), cipher=cipher, clock=Time().now) for _ in range(5)]
        keys = await asyncio.gather(*[process.current() for process in processes])
        assert len({key.key_id for key in keys}) == 1
        [published] = json.loads(await processes[0].jwks())["keys"]
        assert published["kid"] == keys[0].key_id

    async def test_does_not_open_with_another_secret(self, fresh_engine: AsyncEngine, cipher: Cipher) -> None:
        await SigningKeys(store=Store(fresh_engine), cipher=cipher, clock=Time().now).current()
        other = SigningKeys(store=Store(fresh_engine), cipher=Cipher("w" * 32, previous=None), clock=Time().now)
        with pytest.raises(DecryptionError):
            await other.current()

    async def test_is_stored_encrypted(self, fresh_engine: AsyncEngine, cipher: Cipher) -> None:
        key = await SigningKeys(store=Store(fresh_engine), cipher=cipher, clock=Time().now).current()
        async with fresh_engine.connect() as connection:
            [stored] = await connection.scalars(select(signing_keys.c.private_key))
        assert stored.startswith(cipher.header)
        der = key.private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        assert der not in stored
        assert b"PRIVATE KEY" not in stored

    async def test_whose_row_was_deleted_is_replaced_within_a_minute(
        self, fresh_engine: AsyncEngine, cipher: Cipher
    ) -> None:
        time = Time()
        keys = SigningKeys(store=Store(fresh_engine), cipher=cipher, clock=time.now)
        leaked = await keys.current()
        async with fresh_engine.begin() as connection:
            await connection.execute(signing_keys.delete())
        time.advance(REREAD.total_seconds())
        fresh = await keys.current()
        assert fresh.key_id != leaked.key_id
        assert [key["kid"] for key in json.loads(await keys.jwks())["keys"]] == [fresh.key_id]


class TestJwks:
    async def test_is_never_empty_and_has_public_members_only(self, fresh_engine: AsyncEngine, cipher: Cipher) -> None:
        [key] = json.loads(await SigningKeys(store=Store(fresh_engine), cipher=cipher, clock=Time().now).jwks())["keys"]
        assert set(key) == {"kty", "crv", "x", "y", "use", "alg", "kid"}
        assert (key["kty"], key["crv"], key["alg"], key["use"]) == ("EC", "P-256", "ES256", "sig")

    async def test_verifies_tokens_after_a_restart(
        self, fresh_engine: AsyncEngine, cipher: Cipher, make_settings: Callable[..., AuthSettings]
    ) -> None:
        time, user_id = Time(), uuid4()
        access_tokens = AccessTokens(
            signing_keys=SigningKeys(store=Store(fresh_engine), cipher=cipher, clock=Time().now),
            issuer=make_settings().issuer,
            clock=time.now,
            new_id=uuid4,
        )
        session_id, ends = uuid4(), time.now() + timedelta(days=1)
        token = await access_tokens.issue(
            user_id, session_id=session_id, signed_in_at=time.now(), session_expires_at=ends
        )
        restarted = SigningKeys(store=Store(fresh_engine), cipher=cipher, clock=Time().now)
        keys = jwt.PyJWKSet.from_json(await restarted.jwks())
        header = jwt.get_unverified_header(token.value)
        claims = jwt.decode(token.value, keys[header["kid"]], algorithms=["ES256"], audience="https://mailroom.example")
        assert header == {"alg": "ES256", "typ": "at+jwt", "kid": header["kid"]}
        assert set(claims) == {"iss", "aud", "sub", "client_id", "iat", "exp", "jti", "sid", "auth_time"}
        assert claims["sid"] == str(session_id)
        assert claims["sub"] == str(user_id)
        assert claims["iss"] == "https://mailroom.example"
        assert claims["exp"] == int(token.expires_at.timestamp())


class TestRotate:
    @pytest.fixture
    def time(self) -> Time:
        return Time()

    @pytest.fixture
    def keys(self, fresh_engine: AsyncEngine, cipher: Cipher, time: Time) -> SigningKeys:
        return SigningKeys(store=Store(fresh_engine), cipher=cipher, clock=time.now)

    async def test_publishes_the_next_key_before_it_signs(self, keys: SigningKeys, time: Time) -> None:
        old = (await keys.current()).key_id
        new = await keys.rotate()
        assert await published(keys) == {old, new}
        time.advance(PUBLISHED_AHEAD.total_seconds() - 1)
        assert (await keys.current()).key_id == old
        time.advance(1 + REREAD.total_seconds())
        assert (await keys.current()).key_id == new

    async def test_publishes_the_old_key_until_its_tokens_have_expired(self, keys: SigningKeys, time: Time) -> None:
        old = (await keys.current()).key_id
        new = await keys.rotate()
        time.advance((PUBLISHED_AHEAD + PUBLISHED_AFTER).total_seconds() - 1)
        await keys.rotate(older_than=timedelta(days=30))
        assert await published(keys) == {old, new}
        time.advance(1)
        await keys.rotate(older_than=timedelta(days=30))
        assert await published(keys) == {new}
        assert PUBLISHED_AFTER > LIFETIME + REREAD

    async def test_happens_on_schedule(self, keys: SigningKeys, time: Time) -> None:
        await keys.current()
        assert await keys.rotate(older_than=timedelta(days=30)) is None
        time.advance(timedelta(days=30).total_seconds())
        assert await keys.rotate(older_than=timedelta(days=30)) is not None

    async def test_makes_one_key_however_often_it_is_asked(
        self, keys: SigningKeys, fresh_engine: AsyncEngine, cipher: Cipher, time: Time
    ) -> None:
        await keys.current()
        time.advance(1)
        processes = [SigningKeys(store=Store(fresh_engine), cipher=cipher, clock=time.now) for _ in range(4)]
        made = await asyncio.gather(*[process.rotate() for process in processes])
        assert sum(key is not None for key in made) == 1
        assert len(await published(keys)) == 2


async def published(keys: SigningKeys) -> set[str]:
    """Return the ids of the published keys."""
    return {key["kid"] for key in json.loads(await keys.jwks())["keys"]}
