"""Rate limits of addresses at the routes of sign-in, and of users at all routes."""

import asyncio
import re
import secrets
import time
from collections.abc import AsyncIterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import httpx
import pytest
from limits import RateLimitItem, RateLimitItemPerHour, RateLimitItemPerSecond, parse
from pydantic import SecretStr, ValidationError
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError
from structlog.testing import capture_logs

from deploy.local.ports import Ports
from deploy.local.valkey import RedisAddress
from services.gateway.limits.rate_limits import MOST_CALLERS, TIMEOUT, Counters, RateLimit
from services.gateway.limits.standings import Standing
from services.gateway.settings import GatewaySettings
from services.kit.api_key import generate
from services.kit.errors import AppError
from services.kit.http.client_address import client_networks
from services.kit.scopes import Scope
from services.kit.settings import RedisSettings
from services.kit.stores.redis_client import create_redis
from tests.gateway.conftest import OpenGateway, bearer
from tests.support.gateway.fake_auth import FakeAuth

START = "/auth/google/start"


@pytest.fixture
async def redis(redis_server: RedisAddress) -> AsyncIterator[Redis]:
    settings = RedisSettings(redis_host=redis_server.host, redis_port=redis_server.port, redis_db=redis_server.database)
    redis = create_redis(settings)
    yield redis
    await redis.aclose()


@pytest.fixture
def limit() -> RateLimitItem:
    """A limit that no other test counts."""
    return RateLimitItemPerHour(4, 2, namespace=secrets.token_hex(8))


async def refusal(limit: RateLimit, who: str) -> AppError:
    with pytest.raises(AppError) as refused:
        await limit.take(who)
    return refused.value


