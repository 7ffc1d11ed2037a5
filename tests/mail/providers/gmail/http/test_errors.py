"""Error answers: Gmail's, row by row and in each shape, and those of other servers."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from services.mail.providers.errors import (
    AccessDeniedError,
    AdminPolicyError,
    MailboxDisabledError,
    ProviderError,
    ProviderUnavailableError,
    RateLimitedError,
    RejectedError,
    RouteMissingError,
    ScopeMissingError,
    TokenRefusedError,
    TooConcurrentError,
    UnclearLimitError,
)
from services.mail.providers.gmail.http.errors import (
    _TABLE,
    InvalidArgumentError,
    NotFoundError,
    _deciding_row,
    _read,
    parse_error,
)

NOW = datetime(2026, 9, 11, 19, 59, 30, tzinfo=UTC)
HTML = b"<!DOCTYPE html><html lang=en><title>Error</title><p>That is an error."


def old(status: int, reason: str, message: str, domain: str = "global") -> bytes:
    """Return a body in the shape with `errors` only."""
    entry = {"domain": domain, "reason": reason, "message": message}
    return json.dumps({"error": {"errors": [entry], "code": status, "message": message}}).encode()


def new(status: int, reason: str, message: str, name: str, detail: str | None = None) -> bytes:
    """Return a body in the shape with `status`, optional `details`, and `errors`."""
    error: dict[str, Any] = json.loads(old(status, reason, message))["error"] | {"status": name}
    if detail:
        error["details"] = [
            {"@type": "type.googleapis.com/google.rpc.LocalizedMessage", "locale": "en"},
            {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": detail, "domain": "googleapis.com"},
        ]
    return json.dumps({"error": error}).encode()


def bare(status: int, message: str, name: str, detail: str | None = None) -> bytes:
    """Return a body in the newer shape without `errors`."""
    error = json.loads(new(status, "x", message, name, detail))["error"]
    del error["errors"]
    return json.dumps({"error": error}).encode()


def parsed(status: int, body: bytes, *, retry_after: str | None = None, challenge: str | None = None) -> ProviderError:
    """Return the error of an answer."""
    return parse_error(status, body, now=lambda: NOW, retry_after=retry_after, challenge=challenge)


UNTIL = "User-rate limit exceeded.  Retry after 2026-09-11T20:00:00.000Z"
PER_USER = (
    "Quota exceeded for quota metric 'Queries' and limit 'Queries per minute per user' of service "
    "'gmail.googleapis.com' for consumer 'project_number:1'."
)
PER_PROJECT = PER_USER.replace(" per user", "")
NOT_USED = "Gmail API has not been used in project 1 before or it is disabled"
SCOPES = "Request had insufficient authentication scopes."
ADMINISTRATORS = "The domain administrators have disabled Gmail apps."
CONCURRENT = "Too many concurrent requests for user"
# Google's answers: HTTP status, reason in `errors`, `status`, reason in `details`, message, and the error.
GOOGLES: list[tuple[int, str, str, str | None, str, type[ProviderError]]] = [
    (400, "invalidArgument", "INVALID_ARGUMENT", None, "Invalid id value", InvalidArgumentError),
    (400, "invalidArgument", "INVALID_ARGUMENT", None, "Invalid pageToken", InvalidArgumentError),
    (400, "badRequest", "INVALID_ARGUMENT", None, "Bad Request", InvalidArgumentError),
    (400, "failedPrecondition", "FAILED_PRECONDITION", None, "Mail service not enabled", MailboxDisabledError),
    (400, "failedPrecondition", "FAILED_PRECONDITION", None, "Precondition check failed.", RejectedError),
    (401, "authError", "UNAUTHENTICATED", None, "Request had invalid authentication credentials.", TokenRefusedError),
    (401, "required", "UNAUTHENTICATED", "CREDENTIALS_MISSING", "Login Required.", TokenRefusedError),
    (403, "insufficientPermissions", "PERMISSION_DENIED", "ACCESS_TOKEN_SCOPE_INSUFFICIENT", SCOPES, ScopeMissingError),
    (403, "accessNotConfigured", "PERMISSION_DENIED", "SERVICE_DISABLED", NOT_USED, ProviderUnavailableError),
    (403, "domainPolicy", "PERMISSION_DENIED", None, ADMINISTRATORS, AdminPolicyError),
    (403, "forbidden", "PERMISSION_DENIED", None, "Metadata scope doesn't allow format FULL", ScopeMissingError),
    (403, "forbidden", "PERMISSION_DENIED", None, "Delegation denied for a@example.com", AccessDeniedError),
    (403, "dailyLimitExceeded", "RESOURCE_EXHAUSTED", None, "Daily Limit Exceeded", RateLimitedError),
    (403, "rateLimitExceeded", "PERMISSION_DENIED", "RATE_LIMIT_EXCEEDED", "Rate Limit Exceeded", RateLimitedError),
    (403, "rateLimitExceeded", "PERMISSION_DENIED", "RATE_LIMIT_EXCEEDED", PER_USER, RateLimitedError),
    (403, "rateLimitExceeded", "PERMISSION_DENIED", "RATE_LIMIT_EXCEEDED", UNTIL, RateLimitedError),
    (403, "userRateLimitExceeded", "RESOURCE_EXHAUSTED", None, "User Rate Limit Exceeded", RateLimitedError),
    (403, "rateLimitExceeded", "PERMISSION_DENIED", None, CONCURRENT, TooConcurrentError),
    (404, "notFound", "NOT_FOUND", None, "Requested entity was not found.", NotFoundError),
    (409, "aborted", "ABORTED", None, "Aborted", ProviderUnavailableError),
    (412, "conditionNotMet", "FAILED_PRECONDITION", None, "Precondition Failed", ProviderUnavailableError),
    (429, "rateLimitExceeded", "RESOURCE_EXHAUSTED", "RATE_LIMIT_EXCEEDED", UNTIL, RateLimitedError),
    (429, "rateLimitExceeded", "RESOURCE_EXHAUSTED", "RATE_LIMIT_EXCEEDED", PER_PROJECT, RateLimitedError),
    (429, "rateLimitExceeded", "RESOURCE_EXHAUSTED", None, "Resource has been exhausted (e.g. check quota).",
     UnclearLimitError),
    (429, "userRateLimitExceeded", "RESOURCE_EXHAUSTED", None, UNTIL, RateLimitedError),
    (429, "dailyLimitExceeded", "RESOURCE_EXHAUSTED", None, "Daily Limit Exceeded", RateLimitedError),
    (429, "rateLimitExceeded", "RESOURCE_EXHAUSTED", None, CONCURRENT, TooConcurrentError),
    (500, "backendError", "INTERNAL", None, "Backend Error", ProviderUnavailableError),
    (501, "notImplemented", "UNIMPLEMENTED", None, "Not Implemented", RouteMissingError),
    (503, "backendError", "UNAVAILABLE", None, "The service is currently unavailable.", ProviderUnavailableError),
]  # fmt: skip
# Answers of stand-ins in Google's shape: status, body, and the error.
NEARLY_GOOGLES: list[tuple[int, str, type[ProviderError]]] = [
    (400, '{"error": {"code": 400, "message": "Bad Request"}}', InvalidArgumentError),
    (401, '{"error": {"code": 401}}', TokenRefusedError),
    (403, bare(403, "Forbidden", "PERMISSION_DENIED").decode(), AccessDeniedError),
    (403, bare(403, UNTIL, "PERMISSION_DENIED").decode(), RateLimitedError),
    (403, bare(403, PER_USER, "PERMISSION_DENIED").decode(), RateLimitedError),
    (403, bare(403, "Rate Limit Exceeded", "PERMISSION_DENIED").decode(), RateLimitedError),
    (403, bare(403, "Daily Limit Exceeded", "PERMISSION_DENIED").decode(), RateLimitedError),
    (403, bare(403, NOT_USED, "PERMISSION_DENIED").decode(), ProviderUnavailableError),
    (403, bare(403, ADMINISTRATORS, "PERMISSION_DENIED").decode(), AdminPolicyError),
    (403, '{"error": {"code": 403, "message": "Rate Limit Exceeded"}}', RateLimitedError),
    (403, '{"error": {"code": 403, "message": "Out of quota"}}', RateLimitedError),
    (403, old(403, "backendError", "Backend Error").decode(), ProviderUnavailableError),
    (403, new(403, "whatever", "Forbidden", "PERMISSION_DENIED").decode(), ProviderUnavailableError),
    (403, '{"error": {"code": 403, "message": "Forbidden"}}', ProviderUnavailableError),
    (404, '{"error": {"code": 404, "message": "Not Found"}}', NotFoundError),
    (404, '{"error": {"code": "404", "message": "Not Found"}}', NotFoundError),
    (404, '{"error": {"status": "NOT_FOUND"}}', NotFoundError),
    (404, '{"error": {"errors": [{"reason": "notFound"}]}}', NotFoundError),
    (405, '{"error": {"code": 405, "message": "Method Not Allowed"}}', RouteMissingError),
    (410, '{"error": {"code": 410, "message": "Gone"}}', NotFoundError),
    (413, '{"error": {"code": 413, "message": "Too Large"}}', RejectedError),
    (418, '{"error": {"code": 418, "message": "Teapot"}}', ProviderUnavailableError),
    (429, '{"error": {"code": 429, "message": "Slow down"}}', RateLimitedError),
]
# Bodies that are not Google's error object.
FOREIGN = [
    b"",
    HTML,
    b"no such thing",
    b"null",
    b"[]",
    b'"text"',
    b'{"detail": "Not Found"}',
    b'{"message": "no Route matched with those values"}',
    b'{"error": "invalid_grant"}',
    b'{"error": null}',
    b'{"error": []}',
    b'{"error": {"message": "Not Found"}}',
    b'{"error": {"code": 1020, "message": "Access denied"}}',
    b'{"error": {"status": "failed", "message": "Not Found"}}',
    b'{"error": {"errors": 7}}',
    b'{"error": {"errors": [null, {"reason": 5}], "message": 7}}',
    b"\xff\xfe",
    b"[" * 100_000,
]
MEANING_OF_FOREIGN: dict[int, type[ProviderError]] = {
    302: ProviderUnavailableError,
    400: ProviderUnavailableError,
    403: ProviderUnavailableError,
    404: RouteMissingError,
    405: RouteMissingError,
    408: ProviderUnavailableError,
    409: ProviderUnavailableError,
    410: ProviderUnavailableError,
    413: RejectedError,
    418: ProviderUnavailableError,
    429: RateLimitedError,
    500: ProviderUnavailableError,
    501: RouteMissingError,
    502: ProviderUnavailableError,
    503: ProviderUnavailableError,
    504: ProviderUnavailableError,
}


class TestKinds:
    @pytest.mark.parametrize(("status", "reason", "name", "detail", "message", "kind"), GOOGLES)
    def test_of_google_are_the_same_in_all_shapes(
        self, status: int, reason: str, name: str, detail: str | None, message: str, kind: type[ProviderError]
    ) -> None:
        assert type(parsed(status, old(status, reason, message))) is kind
        assert type(parsed(status, new(status, reason, message, name, detail))) is kind

    @pytest.mark.parametrize(
        ("status", "reason", "name", "detail", "message", "kind"),
        [row for row in GOOGLES if row[3] or row[1] in ("notFound", "invalidArgument", "authError")],
    )
    def test_of_google_need_no_errors_array(
        self, status: int, reason: str, name: str, detail: str | None, message: str, kind: type[ProviderError]
    ) -> None:
        del reason
        assert type(parsed(status, bare(status, message, name, detail))) is kind

    @pytest.mark.parametrize(("status", "body", "kind"), NEARLY_GOOGLES)
    def test_of_stand_ins_are_understood(self, status: int, body: str, kind: type[ProviderError]) -> None:
        assert type(parsed(status, body.encode())) is kind

    @pytest.mark.parametrize("body", FOREIGN, ids=range(len(FOREIGN)))
    @pytest.mark.parametrize("status", MEANING_OF_FOREIGN)
    def test_of_other_servers_are_an_outage(self, status: int, body: bytes) -> None:
        assert type(parsed(status, body)) is MEANING_OF_FOREIGN[status]

    def test_use_every_row_of_the_table(self) -> None:
        answers = [(status, old(status, reason, message)) for status, reason, _, _, message, _ in GOOGLES]
        answers += [(status, body.encode()) for status, body, _ in NEARLY_GOOGLES]
        answers += [(status, b"") for status in MEANING_OF_FOREIGN]
        assert {_deciding_row(status, _read(status, body)) for status, body in answers} - {None} == set(_TABLE)


class TestRefusedTokens:
    """Answers of 401 without Google's error object. A new token costs little, and a stand-in may send no more."""

    @pytest.mark.parametrize("body", [b"", b"Unauthorized", b'{"detail": "expired"}', b'{"error": "invalid_token"}'])
    def test_count_unless_the_body_is_a_page(self, body: bytes) -> None:
        assert type(parsed(401, body)) is TokenRefusedError

    @pytest.mark.parametrize("body", [HTML, b"\n <html>", HTML.decode()])
    def test_do_not_count_if_the_body_is_a_page(self, body: bytes | str) -> None:
        assert type(parse_error(401, body, now=lambda: NOW)) is ProviderUnavailableError

    @pytest.mark.parametrize("body", [b"", HTML, b"Unauthorized"])
    def test_count_for_a_bearer_challenge_only(self, body: bytes) -> None:
        bearer = 'Bearer realm="https://accounts.google.com/", error="invalid_token"'
        assert type(parsed(401, body, challenge=bearer)) is TokenRefusedError
        assert type(parsed(401, body, challenge='Basic realm="proxy"')) is ProviderUnavailableError

    def test_of_google_count_with_any_challenge(self) -> None:
        body = old(401, "authError", "Invalid Credentials")
        assert type(parsed(401, body, challenge='Basic realm="proxy"')) is TokenRefusedError


