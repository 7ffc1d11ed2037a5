"""CPU of the gateway for one authenticated request, and the part of it for verifying tokens and counting requests.

Requests: real processes, CPU from /proc. Parts: the gateway's classes in this process, with a real ES256 key and Redis.
Prints JSON lines and a table.
"""

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
import jwt
from limits import parse

from benchmarks.process_cpu import cpu_seconds
from services.gateway.access_tokens import AccessTokens
from services.gateway.limits.rate_limits import Counters, RateLimit
from services.kit.settings import RedisSettings
from services.kit.stores.redis_client import create_redis
from tests.support.e2e.people import Person, Provider
from tests.support.e2e.running_stack import RunningStack, running_stack
from tests.support.gateway.fake_auth import ISSUER, FakeAuth

WARM_UP = 200


@dataclass(frozen=True)
class Cost:
    """CPU of the gateway in milliseconds; `share` is that of the cheapest request."""

    what: str
    cpu: float
    share: float


def requests(stack: RunningStack, *, number: int) -> dict[str, float]:
    """Measure the CPU per request of a signed-in user, over one connection."""
    costs = {}
    with httpx.Client(base_url=stack.gateway_url, trust_env=False, timeout=90) as http:
        ada = Person.sign_in(http, Provider(stack.sandbox_url).new_user(messages=60))
        ada.sync()
        headers = {"Authorization": f"Bearer {ada.token}"}
        for path in ("/auth/me", f"/emails?user_email={ada.email}&limit=50"):
            for counted in (WARM_UP, number):
                before = cpu_seconds(stack.pid("gateway"))
                for _ in range(counted):
                    http.get(path, headers=headers).raise_for_status()
                spent = cpu_seconds(stack.pid("gateway")) - before
            costs[f"GET {path.partition('?')[0]}"] = spent * 1000 / number
    return costs


async def parts(stack: RunningStack, *, number: int) -> dict[str, float]:
    """Measure the CPU of authentication and rate limits."""
    auth = FakeAuth()
    tokens = AccessTokens(_Keys(auth), issuer=ISSUER, audience=ISSUER)
    made = [auth.access_token(f"user {index}") for index in range(number)]
    redis = create_redis(
        RedisSettings.model_validate(
            {"redis_port": stack.variables["REDIS_PORT"], "redis_password": stack.variables.get("REDIS_PASSWORD")}
        )
    )
    counters = Counters(redis)
    user, address = RateLimit(parse("6000/minute"), counters), RateLimit(parse("60/minute"), counters)
    try:
        return {
            "a token for the first time": await _each(tokens.read, made),
            "a token once more": await _each(tokens.read, made[-1:] * number),
            "a user's limit": await _each(user.take, ["ada"] * min(number, 6000)),
            "an address's limit, each in Redis": await _each(address.take, [str(index) for index in range(number)]),
        }
    finally:
        await redis.aclose()


class _Keys:
    """Auth's keys as the gateway caches them."""

    def __init__(self, auth: FakeAuth) -> None:
        self._keys = {key.key_id: jwt.PyJWK(key.public) for key in auth.keys}

    async def find(self, key_id: str | None) -> jwt.PyJWK | None:
        """Return the key with this id."""
        return None if key_id is None else self._keys.get(key_id)


async def _each(take: Callable[[str], Awaitable[Any]], values: list[str]) -> float:
    before = time.process_time()
    for value in values:
        await take(value)
    return (time.process_time() - before) * 1000 / len(values)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=2000)
    number = parser.parse_args().requests
    with (
        tempfile.TemporaryDirectory(prefix="mailroom-bench-", ignore_cleanup_errors=True) as home,
        running_stack(Path(home), own_servers=True) as stack,
    ):
        costs = requests(stack, number=number)
        cheapest = min(costs.values())
        costs |= asyncio.run(parts(stack, number=number))
    results = [Cost(what, round(cpu, 4), round(cpu / cheapest, 3)) for what, cpu in costs.items()]
    for cost in results:
        print(json.dumps(asdict(cost)))
    print(f"\n{'':36}{'CPU ms':>8}{'share':>8}")
    for cost in results:
        print(f"{cost.what:36}{cost.cpu:>8.3f}{cost.share:>8.1%}")


if __name__ == "__main__":
    main()
