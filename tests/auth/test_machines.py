"""Random histories of sessions, sign-ins, links and disconnections, compared with models."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from deploy.local.valkey import RedisAddress
from services.auth.store.transaction import Store
from tests.support.auth.connection_machine import Connections
from tests.support.auth.family_machine import Families
from tests.support.auth.machine_world import Loop, World

HISTORIES = settings(max_examples=15, stateful_step_count=40, suppress_health_check=list(HealthCheck), database=None)
MANY_HISTORIES = settings(HISTORIES, max_examples=500, derandomize=False)


@pytest.fixture
def world(fresh_engine: AsyncEngine, redis_server: RedisAddress) -> Iterator[World]:
    loop = Loop()
    engine = create_async_engine(fresh_engine.url, pool_size=5)
    try:
        yield World(loop, Store(engine), redis_server)
    finally:
        loop.run(engine.dispose())
        loop.close()


class TestMachines:
    @pytest.mark.parametrize("machine", [Families, Connections])
    def test_random_histories_match_the_models(self, world: World, machine: type[Families | Connections]) -> None:
        machine.world = world
        run_state_machine_as_test(machine, settings=HISTORIES)

    @pytest.mark.long
    @pytest.mark.parametrize("machine", [Families, Connections])
    def test_very_many_random_histories_match_the_models(
        self, world: World, machine: type[Families | Connections]
    ) -> None:
        machine.world = world
        run_state_machine_as_test(machine, settings=MANY_HISTORIES)
