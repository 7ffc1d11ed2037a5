"""The fault plan: seeded, counted, and its effect on responses and connections."""

import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import pytest

from services.sandbox.instruments.faults import FaultPlan, FaultSettings
from tests.support.sandbox.mail_client import MailClient, open_mail, open_mail_on_socket, reason


@pytest.fixture
async def mail() -> AsyncIterator[MailClient]:
    async with open_mail(5) as client:
        yield client


@pytest.fixture
async def wire() -> AsyncIterator[MailClient]:
    """A client on a socket."""
    async with open_mail_on_socket(messages=5) as client:
        yield client


def _plan(*rules: dict[str, object], seed: int = 0) -> FaultPlan:
    plan = FaultPlan()
    plan.replace(FaultSettings.model_validate({"seed": seed, "rules": list(rules)}))
    return plan


class TestPlan:
    def test_the_same_seed_draws_the_same_faults(self) -> None:
        rule: dict[str, object] = {"method": "*", "kind": "reset", "probability": 0.3}
        runs = [[_drawn(_plan(rule, seed=seed))] for seed in (1, 1, 2)]
        assert runs[0] == runs[1] != runs[2]
        assert 30 < sum(runs[0][0]) < 90

    def test_it_spares_the_first_calls_and_stops_at_its_count(self) -> None:
        plan = _plan({"method": "gmail.*", "kind": "error", "after": 2, "count": 3})
        assert [plan.draw("gmail.messages.get") is not None for _ in range(7)] == [
            False,
            False,
            True,
            True,
            True,
            False,
            False,
        ]
        assert plan.draw("oauth.token") is None

    def test_it_can_be_for_one_user_or_one_path(self) -> None:
        plan = _plan({"method": "*", "kind": "error", "user": "Ada@example.com", "path": "/abc"})
        assert plan.draw("m", "grace@example.org", path="/abc") is None
        assert plan.draw("m", "ada@example.com", path="/x") is None
        assert plan.draw("m", "ADA@example.com", path="/messages/abc") is not None

    def test_it_reports_what_fired(self) -> None:
        plan = _plan({"method": "a", "kind": "reset", "count": 1}, {"method": "*", "kind": "slow"})
        for method in ("a", "a", "b"):
            plan.draw(method)
        rules = plan.report()["rules"]
        assert isinstance(rules, list)
        assert [(rule["seen"], rule["fired"]) for rule in rules] == [(2, 1), (2, 2)]


def _drawn(plan: FaultPlan) -> list[bool]:
    return [plan.draw("m") is not None for _ in range(200)]


class TestErrors:
    async def test_an_error_has_the_shape_of_google(self, mail: MailClient) -> None:
        await mail.plan({"method": "gmail.labels.list", "kind": "error", "status": 500, "count": 1})
        assert reason(await mail.get("labels")) == (500, "backendError")
        assert (await mail.get("labels")).status_code == 200
        assert await mail.fired() == [1]

    async def test_a_rate_limit_names_the_time_when_told_to(self, mail: MailClient) -> None:
        rule = {"method": "gmail.labels.list", "kind": "error", "status": 429, "reason": "rateLimitExceeded"}
        await mail.plan(rule | {"retry_after": 30.0})
        error = (await mail.get("labels")).json()["error"]
        assert error["message"].startswith("User-rate limit exceeded.  Retry after 20")
        assert (error["status"], error["errors"][0]["domain"]) == ("RESOURCE_EXHAUSTED", "usageLimits")

    async def test_the_front_end_answers_html(self, mail: MailClient) -> None:
        await mail.plan({"method": "gmail.labels.list", "kind": "html_503", "status": 502})
        answer = await mail.get("labels")
        assert (answer.status_code, answer.headers["content-type"]) == (502, "text/html; charset=utf-8")

    async def test_parts_of_a_batch_fail_one_by_one(self, mail: MailClient) -> None:
        await mail.plan({"method": "gmail.labels.list", "kind": "error", "status": 503, "after": 1, "count": 1})
        answers = await mail.batch(["GET /gmail/v1/users/me/labels HTTP/1.1"] * 3)
        assert [status for status, _ in answers] == [200, 503, 200]

    async def test_a_whole_batch_can_fail(self, mail: MailClient) -> None:
        await mail.plan({"method": "batch", "kind": "error", "status": 503})
        with pytest.raises(AssertionError, match="503"):
            await mail.batch(["GET /gmail/v1/users/me/labels HTTP/1.1"])

    async def test_a_batch_that_is_not_executed_uses_up_no_fault_of_its_parts(self, mail: MailClient) -> None:
        await mail.plan(
            {"method": "batch", "kind": "error", "count": 1},
            {"method": "gmail.labels.list", "kind": "error", "count": 1},
        )
        with pytest.raises(AssertionError, match="503"):
            await mail.batch(["GET /gmail/v1/users/me/labels HTTP/1.1"])
        assert await mail.fired() == [1, 0]

    async def test_a_failed_precondition_has_its_own_status(self, mail: MailClient) -> None:
        rule = {"method": "*", "kind": "error", "status": 400, "reason": "failedPrecondition"}
        await mail.plan(rule | {"message": "Precondition check failed."})
        error = (await mail.get("labels")).json()["error"]
        assert (error["status"], error["message"]) == ("FAILED_PRECONDITION", "Precondition check failed.")

    async def test_an_unknown_kind_or_field_is_refused_by_name(self, mail: MailClient) -> None:
        for rule in ({"method": "*", "kind": "explode"}, {"method": "*", "kind": "slow", "how": 1}):
            answer = await mail.http.put("/_sandbox/faults", json={"rules": [rule]})
            assert answer.status_code == 400
            assert answer.json()["error"]["problems"]


