"""The cache of published keys: when it fetches, and how it works while it cannot."""

import asyncio
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from structlog.testing import capture_logs

from services.kit.jwks import UNKNOWN_KEY_INTERVAL, KeySet, KeysUnavailableError
from tests.support.kit.token_issuer import TokenIssuer

MAX_AGE = 600.0
RETRY = 10.0


class Clock:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class SlowIssuer(TokenIssuer):
    """An issuer that answers a fetch once it is released."""

    def __init__(self, *key_ids: str) -> None:
        super().__init__(*key_ids, max_age=MAX_AGE)
        self.released = asyncio.Event()
        self.released.set()
        self.asked = asyncio.Event()

    async def fetch(self) -> Any:
        self.asked.set()
        await self.released.wait()
        return await super().fetch()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def key_set(issuer: TokenIssuer, clock: Clock) -> KeySet:
    return KeySet(issuer.fetch, algorithm="ES256", retry_interval=RETRY, monotonic=clock)


class TestFreshSet:
    async def test_is_fetched_once_for_many_keys(self, clock: Clock) -> None:
        issuer = TokenIssuer("a", "b")
        keys = key_set(issuer, clock)
        found = [await keys.find(key_id) for key_id in ("a", "b", "a")]
        assert [key and key.key_id for key in found] == ["a", "b", "a"]
        assert issuer.fetches == 1

    async def test_is_fetched_again_for_an_unknown_key_at_most_once_a_minute(self, clock: Clock) -> None:
        issuer = TokenIssuer("a")
        keys = key_set(issuer, clock)
        await keys.find("a")
        issuer.add_key("b")
        assert await keys.find("b") is not None
        issuer.add_key("c")
        assert [await keys.find(key_id) for key_id in ("c", "forged", None)] == [None, None, None]
        assert issuer.fetches == 2
        clock.now += UNKNOWN_KEY_INTERVAL
        assert await keys.find("c") is not None
        assert issuer.fetches == 3

    async def test_is_fetched_once_for_many_callers_at_a_time(self, clock: Clock) -> None:
        issuer = SlowIssuer("a")
        keys = key_set(issuer, clock)
        found = await asyncio.gather(*(keys.find("a") for _ in range(20)))
        assert None not in found
        assert issuer.fetches == 1

    async def test_has_a_key_for_no_id_only_if_it_is_the_only_one(self, clock: Clock) -> None:
        assert await key_set(TokenIssuer("a"), clock).find(None) is not None
        assert await key_set(TokenIssuer("a", "b"), clock).find(None) is None


class TestStaleSet:
    async def test_is_used_meanwhile_by_all_callers_but_the_one_that_renews_it(self, clock: Clock) -> None:
        issuer = SlowIssuer("a")
        keys = key_set(issuer, clock)
        await keys.find("a")
        clock.now += MAX_AGE
        issuer.released.clear()
        issuer.asked.clear()
        renewing = asyncio.create_task(keys.find("a"))
        await issuer.asked.wait()
        async with asyncio.timeout(30):
            assert await keys.find("a") is not None
        assert not renewing.done()
        issuer.released.set()
        assert await renewing is not None
        assert issuer.fetches == 2

    async def test_stays_in_use_while_it_cannot_be_renewed(self, clock: Clock) -> None:
        issuer = TokenIssuer("a", max_age=MAX_AGE)
        keys = key_set(issuer, clock)
        await keys.find("a")
        issuer.failure = "HTTP 503"
        clock.now += MAX_AGE
        with capture_logs() as logs:
            for _ in range(5):
                assert await keys.find("a") is not None
        assert [(entry["log_level"], entry["reason"], entry["kept"]) for entry in logs] == [
            ("warning", "HTTP 503", True)
        ]
        assert issuer.fetches == 2
        clock.now += RETRY
        issuer.failure = None
        assert await keys.find("a") is not None
        assert issuer.fetches == 3

    async def test_without_a_withdrawn_key_refuses_it_once_renewed(self, clock: Clock) -> None:
        issuer = TokenIssuer("a", "b", max_age=MAX_AGE)
        keys = key_set(issuer, clock)
        assert await keys.find("a") is not None
        del issuer.private_keys["a"]
        clock.now += MAX_AGE
        assert await keys.find("a") is None