def limit(status: int, body: bytes, *, retry_after: str | None = None) -> RateLimitedError:
    """Return the quota error of the answer."""
    error = parsed(status, body, retry_after=retry_after)
    assert isinstance(error, RateLimitedError)
    return error


class TestLimits:
    @pytest.mark.parametrize("status", [403, 429])
    @pytest.mark.parametrize("message", ["User Rate Limit Exceeded", PER_USER, UNTIL])
    def test_of_a_user_hold_for_one_mailbox(self, status: int, message: str) -> None:
        assert not limit(status, old(status, "rateLimitExceeded", message)).whole_project
        assert not limit(status, bare(status, message, "X", "RATE_LIMIT_EXCEEDED")).whole_project
        assert not limit(status, old(status, "userRateLimitExceeded", "Rate Limit Exceeded")).whole_project

    @pytest.mark.parametrize("message", ["Resource has been exhausted (e.g. check quota).", "Rate Limit Exceeded"])
    def test_that_do_not_say_whose_they_are_hold_for_one_mailbox_at_first(self, message: str) -> None:
        for body in (old(429, "rateLimitExceeded", message), bare(429, message, "X", "RATE_LIMIT_EXCEEDED")):
            assert isinstance(limit(429, body), UnclearLimitError)
            assert not limit(429, body).whole_project

    @pytest.mark.parametrize(
        ("status", "message"), [(403, "Rate Limit Exceeded"), (403, PER_PROJECT), (429, PER_PROJECT)]
    )
    def test_of_the_project_hold_for_all_mailboxes(self, status: int, message: str) -> None:
        assert limit(status, old(status, "rateLimitExceeded", message)).whole_project
        assert limit(status, bare(status, message, "X", "RATE_LIMIT_EXCEEDED")).whole_project

    def test_of_a_proxy_hold_for_one_mailbox(self) -> None:
        assert not limit(429, HTML).whole_project

    @pytest.mark.parametrize("status", [403, 429])
    def test_of_the_day_hold_for_all_mailboxes_and_long(self, status: int) -> None:
        error = limit(status, old(status, "dailyLimitExceeded", "Daily Limit Exceeded"))
        assert error.whole_project
        assert error.retry_after >= 600

    @pytest.mark.parametrize(
        "time", ["2026-09-11T20:00:00.000Z", "2026-09-11T20:00:00Z", "2026-09-11T20:00:00.123456Z"]
    )
    def test_last_until_the_time_in_the_message(self, time: str) -> None:
        error = limit(429, old(429, "userRateLimitExceeded", f"User-rate limit exceeded.  Retry after {time}"))
        assert 30 <= error.retry_after <= 31

    @pytest.mark.parametrize(
        ("header", "seconds"),
        [
            ("7", 7),
            (" 7 ", 7),
            ("Fri, 11 Sep 2026 20:00:00 GMT", 30),
            ("Fri, 11 Sep 2026", None),
            ("Fri, 11 Sep 99999999999 20:00:00 GMT", None),
        ],
    )
    def test_last_until_the_time_in_the_header(self, header: str, seconds: int | None) -> None:
        body = old(429, "userRateLimitExceeded", "User Rate Limit Exceeded")
        default = limit(429, body).retry_after
        expected = default if seconds is None else seconds
        assert expected <= limit(429, body, retry_after=header).retry_after <= expected + 1

    @pytest.mark.parametrize(
        "message", ["Retry after 2020-01-01T00:00:00Z", "Retry after 2026-99-99T99:99:99Z", "Retry after soon"]
    )
    def test_with_a_malformed_time_last_a_moment(self, message: str) -> None:
        assert 0 < limit(429, old(429, "userRateLimitExceeded", message)).retry_after <= 10

    def test_have_an_upper_bound(self) -> None:
        body = old(429, "userRateLimitExceeded", "Retry after 9999-01-01T00:00:00Z")
        assert limit(429, body).retry_after <= 3600
        assert limit(429, body, retry_after="9" * 400).retry_after <= 3600

    def test_without_reasons_last_until_the_time_in_the_message(self) -> None:
        assert 30 <= limit(403, bare(403, UNTIL, "PERMISSION_DENIED")).retry_after <= 31
