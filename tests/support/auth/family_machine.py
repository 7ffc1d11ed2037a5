"""Random histories of sessions, compared with a model."""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    precondition,
    rule,
)

from services.auth.sessions.sessions import REPEATABLE, Sessions
from services.kit.errors import AppError
from tests.support.auth.clock import Time
from tests.support.auth.machine_world import World
from tests.support.auth.parts import ABSOLUTE, IDLE, add_user, make_sessions


@dataclass
class Family:
    """The model of a session: its tokens, and when each was spent."""

    user_id: UUID
    tokens: list[str]
    begun_at: datetime
    used_at: datetime
    spent_at: list[datetime] = field(default_factory=list)
    ended: bool = False


class Families(RuleBasedStateMachine):
    """The machine: clients and thieves refresh, and clocks move, in any order."""

    world: World

    def __init__(self) -> None:
        super().__init__()
        self.time = Time()
        self.sessions: Sessions = make_sessions(self.world.store, self.time)
        self.users = [self.world.loop.run(add_user(self.world.store)) for _ in range(2)]
        self.families: list[Family] = []

    def pick(self, data: st.DataObject) -> tuple[Family, int]:
        family = data.draw(st.sampled_from(self.families))
        return family, data.draw(st.integers(0, len(family.tokens) - 1))

    @rule(which=st.integers(0, 1))
    def begin(self, which: int) -> None:
        tokens = self.world.loop.run(self.sessions.begin(self.users[which]))
        assert tokens is not None
        now = self.time.now()
        self.families.append(Family(self.users[which], [tokens.refresh_token.value], now, now))

    @precondition(lambda self: self.families)
    @rule(data=st.data(), times=st.sampled_from([1, 1, 1, 2, 4]))
    def refresh(self, data: st.DataObject, times: int) -> None:
        family, index = self.pick(data)
        self.present(family, index, times)

    @precondition(lambda self: self.families)
    @rule(data=st.data())
    def refresh_the_newest(self, data: st.DataObject) -> None:
        family, _ = self.pick(data)
        self.present(family, len(family.tokens) - 1, 1)

    def present(self, family: Family, index: int, times: int) -> None:
        """Present a token `times` times at once, and compare the responses with the model."""
        answers = self.world.loop.run(self.presented(family.tokens[index], times))
        expected = self.expect(family, index)
        if expected is None:
            assert answers == [None] * times
            return
        values = {answer for answer in answers if answer is not None}
        assert len(values) == 1, answers
        assert None not in answers
        [value] = values
        if expected == len(family.tokens):
            assert value not in family.tokens
            family.tokens.append(value)
        assert family.tokens[expected] == value

    async def presented(self, token: str, times: int) -> list[str | None]:
        async def once() -> str | None:
            try:
                tokens = await self.sessions.refresh(token)
            except AppError as error:
                if error.reason != "invalid_refresh_token":
                    raise
                return None
            return tokens.refresh_token.value

        return list(await asyncio.gather(*[once() for _ in range(times)]))

    def expect(self, family: Family, index: int) -> int | None:
        """Change the model; return the index of the expected token, None for a refusal."""
        now = self.time.now()
        if family.ended or now >= family.begun_at + ABSOLUTE or now >= family.used_at + IDLE:
            return None
        if index == len(family.tokens) - 1:
            family.spent_at.append(now)
            family.used_at = now
        elif now - family.spent_at[index] > REPEATABLE:
            family.ended = True
            return None
        return index + 1

    @rule(seconds=st.sampled_from([1.0, 7.0, 15.0, 15.001, 900.0, 6 * 86400.0, 14 * 86400.0]))
    def time_passes(self, seconds: float) -> None:
        self.time.advance(seconds)

    @precondition(lambda self: any(family.spent_at for family in self.families))
    @rule(data=st.data(), seconds=st.sampled_from([14.0, 16.0]))
    def a_thief_comes_back_with_a_spent_token(self, data: st.DataObject, seconds: float) -> None:
        family = data.draw(st.sampled_from([family for family in self.families if family.spent_at]))
        self.time.advance(seconds)
        self.present(family, data.draw(st.integers(0, len(family.spent_at) - 1)), 1)
        self.present(family, len(family.tokens) - 1, 1)

    @precondition(lambda self: self.families)
    @rule(data=st.data())
    def log_out(self, data: st.DataObject) -> None:
        family, _ = self.pick(data)
        self.world.loop.run(self.sessions.end(family.tokens[-1], all_sessions=False))
        family.ended = True

    @rule(which=st.integers(0, 1))
    def log_out_everywhere(self, which: int) -> None:
        self.world.loop.run(self.sessions.end_of_user(self.users[which], session_id=None))
        for family in self.families:
            family.ended |= family.user_id == self.users[which]

    @rule()
    def tidy_up(self) -> None:
        self.world.loop.run(self.sessions.forget_expired())
