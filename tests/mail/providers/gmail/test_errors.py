"""Every row of what Gmail answers when it refuses, in both shapes."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from services.mail.providers.base import (
    AccessDeniedError,
    MessageGoneError,
    ProviderError,
    ProviderUnavailableError,
    RateLimitedError,
    RejectedError,
    TokenRefusedError,
    TooConcurrentError,
)
from services.mail.providers.gmail.errors import parse_error

NOW = datetime(2026, 9, 11, 19, 59, 30, tzinfo=UTC)
HTML = b"<!DOCTYPE html><html lang=en><title>Error</title><p>That is an error."


def old(status: int, reason: str, message: str, domain: str = "global") -> bytes:
    """The shape with `errors` only."""
    entry = {"domain": domain, "reason": reason, "message": message}
    return json.dumps({"error": {"errors": [entry], "code": status, "message": message}}).encode()


def new(status: int, reason: str, message: str, name: str, detail: str | None = None) -> bytes:
    """The shape with `status` and sometimes `details`, and `errors` still there."""
    error: dict[str, Any] = json.loads(old(status, reason, message))["error"] | {"status": name}
    if detail:
        error["details"] = [
            {"@type": "type.googleapis.com/google.rpc.LocalizedMessage", "locale": "en"},
            {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": detail, "domain": "googleapis.com"},
        ]
    return json.dumps({"error": error}).encode()


def bare(status: int, message: str, name: str, detail: str | None = None) -> bytes:
    """The new shape without `errors`."""
    error = json.loads(new(status, "x", message, name, detail))["error"]
    del error["errors"]
    return json.dumps({"error": error}).encode()


def parsed(status: int, body: bytes, *, retry_after: str | None = None) -> ProviderError:
    """What the answer stands for."""
    return parse_error(status, body, now=lambda: NOW, retry_after=retry_after)


UNTIL = "User-rate limit exceeded.  Retry after 2026-09-11T20:00:00.000Z"
PER_USER = (
    "Quota exceeded for quota metric 'Queries' and limit 'Queries per minute per user' of service "
    "'gmail.googleapis.com' for consumer 'project_number:1'."
)
PER_PROJECT = PER_USER.replace(" per user", "")
ROWS: list[tuple[int, bytes, type[ProviderError]]] = [
    (400, old(400, "invalidArgument", "Invalid id value"), RejectedError),
    (400, new(400, "invalidArgument", "Invalid pageToken", "INVALID_ARGUMENT"), RejectedError),
    (400, bare(400, "Invalid id value", "INVALID_ARGUMENT"), RejectedError),
    (400, old(400, "badRequest", "Bad Request"), RejectedError),
    (400, HTML, RejectedError),
    (400, old(400, "failedPrecondition", "Mail service not enabled"), AccessDeniedError),
    (400, new(400, "failedPrecondition", "Mail service not enabled", "FAILED_PRECONDITION"), AccessDeniedError),
    (400, old(400, "failedPrecondition", "Precondition check failed."), RejectedError),
    (401, old(401, "authError", "Invalid Credentials"), TokenRefusedError),
    (401, new(401, "authError", "Request had invalid authentication credentials.", "UNAUTHENTICATED"),
     TokenRefusedError),
    (401, new(401, "required", "Login Required.", "UNAUTHENTICATED", "CREDENTIALS_MISSING"), TokenRefusedError),
    (401, HTML, TokenRefusedError),
    (403, old(403, "insufficientPermissions", "Insufficient Permission"), AccessDeniedError),
    (403, new(403, "insufficientPermissions", "Request had insufficient authentication scopes.", "PERMISSION_DENIED",
              "ACCESS_TOKEN_SCOPE_INSUFFICIENT"), AccessDeniedError),
    (403, bare(403, "Request had insufficient authentication scopes.", "PERMISSION_DENIED",
               "ACCESS_TOKEN_SCOPE_INSUFFICIENT"), AccessDeniedError),
    (403, old(403, "accessNotConfigured", "Gmail API has not been used in project 1 before or it is disabled"),
     ProviderUnavailableError),
    (403, bare(403, "Gmail API has not been used in project 1 before or it is disabled", "PERMISSION_DENIED",
               "SERVICE_DISABLED"), ProviderUnavailableError),
    (403, old(403, "domainPolicy", "The domain administrators have disabled Gmail apps."), AccessDeniedError),
    (403, old(403, "forbidden", "Metadata scope doesn't allow format FULL"), AccessDeniedError),
    (403, HTML, AccessDeniedError),
    (403, old(403, "dailyLimitExceeded", "Daily Limit Exceeded", "usageLimits"), RateLimitedError),
    (403, old(403, "rateLimitExceeded", "Rate Limit Exceeded", "usageLimits"), RateLimitedError),
    (403, old(403, "userRateLimitExceeded", "User Rate Limit Exceeded", "usageLimits"), RateLimitedError),
    (403, old(403, "rateLimitExceeded", PER_USER, "usageLimits"), RateLimitedError),
    (403, new(403, "rateLimitExceeded", UNTIL, "PERMISSION_DENIED"), RateLimitedError),
    (429, new(429, "rateLimitExceeded", UNTIL, "RESOURCE_EXHAUSTED"), RateLimitedError),
    (429, new(429, "userRateLimitExceeded", UNTIL, "RESOURCE_EXHAUSTED"), RateLimitedError),
    (429, bare(429, PER_USER, "RESOURCE_EXHAUSTED", "RATE_LIMIT_EXCEEDED"), RateLimitedError),
    (429, old(429, "rateLimitExceeded", "Resource has been exhausted (e.g. check quota)."), RateLimitedError),
    (429, HTML, RateLimitedError),
    (429, new(429, "rateLimitExceeded", "Too many concurrent requests for user", "RESOURCE_EXHAUSTED"),
     TooConcurrentError),
    (429, bare(429, "Too many concurrent requests for user", "RESOURCE_EXHAUSTED"), TooConcurrentError),
    (404, old(404, "notFound", "Not Found"), MessageGoneError),
    (404, new(404, "notFound", "Requested entity was not found.", "NOT_FOUND"), MessageGoneError),
    (410, HTML, MessageGoneError),
    (409, old(409, "aborted", "Aborted"), ProviderUnavailableError),
    (412, old(412, "conditionNotMet", "Precondition Failed"), ProviderUnavailableError),
    (413, b"Request Entity Too Large", RejectedError),
    (500, old(500, "backendError", "Backend Error"), ProviderUnavailableError),
    (502, HTML, ProviderUnavailableError),
    (503, bare(503, "The service is currently unavailable.", "UNAVAILABLE"), ProviderUnavailableError),
    (504, b"", ProviderUnavailableError),
    (501, b"", RejectedError),
    (429, b"", RateLimitedError),
    (403, b"", AccessDeniedError),
    (401, b"", TokenRefusedError),
]  # fmt: skip


class TestKinds:
    @pytest.mark.parametrize(("status", "body", "kind"), ROWS)
    def test_every_row(self, status: int, body: bytes, kind: type[ProviderError]) -> None:
        assert type(parsed(status, body)) is kind

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"null",
            b"[]",
            b'"text"',
            b'{"error": "invalid_grant"}',
            b'{"error": null}',
            b'{"error": []}',
            b'{"error": {"errors": 7}}',
            b'{"error": {"errors": [null, {"reason": 5}], "message": 7}}',
            b"\xff\xfe",
            b"[" * 100_000,
        ],
    )
    @pytest.mark.parametrize("status", [400, 401, 403, 404, 418, 429, 500])
    def test_survive_any_body(self, status: int, body: bytes) -> None:
        assert isinstance(parsed(status, body), ProviderError)


def limit(status: int, body: bytes, *, retry_after: str | None = None) -> RateLimitedError:
    """The answer, which has to be one about quota."""
    error = parsed(status, body, retry_after=retry_after)
    assert isinstance(error, RateLimitedError)
    return error


class TestLimits:
    @pytest.mark.parametrize("message", ["User Rate Limit Exceeded", PER_USER, UNTIL])
    def test_of_a_user_leave_other_mailboxes_alone(self, message: str) -> None:
        assert not limit(403, old(403, "rateLimitExceeded", message)).whole_project

    @pytest.mark.parametrize("message", ["Rate Limit Exceeded", PER_PROJECT])
    def test_of_the_project_stop_all_mailboxes(self, message: str) -> None:
        assert limit(403, old(403, "rateLimitExceeded", message)).whole_project

    def test_of_the_day_stop_all_mailboxes_for_long(self) -> None:
        error = limit(403, old(403, "dailyLimitExceeded", "Daily Limit Exceeded"))
        assert error.whole_project
        assert error.retry_after >= 600

    @pytest.mark.parametrize(
        "time", ["2026-09-11T20:00:00.000Z", "2026-09-11T20:00:00Z", "2026-09-11T20:00:00.123456Z"]
    )
    def test_last_until_the_time_in_the_message(self, time: str) -> None:
        error = limit(429, old(429, "userRateLimitExceeded", f"User-rate limit exceeded.  Retry after {time}"))
        assert 30 <= error.retry_after <= 31

    @pytest.mark.parametrize(
        ("header", "seconds"), [("7", 7), (" 7 ", 7), ("Fri, 11 Sep 2026 20:00:00 GMT", 30), ("Fri, 11 Sep 2026", None)]
    )
    def test_last_until_the_time_in_the_header(self, header: str, seconds: int | None) -> None:
        body = old(429, "userRateLimitExceeded", "User Rate Limit Exceeded")
        default = limit(429, body).retry_after
        expected = default if seconds is None else seconds
        assert expected <= limit(429, body, retry_after=header).retry_after <= expected + 1

    @pytest.mark.parametrize(
        "message", ["Retry after 2020-01-01T00:00:00Z", "Retry after 2026-99-99T99:99:99Z", "Retry after soon"]
    )
    def test_with_a_useless_time_last_a_moment(self, message: str) -> None:
        assert 0 < limit(429, old(429, "userRateLimitExceeded", message)).retry_after <= 10

    def test_never_last_for_ever(self) -> None:
        body = old(429, "userRateLimitExceeded", "Retry after 9999-01-01T00:00:00Z")
        assert limit(429, body).retry_after <= 3600
        assert limit(429, body, retry_after="9" * 400).retry_after <= 3600
