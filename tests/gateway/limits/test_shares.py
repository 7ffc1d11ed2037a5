"""Shares of callers: no application takes all of them by its many keys and users."""

from contextlib import AsyncExitStack

import pytest

from services.gateway.caller import Caller
from services.gateway.limits.shares import Shares
from services.kit.errors import AppError

EXPORTS = 6


def key(name: str, application_id: str) -> Caller:
    """Return an API key of an application."""
    return Caller(f"key:{name}", "", 0, "token", key_id=name, application_id=application_id)


def user(name: str, *, application_id: str = "") -> Caller:
    """Return a user: of a session, or one for whom a key of this application acts."""
    actor = "k" if application_id else ""
    return Caller(name, "", 0, "token", actor_key_id=actor, application_id=application_id)


class TestExports:
    async def test_of_an_application_with_many_keys_and_users_leave_some_to_others(self) -> None:
        exports = Shares().exports
        async with AsyncExitStack() as stack:
            for caller in (key("1", "a"), key("2", "a"), user("ada", application_id="a"), key("3", "a")):
                await stack.enter_async_context(exports.of(caller))
            for caller in (key("4", "a"), user("grace", application_id="a")):
                with pytest.raises(AppError) as refused:
                    await stack.enter_async_context(exports.of(caller))
                assert refused.value.reason == "too_many_requests"
            for caller in (key("5", "b"), user("joan")):
                await stack.enter_async_context(exports.of(caller))

    async def test_of_users_who_have_signed_in_are_those_of_no_application(self) -> None:
        exports = Shares().exports
        async with AsyncExitStack() as stack:
            for number in range(EXPORTS):
                await stack.enter_async_context(exports.of(user(f"user {number}")))
            with pytest.raises(AppError):
                await stack.enter_async_context(exports.of(user("one more")))
