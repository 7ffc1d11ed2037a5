"""The benchmark's alternatives for serving lists respond as the gateway does."""

from collections.abc import Callable

import httpx
import pytest

from benchmarks.read_ways.lists import BARE, MONOLITH, serving
from benchmarks.read_ways.server import ServerConfig
from benchmarks.read_ways.stage import dsn_of
from deploy.local.ports import Ports
from tests.support.e2e.people import Person
from tests.support.e2e.running_stack import RunningStack


class TestOtherWays:
    @pytest.mark.parametrize("name", [MONOLITH, BARE])
    def test_answer_the_same_page_by_page(
        self, stack: RunningStack, ports: Ports, new_person: Callable[..., Person], name: str
    ) -> None:
        person = new_person(messages=60)
        person.sync("all")
        keys = person.http.get("/.well-known/jwks.json").text
        config = ServerConfig(dsn=dsn_of(stack), issuer=stack.variables["PUBLIC_URL"], keys=keys, port=ports.free())
        query: dict[str, str | int] | None = {"user_email": person.email, "limit": 25}
        sizes = []
        with serving(name, config) as way, httpx.Client(trust_env=False) as http:
            while query is not None:
                expected = person.http.get("/emails", params=query, headers=person.headers()).json()
                assert http.get(f"{way.url}/emails", params=query, headers=person.headers()).json() == expected
                sizes.append(len(expected["emails"]))
                query = {**query, "cursor": expected["next_cursor"]} if expected["next_cursor"] else None
        assert sizes == [25, 25, 10]