class TestAddress:
    async def test_has_so_many_api_keys_looked_up_at_most(
        self, open_gateway: OpenGateway, redis: Redis, limit: RateLimitItem
    ) -> None:
        async with open_gateway(address_limit=RateLimit(limit, Counters(redis))) as gateway:
            known = gateway.as_key(Scope.MAILBOXES_READ)
            assert (await gateway.http.get("/mailboxes", headers=known)).status_code == 200
            unknown = [bearer(generate(secrets.token_bytes).value) for _ in range(limit.amount)]
            statuses = [(await gateway.http.get("/mailboxes", headers=headers)).status_code for headers in unknown]
            assert statuses == [401] * (limit.amount - 1) + [429]
            assert (await gateway.http.get("/mailboxes", headers=known)).status_code == 200

    async def test_with_too_many_requests_gets_a_retry_after(
        self, open_gateway: OpenGateway, redis: Redis, limit: RateLimitItem
    ) -> None:
        async with open_gateway(address_limit=RateLimit(limit, Counters(redis))) as gateway:
            for _ in range(limit.amount):
                assert (await gateway.http.get(START)).status_code == 200
            refused = await gateway.http.get(START, headers={"Origin": "https://app.example"})
        assert refused.status_code == 429
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.json()["code"] == "too_many_requests"
        assert 7190 < int(refused.headers["retry-after"]) <= 7201
        # Pages of other origins can read it, and the headers of every response are present.
        assert refused.headers["access-control-allow-origin"] == "https://app.example"
        assert refused.headers["x-request-id"] == refused.json()["request_id"]

    async def test_is_not_limited_elsewhere(
        self, open_gateway: OpenGateway, redis: Redis, limit: RateLimitItem
    ) -> None:
        async with open_gateway(address_limit=RateLimit(limit, Counters(redis))) as gateway:
            answers = [await gateway.http.get("/emails/addresses") for _ in range(limit.amount + 1)]
        assert {answer.status_code for answer in answers} == {401}

    async def test_of_a_back_end_is_not_limited_in_exchanges(
        self, open_gateway: OpenGateway, redis: Redis, limit: RateLimitItem
    ) -> None:
        async with open_gateway(address_limit=RateLimit(limit, Counters(redis))) as gateway:
            key = gateway.as_key(Scope.MAILBOXES_READ)
            body = {
                "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
                "subject_token": "ada",
                "subject_token_type": "urn:mailroom:token-type:user-id",
            }
            answers = [
                await gateway.http.post("/auth/token/exchange", json=body, headers=key) for _ in range(limit.amount + 1)
            ]
        assert {answer.status_code for answer in answers} == {200}

    async def test_does_not_use_up_the_limits_of_others(
        self, open_gateway: OpenGateway, redis: Redis, limit: RateLimitItem
    ) -> None:
        counters = Counters(redis)
        for address in ("192.0.2.1", "192.0.2.2"):
            async with open_gateway(address=address, address_limit=RateLimit(limit, counters)) as gateway:
                statuses = [(await gateway.http.get(START)).status_code for _ in range(limit.amount + 1)]
            assert statuses == [*([200] * limit.amount), 429]

    async def test_is_counted_by_all_gateways_together(
        self, open_gateway: OpenGateway, redis: Redis, limit: RateLimitItem
    ) -> None:
        statuses = []
        for _ in range(limit.amount + 1):
            async with open_gateway(address_limit=RateLimit(limit, Counters(redis))) as gateway:
                statuses.append((await gateway.http.get(START)).status_code)
        assert statuses == [*([200] * limit.amount), 429]

    async def test_cannot_be_chosen_by_a_header(
        self, open_gateway: OpenGateway, redis: Redis, limit: RateLimitItem
    ) -> None:
        async with open_gateway(address_limit=RateLimit(limit, Counters(redis))) as gateway:
            statuses = [
                (await gateway.http.get(START, headers={"X-Forwarded-For": f"198.51.100.{number}"})).status_code
                for number in range(limit.amount + 1)
            ]
        assert statuses[-1] == 429

    async def test_of_a_proxy_that_is_not_named_is_reported_once(
        self,
        open_gateway: OpenGateway,
        redis: Redis,
        limit: RateLimitItem,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        async with open_gateway(address_limit=RateLimit(limit, Counters(redis))) as gateway:
            for _ in range(2):
                await gateway.http.get(START, headers={"X-Forwarded-For": "198.51.100.7"})
        assert capsys.readouterr().out.count("GATEWAY_TRUSTED_PROXIES") == 1

    @pytest.mark.parametrize(("networks", "factor"), [("2001:db8:0:{:x}::1", 4), ("2001:db8:0:{:x}00::1", 16)])
    async def test_of_many_networks_of_one_subscriber_counts_as_one(
        self, open_gateway: OpenGateway, redis: Redis, limit: RateLimitItem, networks: str, factor: int
    ) -> None:
        counted = RateLimit(limit, Counters(redis))
        proxy = [ip_network("127.0.0.1/32")]
        async with open_gateway(address="127.0.0.1", address_limit=counted, trusted_proxies=proxy) as gateway:
            statuses = [
                (await gateway.http.get(START, headers={"X-Forwarded-For": networks.format(number)})).status_code
                for number in range(limit.amount * factor + 1)
            ]
        assert statuses == [*([200] * limit.amount * factor), 429]


class TestSignIns:
    async def test_are_bounded_in_all_and_leave_sessions_alone(
        self, open_gateway: OpenGateway, redis: Redis, limit: RateLimitItem
    ) -> None:
        counted = RateLimit(limit, Counters(redis))
        proxy = [ip_network("127.0.0.1/32")]
        async with open_gateway(address="127.0.0.1", sign_in_limit=counted, trusted_proxies=proxy) as gateway:
            statuses = [
                (await gateway.http.get(START, headers={"X-Forwarded-For": f"198.51.100.{number}"})).status_code
                for number in range(limit.amount + 1)
            ]
            assert statuses == [*([200] * limit.amount), 429]
            assert (await gateway.http.get("/emails/addresses", headers=gateway.as_user("ada"))).status_code == 200


class TestUser:
    async def test_with_too_many_requests_is_refused(
        self, open_gateway: OpenGateway, redis: Redis, limit: RateLimitItem
    ) -> None:
        async with open_gateway(user_limit=RateLimit(limit, Counters(redis))) as gateway:
            ada, grace = gateway.as_user("ada"), gateway.as_user("grace")
            statuses = [
                (await gateway.http.get("/emails/addresses", headers=ada)).status_code for _ in range(limit.amount + 1)
            ]
            assert statuses == [*([200] * limit.amount), 429]
            assert (await gateway.http.get("/emails/addresses", headers=grace)).status_code == 200

    async def test_is_counted_once_for_a_request_in_which_several_parts_ask_for_them(
        self, open_gateway: OpenGateway, redis: Redis
    ) -> None:
        limit = RateLimit(RateLimitItemPerHour(3, namespace=secrets.token_hex(8)), Counters(redis), policy="user")
        async with open_gateway(user_limit=limit) as gateway:
            body = {"email": "ada@example.com", "count": 1}
            started = await gateway.http.post("/emails/sync", json=body, headers=gateway.as_user("ada"))
        _, remaining, _ = _standing(started.headers["ratelimit"])
        assert remaining == 2

    async def test_is_not_counted_for_tokens_that_are_not_theirs(
        self, open_gateway: OpenGateway, auth: FakeAuth, redis: Redis, limit: RateLimitItem
    ) -> None:
        async with open_gateway(user_limit=RateLimit(limit, Counters(redis))) as gateway:
            forged = {"Authorization": f"Bearer {auth.access_token('ada')[:-8]}AAAAAAAA"}
            for _ in range(limit.amount + 1):
                assert (await gateway.http.get("/emails/addresses", headers=forged)).status_code == 401
            ada = gateway.as_user("ada")
            assert (await gateway.http.get("/emails/addresses", headers=ada)).status_code == 200


class TestStanding:
    """RateLimit-Policy and RateLimit of draft-ietf-httpapi-ratelimit-headers."""

    async def test_of_a_user_counts_down_to_the_refusal(self, open_gateway: OpenGateway, redis: Redis) -> None:
        limit = RateLimit(RateLimitItemPerHour(3, namespace=secrets.token_hex(8)), Counters(redis), policy="user")
        async with open_gateway(user_limit=limit) as gateway:
            ada = gateway.as_user("ada")
            responses = [await gateway.http.get("/mailboxes", headers=ada) for _ in range(4)]
        assert [response.status_code for response in responses] == [200, 200, 200, 429]
        assert {response.headers["ratelimit-policy"] for response in responses} == {'"user";q=3;w=3600'}
        left = [_standing(response.headers["ratelimit"]) for response in responses]
        assert [name for name, _, _ in left] == ["user"] * 4
        assert [remaining for _, remaining, _ in left] == [2, 1, 0, 0]
        assert all(3590 < seconds <= 3600 for _, _, seconds in left)

    async def test_counts_the_portion_and_what_lies_beside_it(self, redis: Redis) -> None:
        limit = RateLimit(RateLimitItemPerHour(1000, namespace=secrets.token_hex(8)), Counters(redis))
        standings: list[Standing] = []
        for _ in range(25):
            await limit.take("ada", standings=standings)
        assert [standing.remaining for standing in standings] == list(range(999, 974, -1))

    async def test_of_an_address_and_of_a_user_are_both_told(self, open_gateway: OpenGateway) -> None:
        limits = {
            f"{policy}_limit": RateLimit(RateLimitItemPerHour(amount), Counters(None), policy=policy)
            for policy, amount in (("address", 5), ("user", 7))
        }
        async with open_gateway(**limits) as gateway:
            response = await gateway.http.get("/auth/me", headers=gateway.as_user("ada"))
        assert response.headers["ratelimit-policy"] == '"address";q=5;w=3600, "user";q=7;w=3600'
        assert [_standing(part)[:2] for part in response.headers["ratelimit"].split(", ")] == [
            ("address", 4),
            ("user", 6),
        ]

    async def test_of_neighbours_is_not_told(self, open_gateway: OpenGateway) -> None:
        limit = RateLimit(RateLimitItemPerHour(5), Counters(None), policy="address")
        async with open_gateway(address="2001:db8::1", address_limit=limit, sign_in_limit=limit) as gateway:
            response = await gateway.http.get(START)
        assert response.headers["ratelimit-policy"] == '"address";q=5;w=3600'

    async def test_is_not_told_where_nothing_is_counted(self, open_gateway: OpenGateway) -> None:
        limit = RateLimit(RateLimitItemPerHour(5), Counters(None))
        async with open_gateway(user_limit=limit) as gateway:
            response = await gateway.http.get("/healthz")
        assert "ratelimit" not in response.headers
        assert "ratelimit-policy" not in response.headers

    async def test_ends_with_the_window_that_the_counters_keep(self, redis: Redis) -> None:
        item = RateLimitItemPerSecond(1000, 30, namespace=secrets.token_hex(8))
        now = [time.time()]
        counted = RateLimit(item, Counters(redis), clock=lambda: now[0])
        await counted.take("ada")
        # The window is of Redis: this gateway's portion ends with it, wherever in the window it was taken.
        now[0] += 20
        standings: list[Standing] = []
        for _ in range(11):
            await counted.take("ada", standings=standings)
        assert all(standing.seconds <= 11 for standing in standings)


def _standing(item: str) -> tuple[str, int, int]:
    match = re.fullmatch(r'"(\w+)";r=(\d+);t=(\d+)', item)
    assert match is not None
    return match[1], int(match[2]), int(match[3])


class TestCounting:
    async def test_asks_redis_once_for_a_hundredth_of_a_limit(self, redis: Redis) -> None:
        limit = RateLimit(RateLimitItemPerHour(6000, namespace=secrets.token_hex(8)), Counters(redis))
        calls = await _calls(redis)
        for _ in range(600):
            await limit.take("ada")
        assert await _calls(redis) - calls <= 10 + 1

    async def test_loses_nothing_of_a_limit_to_requests_that_come_at_once(self, redis: Redis) -> None:
        limit = RateLimit(RateLimitItemPerHour(1000, namespace=secrets.token_hex(8)), Counters(redis))
        await asyncio.gather(*[limit.take("ada") for _ in range(100)])
        for _ in range(900):
            await limit.take("ada")
        assert (await refusal(limit, "ada")).reason == "too_many_requests"

    async def test_remembers_so_many_callers_and_no_more(self) -> None:
        limit = RateLimit(RateLimitItemPerHour(1000), Counters(None))
        await asyncio.gather(*[limit.take(f"user {number % 11_000}") for number in range(12_000)])
        assert len(limit._portions) == MOST_CALLERS

    async def test_refuses_without_redis_until_the_window_ends(self, redis: Redis, limit: RateLimitItem) -> None:
        now = [0.0]
        counted = RateLimit(limit, Counters(redis), clock=lambda: now[0])
        for _ in range(limit.amount):
            await counted.take("ada")
        await refusal(counted, "ada")
        calls = await _calls(redis)
        for _ in range(50):
            await refusal(counted, "ada")
        assert await _calls(redis) == calls

    async def test_begins_anew_when_the_window_has_ended(self, redis: Redis) -> None:
        counted = RateLimit(RateLimitItemPerSecond(2, 3, namespace=secrets.token_hex(8)), Counters(redis))
        for _ in range(2):
            await counted.take("grace")
        refused = await refusal(counted, "grace")
        assert 0 < float(refused.metadata["retry_after"]) <= 4
        async with asyncio.timeout(30):
            while await _is_refused(counted, "grace"):  # noqa: ASYNC110 - the end of a window has no event
                await asyncio.sleep(0.05)

    async def test_goes_on_in_this_process_alone_while_redis_is_away(self, ports: Ports, limit: RateLimitItem) -> None:
        redis = create_redis(RedisSettings(redis_port=ports.free(), redis_db=0))
        counted = RateLimit(limit, Counters(redis))
        for _ in range(limit.amount):
            await counted.take("ada")
        assert (await refusal(counted, "ada")).reason == "too_many_requests"
        await redis.aclose()

    async def test_goes_on_in_this_process_alone_while_redis_says_nothing(self, limit: RateLimitItem) -> None:
        async def take_and_say_nothing(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
            await reader.read()

        silent = await asyncio.start_server(take_and_say_nothing, "127.0.0.1", 0)
        redis = create_redis(RedisSettings(redis_port=silent.sockets[0].getsockname()[1], redis_db=0))
        async with silent:
            counted = RateLimit(limit, Counters(redis))
            began = time.monotonic()
            for _ in range(limit.amount):
                await counted.take("ada")
            assert (await refusal(counted, "ada")).reason == "too_many_requests"
            # One wait for all of them; a client's own time-out is several seconds.
            assert TIMEOUT <= time.monotonic() - began < TIMEOUT + 2
            await redis.aclose()
            silent.close_clients()

    async def test_returns_to_redis_when_it_is_back(
        self, redis: Redis, ports: Ports, limit: RateLimitItem, redis_server: RedisAddress
    ) -> None:
        now = [1000.0]
        elsewhere = create_redis(RedisSettings(redis_port=ports.free(), redis_db=redis_server.database))
        counters = Counters(elsewhere, clock=lambda: now[0])
        await RateLimit(limit, counters).take("ada")
        elsewhere.connection_pool.connection_kwargs["port"] = redis_server.port
        elsewhere.connection_pool.reset()  # type: ignore[no-untyped-call]
        now[0] += 6
        for _ in range(limit.amount):
            await RateLimit(limit, counters).take("ada")
        assert (await refusal(RateLimit(limit, Counters(redis)), "ada")).reason == "too_many_requests"
        await elsewhere.aclose()


class TestRedisUser:
    """The rights of the gateway's Redis user, which an intruder in the gateway would have: counting only."""

    @pytest.fixture
    async def restricted(self, redis: Redis, redis_server: RedisAddress) -> AsyncIterator[Redis]:
        """A client with the rights that the gateway has in production."""
        name, password = f"gateway-{secrets.token_hex(4)}", secrets.token_hex(8)
        await _run(redis, "ACL", "SETUSER", name, "on", f">{password}", *_production_rights())
        client = create_redis(
            RedisSettings(
                redis_host=redis_server.host,
                redis_port=redis_server.port,
                redis_db=0,
                redis_username=name,
                redis_password=SecretStr(password),
            )
        )
        yield client
        await client.aclose()
        await _run(redis, "ACL", "DELUSER", name)

    async def test_of_production_can_count_and_refuse(self, restricted: Redis, limit: RateLimitItem) -> None:
        await restricted.ping()
        with capture_logs() as logs:
            counters = Counters(restricted)
            for _ in range(limit.amount):
                await RateLimit(limit, counters).take("ada")
            assert (await refusal(RateLimit(limit, counters), "ada")).reason == "too_many_requests"
        assert logs == []

    @pytest.mark.parametrize("command", [("GET", "sign-in"), ("KEYS", "*"), ("FLUSHALL",), ("PUBLISH", "x", "y")])
    async def test_of_production_can_do_nothing_else(self, restricted: Redis, command: tuple[str, ...]) -> None:
        with pytest.raises(NoPermissionError):
            await _run(restricted, *command)


async def _run(redis: Redis, *command: str) -> None:
    await redis.execute_command(*command)  # type: ignore[no-untyped-call]  # has no types


def _production_rights() -> list[str]:
    file = Path(__file__).parents[3] / "deploy/compose.production.yml"
    [rights] = re.findall(r'user gateway on ">[^"]+" (.+)', file.read_text())
    return str(rights).split()


async def _is_refused(limit: RateLimit, who: str) -> bool:
    try:
        await limit.take(who)
    except AppError:
        return True
    return False


async def _calls(redis: Redis) -> int:
    """Count the scripts that Redis has run."""
    statistics: dict[str, Any] = await redis.info("commandstats")
    return sum(int(statistics.get(f"cmdstat_{name}", {}).get("calls", 0)) for name in ("evalsha", "eval"))


PROXIES = [ip_network("10.0.0.0/8"), ip_network("2001:db8:1::/48")]


class TestClientAddress:
    @pytest.mark.parametrize(
        ("peer", "forwarded", "client"),
        [
            ("192.0.2.1", [], "192.0.2.1"),
            # The header of an untrusted peer is ignored.
            ("192.0.2.1", ["198.51.100.7"], "192.0.2.1"),
            ("10.0.0.1", ["198.51.100.7"], "198.51.100.7"),
            # The proxy appends to any text of the client.
            ("10.0.0.1", ["203.0.113.9, 198.51.100.7"], "198.51.100.7"),
            ("10.0.0.1", ["203.0.113.9", "198.51.100.7"], "198.51.100.7"),
            ("10.0.0.1", ["203.0.113.9, 198.51.100.7, 10.0.0.2, 10.0.0.3"], "198.51.100.7"),
            ("10.0.0.1", ["10.9.9.9, 10.0.0.2"], "10.9.9.9"),
            ("10.0.0.1", ["nonsense"], "10.0.0.1"),
            ("10.0.0.1", ["203.0.113.9, nonsense, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", [""], "10.0.0.1"),
            ("10.0.0.1", ["198.51.100.7:5123"], "198.51.100.7"),
            ("10.0.0.1", ["[2001:db8:2::7]:443"], "2001:db8:2::/64"),
            ("2001:db8:1::1", ["2001:db8:2:3:4:5:6:7"], "2001:db8:2:3::/64"),
            ("2001:db8:2:3::1", [], "2001:db8:2:3::/64"),
            ("::ffff:192.0.2.1", [], "192.0.2.1"),
            ("::ffff:10.0.0.1", ["::ffff:198.51.100.7"], "198.51.100.7"),
            ("fe80::1%eth0", [], "fe80::/64"),
        ],
    )
    def test_is_the_address_that_trusted_proxies_report(self, peer: str, forwarded: list[str], client: str) -> None:
        headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
        scope = {"type": "http", "client": (peer, 1), "headers": headers}
        assert client_networks(scope, trusted_proxies=PROXIES)[0] == client

    def test_is_counted_in_the_networks_that_a_subscriber_may_have(self) -> None:
        scope = {"type": "http", "client": ("2001:db8:2:3ff::1", 1), "headers": []}
        networks = ("2001:db8:2:3ff::/64", "2001:db8:2:300::/56", "2001:db8:2::/48")
        assert client_networks(scope, trusted_proxies=()) == networks

    def test_of_a_local_socket_is_unknown(self) -> None:
        assert client_networks({"type": "http", "client": None, "headers": []}, trusted_proxies=PROXIES) == ("unknown",)


class TestSettings:
    def test_read_limits_and_networks(self) -> None:
        settings = _settings(
            gateway_auth_limit="20 per 10 seconds", gateway_user_limit="off", gateway_trusted_proxies="10.1.0.0/16,::1"
        )
        assert settings.gateway_auth_limit == parse("20 per 10 seconds")
        assert settings.gateway_user_limit is None
        assert settings.gateway_trusted_proxies == (ip_network("10.1.0.0/16"), ip_network("::1"))

    @pytest.mark.parametrize("wide", ["10.0.0.0/8", "0.0.0.0/0", "::1,fc00::/7", "172.0.0.0/8", "192.168.0.0/16"])
    def test_refuse_proxies_that_are_every_private_network(self, wide: str) -> None:
        with pytest.raises(ValidationError, match="wider than the networks of proxies"):
            _settings(gateway_trusted_proxies=wide)

    @pytest.mark.parametrize(
        ("name", "value"),
        [("gateway_auth_limit", "many"), ("gateway_user_limit", "5/fortnight"), ("gateway_trusted_proxies", "proxy")],
    )
    def test_refuse_malformed_values(self, name: str, value: str) -> None:
        with pytest.raises(ValueError, match=name):
            _settings(**{name: value})


def _settings(**chosen: str) -> GatewaySettings:
    return GatewaySettings.model_validate({"mailroom_insecure_grpc": True, **chosen})


class TestTransportSecurity:
    async def test_is_demanded_where_browsers_come_over_https(self, open_gateway: OpenGateway) -> None:
        async with open_gateway(https=True) as gateway:
            answer: httpx.Response = await gateway.http.get("/healthz")
        assert answer.headers["strict-transport-security"] == "max-age=31536000"

    async def test_is_not_mentioned_elsewhere(self, open_gateway: OpenGateway) -> None:
        async with open_gateway() as gateway:
            assert "strict-transport-security" not in (await gateway.http.get("/healthz")).headers