class TestFailedFetch:
    async def test_is_unavailable_and_not_tried_again_before_the_retry_interval(self, clock: Clock) -> None:
        issuer = TokenIssuer("a")
        issuer.failure = "timed out"
        keys = key_set(issuer, clock)
        for _ in range(5):
            with pytest.raises(KeysUnavailableError, match="timed out"):
                await keys.find("a")
        assert issuer.fetches == 1
        issuer.failure = None
        clock.now += RETRY
        assert await keys.find("a") is not None

    async def test_leaves_open_whether_an_unknown_key_is_published(self, clock: Clock) -> None:
        issuer = TokenIssuer("a")
        keys = key_set(issuer, clock)
        await keys.find("a")
        issuer.add_key("b")
        issuer.failure = "HTTP 503"
        with pytest.raises(KeysUnavailableError):
            await keys.find("b")
        assert await keys.find("a") is not None
        issuer.failure = None
        clock.now += RETRY
        assert await keys.find("b") is not None
        assert await keys.find("c") is None

    @pytest.mark.parametrize("document", [b"<p>keys</p>", b"[]", b"{}", b'{"keys": {}}', b"\xff", b"[" * 100_000])
    async def test_is_one_that_brings_no_key_set(self, clock: Clock, document: bytes) -> None:
        issuer = TokenIssuer("a")
        issuer.document = document
        with pytest.raises(KeysUnavailableError, match=r"not JSON|not a key set"):
            await key_set(issuer, clock).find("a")


class TestDocument:
    async def test_is_the_set_as_published(self, clock: Clock) -> None:
        issuer = TokenIssuer("a", max_age=MAX_AGE)
        keys = key_set(issuer, clock)
        assert await keys.document() == issuer.key_set()
        await keys.document()
        assert issuer.fetches == 1

    async def test_stays_published_while_a_newer_one_cannot_be_fetched(self, clock: Clock) -> None:
        issuer = TokenIssuer("a", max_age=MAX_AGE)
        keys = key_set(issuer, clock)
        first = await keys.document()
        issuer.failure = "HTTP 503"
        clock.now += MAX_AGE
        assert await keys.document() == first

    async def test_is_unavailable_before_the_first_fetch_succeeds(self, clock: Clock) -> None:
        issuer = TokenIssuer("a")
        issuer.failure = "HTTP 503"
        with pytest.raises(KeysUnavailableError):
            await key_set(issuer, clock).document()


class TestShortKeys:
    @pytest.mark.parametrize(("bits", "is_used"), [(1024, False), (2047, False), (2048, True)])
    async def test_of_rsa_are_no_keys(self, clock: Clock, bits: int, is_used: bool) -> None:
        issuer = TokenIssuer()
        public = rsa.generate_private_key(public_exponent=65537, key_size=bits).public_key()
        entry = jwt.algorithms.RSAAlgorithm.to_jwk(public, as_dict=True) | {"kid": "a", "alg": "RS256", "use": "sig"}
        issuer.document = json.dumps({"keys": [entry]}).encode()
        keys = KeySet(issuer.fetch, algorithm="RS256", retry_interval=RETRY, monotonic=clock)
        assert (await keys.find("a") is not None) is is_used


class TestKeysOfOtherKinds:
    @pytest.mark.parametrize("changed", [{"use": "enc"}, {"alg": "ES384"}, {"kty": "RSA"}, {"kty": None}, {"x": "!"}])
    async def test_are_skipped(self, clock: Clock, changed: dict[str, Any]) -> None:
        issuer = TokenIssuer("a")
        other = issuer.jwk("a") | {"kid": "other"} | changed
        issuer.document = json.dumps({"keys": [other, issuer.jwk("a")]}).encode()
        keys = key_set(issuer, clock)
        assert await keys.find("a") is not None
        assert await keys.find("other") is None

    @pytest.mark.parametrize("entry", [5, None, [], {}])
    async def test_may_be_no_keys_at_all(self, clock: Clock, entry: Any) -> None:
        issuer = TokenIssuer("a")
        issuer.document = json.dumps({"keys": [entry, issuer.jwk("a")]}).encode()
        assert await key_set(issuer, clock).find("a") is not None
