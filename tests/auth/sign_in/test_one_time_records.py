"""Records of sign-ins in Redis: taken once, and bounded in number."""

import pytest
from pydantic import BaseModel
from redis.asyncio import Redis

from services.auth.cipher import Cipher
from services.auth.sign_in.one_time_records import OneTimeRecords
from services.kit.errors import AppError
from tests.support.auth.client import SECRET_KEY


class Note(BaseModel):
    """A record."""

    text: str


def records_in(redis: Redis, *, most: int, seconds: int = 60) -> OneTimeRecords[Note]:
    cipher = Cipher(SECRET_KEY, previous=None)
    return OneTimeRecords(redis=redis, cipher=cipher, kind="note", record_type=Note, seconds=seconds, most=most)


class TestRecord:
    async def test_is_taken_once(self, redis: Redis) -> None:
        records = records_in(redis, most=3)
        value = await records.put(Note(text="a"))
        assert [await records.take(value), await records.take(value)] == [Note(text="a"), None]
        assert await redis.keys("*note*") == []

    async def test_beyond_the_number_displaces_the_oldest(self, redis: Redis) -> None:
        records = records_in(redis, most=3)
        values = [await records.put(Note(text=str(number))) for number in range(50)]
        assert len(await redis.keys("auth:note:*")) == await redis.zcard("sign_in:notes") == 3
        assert await records.take(values[0]) is None
        assert [await records.take(value) for value in values[-3:]] == [Note(text=str(n)) for n in (47, 48, 49)]

    async def test_leaves_no_trace_after_its_time(self, redis: Redis) -> None:
        records = records_in(redis, most=3)
        await records.put(Note(text="a"))
        assert 0 < await redis.ttl("sign_in:notes") <= 60
        await redis.zadd("sign_in:notes", {"auth:note:expired": 1})
        await records.put(Note(text="b"))
        assert await redis.zscore("sign_in:notes", "auth:note:expired") is None

    async def test_is_refused_by_a_server_that_is_full(self, redis: Redis) -> None:
        records = records_in(redis, most=30)
        await records.put(Note(text="a"))
        stored = await redis.zcard("sign_in:notes")
        try:
            await redis.config_set("maxmemory", 1)
            with pytest.raises(AppError, match="service_unavailable"):
                await records.put(Note(text="b"))
        finally:
            await redis.config_set("maxmemory", 0)
        assert await redis.zcard("sign_in:notes") == stored

    async def test_of_strangers_leaves_room_in_redis(self, redis: Redis) -> None:
        records = records_in(redis, most=200)
        for number in range(200):
            await records.put(Note(text=str(number)))
        used = (await redis.info("memory"))["used_memory_dataset"]
        for number in range(2_000):
            await records.put(Note(text=str(number)))
        assert (await redis.info("memory"))["used_memory_dataset"] - used < 200_000