class TestConnection:
    async def test_a_reset_comes_before_the_work_and_a_lost_answer_after(self, wire: MailClient) -> None:
        [fact, *_] = (await wire.json("messages"))["messages"]
        for kind, executed in (("reset", False), ("lost_response", True)):
            await wire.plan({"method": "gmail.messages.modify", "kind": kind, "count": 1})
            with pytest.raises(httpx.TransportError):
                await wire.post(f"messages/{fact['id']}/modify", {"addLabelIds": ["STARRED"]})
            message = await wire.json(f"messages/{fact['id']}?format=minimal")
            assert ("STARRED" in message.get("labelIds", [])) == executed
            assert await wire.fired() == [1]

    @pytest.mark.parametrize("kind", ["truncate", "timeout"])
    async def test_the_answer_does_not_arrive_whole(self, wire: MailClient, kind: str) -> None:
        await wire.plan({"method": "gmail.labels.list", "kind": kind, "seconds": 0.05})
        with pytest.raises(httpx.TransportError):
            await wire.get("labels")

    async def test_garbage_is_half_of_the_json(self, wire: MailClient) -> None:
        await wire.plan({"method": "gmail.labels.list", "kind": "garbage"})
        answer = await wire.get("labels")
        assert answer.status_code == 200
        with pytest.raises(json.JSONDecodeError):
            answer.json()

    @pytest.mark.parametrize("kind", ["slow", "slow_body"])
    async def test_a_slow_answer_arrives_whole(self, wire: MailClient, kind: str) -> None:
        await wire.plan({"method": "gmail.labels.list", "kind": kind, "seconds": 0.05})
        answer = await wire.get("labels")
        assert answer.json()["labels"]
        assert answer.elapsed.total_seconds() >= 0.04

    async def test_a_slow_call_is_executed_when_the_plan_is_removed(self, wire: MailClient) -> None:
        await wire.plan({"method": "gmail.labels.list", "kind": "slow", "seconds": 600.0})
        async with asyncio.timeout(60):
            call = asyncio.create_task(wire.get("labels"))
            while await wire.fired() == [0]:
                pass
            await wire.control("DELETE", "faults")
            assert (await call).status_code == 200

    async def test_a_part_that_loses_the_connection_takes_the_batch_with_it(self, wire: MailClient) -> None:
        await wire.plan({"method": "gmail.labels.list", "kind": "reset", "after": 1, "count": 1})
        with pytest.raises(httpx.TransportError):
            await wire.batch(["GET /gmail/v1/users/me/labels HTTP/1.1"] * 3)
        assert [status for status, _ in await wire.batch(["GET /gmail/v1/users/me/labels HTTP/1.1"])] == [200]
