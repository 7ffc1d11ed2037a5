"""Quota: units are counted, limits hold in both kinds of window, and refusals have Google's form."""

import asyncio
import re

import pytest

from services.sandbox.clock import Clock
from services.sandbox.google.gmail.methods.method_table import MethodTable
from services.sandbox.google.gmail.quota import PROFILES, Quota, QuotaErrors
from tests.support.sandbox.mail_client import EMAIL, open_mail, reason


class _Time:
    def __init__(self) -> None:
        self.at = 1_000_020.0

    def __call__(self) -> float:
        return self.at


def _quota(kind: str, time: _Time, **options: object) -> Quota:
    return Quota(clock=Clock(time), kind=kind, window=60.0, **options)  # type: ignore[arg-type]


def _spend(quota: Quota, calls: int, *, user: str = "ada", method: str = "messages.get") -> int:
    return sum(quota.admit(method, user=user, project="p") is None for _ in range(calls))


class TestWindows:
    @pytest.mark.parametrize("kind", ["fixed", "sliding"])
    def test_a_user_gets_the_limit_and_no_more(self, kind: str) -> None:
        quota = _quota(kind, _Time())
        assert _spend(quota, 400) == 300
        assert _spend(quota, 5, user="grace") == 5

    def test_a_fixed_window_opens_all_at_once(self) -> None:
        time = _Time()
        quota = _quota("fixed", time)
        time.at = 1_000_019.0
        assert _spend(quota, 400) == 300
        time.at = 1_000_020.0
        assert _spend(quota, 400) == 300
        assert quota.report()["users"]["ada"]["peak_sliding_window"] == 12_000  # type: ignore[index]

    def test_a_sliding_window_opens_as_its_calls_grow_old(self) -> None:
        time = _Time()
        quota = _quota("sliding", time)
        assert _spend(quota, 100) == 100
        time.at += 30
        assert _spend(quota, 400) == 200
        time.at += 30.5
        assert _spend(quota, 400) == 100

    def test_the_legacy_profile_costs_less_and_allows_more(self) -> None:
        assert _spend(_quota("fixed", _Time(), profile="legacy"), 4000) == 3000

    def test_the_project_has_a_limit_over_all_users(self) -> None:
        quota = _quota("fixed", _Time())
        admitted = sum(_spend(quota, 60, user=f"u{i}", method="messages.send") for i in range(210))
        assert admitted == 12_000
        error = quota.admit("messages.send", user="another", project="p")
        assert error is not None
        assert (error.code, error.message) == (403, "Rate Limit Exceeded")

    def test_the_project_has_a_limit_per_day(self) -> None:
        time = _Time()
        quota = _quota("fixed", time)
        _spend(quota, 1, user="somebody")
        quota._projects["p"].in_day = 80_000_000
        error = quota.admit("messages.get", user="ada", project="p")
        assert error is not None
        assert error.reason == "dailyLimitExceeded"
        time.at += 86_400
        assert quota.admit("messages.get", user="ada", project="p") is None

    def test_a_refusal_costs_nothing_and_names_the_time(self) -> None:
        time = _Time()
        quota = _quota("fixed", time)
        _spend(quota, 300)
        error = quota.admit("messages.get", user="ada", project="p")
        assert error is not None
        assert error.message == "User-rate limit exceeded.  Retry after 1970-01-12T13:48:00.000Z"
        report = quota.report()["users"]["ada"]  # type: ignore[index]
        assert (report["units"], report["rejected"]) == (6000, 1)

    def test_hammering_pushes_the_time_further_out(self) -> None:
        time = _Time()
        quota = _quota("fixed", time, errors=QuotaErrors(hammer_penalty=10))
        _spend(quota, 301)
        times = [quota.admit("profile.get", user="ada", project="p") for _ in range(2)]
        assert [error.message[-13:] for error in times if error] == ["13:48:10.000Z", "13:48:20.000Z"]

    def test_every_method_has_its_price_in_both_profiles(self) -> None:
        names = {method.name for method in MethodTable(push=_NoPush()).methods}  # type: ignore[arg-type]
        for profile in PROFILES.values():
            assert profile.units.keys() == names


class _NoPush:
    watch = stop = staticmethod(lambda _: None)


class TestOverHttp:
    async def test_a_refusal_can_have_both_statuses_and_texts(self) -> None:
        async with open_mail(1, quota_window=1e9) as mail:
            await mail.control("PATCH", "gmail", {"user_limit_status": 429})
            while (answer := await mail.get("threads")).status_code == 200:
                pass
            assert reason(answer) == (429, "userRateLimitExceeded")
            assert re.search(
                r"  Retry after \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$", answer.json()["error"]["message"]
            )
            await mail.control("PATCH", "gmail", {"user_limit_status": 403, "names_time": False, "error_shape": "old"})
            error = (await mail.get("threads")).json()["error"]
            assert error.keys() == {"code", "message", "errors"}
            assert "Units per minute per user" in error["message"]

    async def test_a_batch_is_charged_by_the_part(self) -> None:
        async with open_mail(1, quota_window=1e9) as mail:
            [message] = (await mail.json("messages?includeSpamTrash=true"))["messages"]
            await mail.control("DELETE", "calls")
            part = f"GET /gmail/v1/users/me/messages/{message['id']}?format=minimal HTTP/1.1"
            statuses = [status for _ in range(4) for status, _ in await mail.batch([part] * 80)]
            assert statuses == [200] * 300 + [403] * 20
            calls = await mail.control("GET", "calls")
            assert calls["methods"]["gmail.messages.get"]["by_status"] == {"200": 300, "403": 20}
            assert calls["quota"]["users"][EMAIL]["units"] == 6000
            assert calls["quota"]["users"][EMAIL]["rejected"] == 20
            assert calls["quota"]["projects"]["100000000000"]["units"] == 6000

    async def test_only_so_many_calls_run_at_a_time(self) -> None:
        async with open_mail(1, concurrency=3) as mail:
            await mail.plan({"method": "gmail.labels.list", "kind": "slow", "seconds": 0.05})
            answers = await asyncio.gather(*(mail.get("labels") for _ in range(6)))
            refused = [answer for answer in answers if answer.status_code != 200]
            assert len(refused) == 3
            assert refused[0].json()["error"]["message"] == "Too many concurrent requests for user"
            await mail.plan()
            assert (await mail.get("labels")).status_code == 200

    async def test_an_unknown_profile_is_refused(self) -> None:
        async with open_mail() as mail:
            answer = await mail.http.patch("/_sandbox/gmail", json={"quota_profile": "free"})
            assert answer.status_code == 400
