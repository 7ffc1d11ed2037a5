"""The adapter's methods: how they read Gmail's answers, and those of proxies and outages."""

import json
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from services.mail.model import Label, ListedId, Role
from services.mail.providers.base import Get, Profile
from services.mail.providers.errors import (
    AdminPolicyError,
    CursorLostError,
    LabelGoneError,
    MailboxDisabledError,
    MessageGoneError,
    NotInThreadError,
    PageTokenExpiredError,
    ProviderError,
    ProviderUnavailableError,
    RateLimitedError,
    RejectedError,
    RouteMissingError,
    ScopeMissingError,
    TokenRefusedError,
    UnclearLimitError,
)
from services.mail.providers.gmail.adapter import GmailProvider
from services.mail.providers.gmail.batch import BOUNDARY
from tests.support.mail.gmail_calls import CALLS, COSTS, MESSAGE, THREAD, TOKEN, GmailCall, gmail_that_answers

PAGE = "<!DOCTYPE html><html><title>Sign in to the network</title>"
JSON = {"Content-Type": "application/json"}
SCRIPT = "<script>{}</script>"
PORTAL = {"login": "https://portal.example"}
FOREIGN_404 = (404, PAGE)
each_call = pytest.mark.parametrize("call", CALLS, ids=str)


def googles(status: int, reason: str, message: str = "") -> tuple[int, str]:
    """Return status and body of an error in Google's format."""
    entry = {"domain": "global", "reason": reason, "message": message}
    return status, json.dumps({"error": {"code": status, "message": message, "errors": [entry]}})


def answered(status: int, body: object) -> httpx.Response:
    """Return an answer with this body, text or JSON."""
    text = body if isinstance(body, str) else json.dumps(body)
    return httpx.Response(status, text=text, headers=JSON)


async def outcome(call: GmailCall, status: int, body: object) -> object:
    """Return what a call returns or raises for this answer."""
    async with gmail_that_answers(lambda _: answered(status, body)) as at:
        try:
            return await call.make(at)
        except ProviderError as error:
            return error


class TestForeignAnswers:
    """Answers of proxies, captive portals and outages: never data, and no proof that anything is gone."""

    @each_call
    @pytest.mark.parametrize("status", [302, 307, 400, 403, 410, 418, 500, 502, 503])
    async def test_with_an_error_status_are_an_outage(self, call: GmailCall, status: int) -> None:
        assert isinstance(await outcome(call, status, PAGE), ProviderUnavailableError)

    @each_call
    @pytest.mark.parametrize(
        "body",
        [
            PAGE,
            '{"id": "m", "hist',
            "[]",
            '"text"',
            "null",
            PORTAL,
            {"error": {"code": 9}},
        ],
        ids=["page", "truncated", "array", "string", "null", "other object", "error object"],
    )
    async def test_with_a_success_status_are_an_outage(self, call: GmailCall, body: object) -> None:
        result = await outcome(call, 200, body)
        match call.name, body:
            case "thread", {"login": _}:
                assert isinstance(result, NotInThreadError)
            case "stop", {"login": _}:
                # The adapter reads nothing from this answer.
                assert result is None
            case _:
                assert isinstance(result, ProviderUnavailableError)

    @each_call
    @pytest.mark.parametrize("status", [404, 405, 501])
    @pytest.mark.parametrize("body", ["", PAGE, "no such thing", {"detail": "Not Found"}])
    async def test_about_a_missing_route_say_nothing_about_its_object(
        self, call: GmailCall, status: int, body: object
    ) -> None:
        result = await outcome(call, status, body)
        match call.name:
            case "profile":
                assert result == Profile()
            case "labels" | "send as":
                assert result is None
            case "thread":
                assert isinstance(result, NotInThreadError)
            case "attachment":
                assert isinstance(result, ProviderUnavailableError)
            case _:
                assert isinstance(result, ProviderUnavailableError)
                assert call.name in ("watch", "stop") or type(result) is RouteMissingError

    @each_call
    async def test_that_ask_for_a_password_are_an_outage(self, call: GmailCall) -> None:
        assert isinstance(await outcome(call, 401, PAGE), ProviderUnavailableError)


class TestGooglesErrors:
    @each_call
    @pytest.mark.parametrize(
        ("status", "reason", "kind"),
        [
            (401, "authError", TokenRefusedError),
            (403, "insufficientPermissions", ScopeMissingError),
            (403, "domainPolicy", AdminPolicyError),
            (403, "userRateLimitExceeded", RateLimitedError),
            (429, "rateLimitExceeded", UnclearLimitError),
            (503, "backendError", ProviderUnavailableError),
        ],
    )
    async def test_map_to_the_same_error_for_every_call(
        self, call: GmailCall, status: int, reason: str, kind: type[ProviderError]
    ) -> None:
        assert type(await outcome(call, *googles(status, reason))) is kind

    @each_call
    async def test_of_a_missing_object_map_to_the_error_of_the_call(self, call: GmailCall) -> None:
        result = await outcome(call, *googles(404, "notFound", "Requested entity was not found."))
        match call.name:
            case "profile":
                assert result == Profile()
            case "labels" | "send as":
                assert result is None
            case "history":
                assert type(result) is CursorLostError
            case "thread":
                assert type(result) is NotInThreadError
            case "version" | "message" | "raw" | "part" | "batch":
                assert type(result) is MessageGoneError
            case _:
                assert isinstance(result, ProviderUnavailableError)


class TestProfile:
    async def read(self, body: dict[str, Any]) -> Profile:
        async with gmail_that_answers(lambda _: answered(200, body)) as at:
            return await at.provider.profile(TOKEN)

    async def test_has_cursor_total_and_address(self) -> None:
        body = {
            "emailAddress": "ada@example.com",
            "messagesTotal": 7,
            "threadsTotal": 3,
            "historyId": str(2**64),
        }
        assert await self.read(body) == Profile(cursor=2**64, message_count=7, address="ada@example.com")

    async def test_tolerates_missing_fields(self) -> None:
        assert await self.read({"messagesTotal": "7"}) == Profile(message_count=7)
        assert await self.read({"emailAddress": ["x"], "messagesTotal": "many", "historyId": None}) == Profile()
        assert await self.read({}) == Profile()


def page_params(*, token: str | None = None, label: str | None = None) -> dict[str, Any]:
    """Return the arguments of a listing."""
    return {"page_token": token, "page_size": 9, "include_spam_trash": True, "label_id": label}


class TestListing:
    async def error(self, status: int, body: str, **params: Any) -> Exception:
        async with gmail_that_answers(lambda _: answered(status, body)) as at:
            with pytest.raises(ProviderError) as raised:
                await at.provider.list_ids(TOKEN, **page_params(**params))
            return raised.value

    @pytest.mark.parametrize(
        ("answer", "kind"),
        [
            (googles(400, "invalidArgument", "Invalid pageToken"), PageTokenExpiredError),
            (googles(400, "badRequest", "Bad Request"), PageTokenExpiredError),
            ((400, '{"error": {"code": 400, "message": "Bad Request"}}'), PageTokenExpiredError),
            (googles(404, "notFound"), PageTokenExpiredError),
            (googles(410, "gone"), PageTokenExpiredError),
            (googles(400, "failedPrecondition", "Precondition check failed."), RejectedError),
            (googles(403, "domainPolicy"), AdminPolicyError),
            (googles(503, "backendError"), ProviderUnavailableError),
            ((400, PAGE), ProviderUnavailableError),
            ((400, ""), ProviderUnavailableError),
            ((410, PAGE), ProviderUnavailableError),
            (FOREIGN_404, RouteMissingError),
        ],
    )
    async def test_drops_the_page_token_only_if_google_refuses_it(
        self, answer: tuple[int, str], kind: type[ProviderError]
    ) -> None:
        assert type(await self.error(*answer, token="t")) is kind

    @pytest.mark.parametrize(
        ("answer", "token", "kind"),
        [
            (googles(404, "notFound"), None, LabelGoneError),
            (googles(404, "notFound"), "t", LabelGoneError),
            (googles(400, "invalidArgument", "Invalid label: L"), None, LabelGoneError),
            (googles(400, "invalidArgument", "Invalid pageToken"), "t", PageTokenExpiredError),
            (FOREIGN_404, None, RouteMissingError),
            ((400, PAGE), None, ProviderUnavailableError),
        ],
    )
    async def test_drops_the_label_only_if_google_does_not_know_it(
        self, answer: tuple[int, str], token: str | None, kind: type[ProviderError]
    ) -> None:
        assert type(await self.error(*answer, token=token, label="L")) is kind

    @pytest.mark.parametrize(
        "body",
        [
            {"messages": "x"},
            {"messages": {"id": "a"}},
            {"messages": [7]},
            {"messages": [{"id": "a"}, {"threadId": "t"}]},
            {"messages": [{"id": ""}]},
            {"messages": [], "nextPageToken": {"a": 1}},
            {"messages": [], "nextPageToken": True},
        ],
    )
    async def test_with_fields_of_other_types_is_an_error(self, body: dict[str, Any]) -> None:
        assert type(await self.error(200, json.dumps(body))) is ProviderUnavailableError

    @pytest.mark.parametrize(
        ("body", "ids", "token"),
        [
            ({}, [], None),
            ({"resultSizeEstimate": 0}, [], None),
            ({"messages": None, "nextPageToken": ""}, [], None),
            ({"messages": [], "nextPageToken": "7"}, [], "7"),
            (
                {"messages": [{"id": 7, "threadId": 8}], "nextPageToken": 9},
                [ListedId(external_id="7", thread_id="8")],
                "9",
            ),
        ],
    )
    async def test_may_be_empty_in_any_form(self, body: dict[str, Any], ids: list[ListedId], token: str | None) -> None:
        async with gmail_that_answers(lambda _: answered(200, body)) as at:
            page = await at.provider.list_ids(TOKEN, **page_params())
        assert (page.listed, page.next_page_token) == (ids, token)


class TestHistory:
    @pytest.mark.parametrize(
        ("answer", "token", "kind"),
        [
            (googles(404, "notFound", "Requested entity was not found."), None, CursorLostError),
            (googles(404, "notFound", "Requested entity was not found."), "t", CursorLostError),
            ((404, '{"error": {"code": 404, "message": "Not Found"}}'), None, CursorLostError),
            (googles(400, "invalidArgument", "Invalid startHistoryId"), None, CursorLostError),
            (googles(400, "invalidArgument", "Invalid value at 'start_history_id' (TYPE_UINT64), \"x\""), None,
             CursorLostError),
            (googles(400, "invalidArgument", "Invalid pageToken"), "t", PageTokenExpiredError),
            (googles(400, "badRequest", "Bad Request"), None, ProviderUnavailableError),
            (googles(400, "failedPrecondition", "Mail service not enabled"), None, MailboxDisabledError),
            ((400, PAGE), None, ProviderUnavailableError),
            ((400, ""), None, ProviderUnavailableError),
            ((400, PAGE), "t", ProviderUnavailableError),
            ((403, PAGE), None, ProviderUnavailableError),
            ((410, PAGE), None, ProviderUnavailableError),
            (FOREIGN_404, None, RouteMissingError),
            (FOREIGN_404, "t", RouteMissingError),
        ],
    )  # fmt: skip
    async def test_is_lost_only_if_google_says_so(
        self, answer: tuple[int, str], token: str | None, kind: type[ProviderError]
    ) -> None:
        async with gmail_that_answers(lambda _: answered(*answer)) as at:
            with pytest.raises(ProviderError) as raised:
                await at.provider.list_changes(TOKEN, cursor=7, page_token=token)
        assert type(raised.value) is kind


class TestLabels:
    async def read(self, status: int, body: object) -> list[Label] | None:
        async with gmail_that_answers(lambda _: answered(status, body)) as at:
            return await at.provider.list_labels(TOKEN)

    async def test_have_names_types_and_roles(self) -> None:
        body = {"labels": [{"id": "INBOX", "name": "INBOX", "type": "system"}, {"id": 7, "type": "user"}]}
        assert await self.read(200, body) == [
            Label(label_id="INBOX", name="INBOX", type="system", role=Role.INBOX),
            Label(label_id="7", name="7", type="user"),
        ]

    async def test_distinguish_no_list_from_an_empty_one(self) -> None:
        assert await self.read(*FOREIGN_404) is None
        assert await self.read(200, {"labels": []}) == []

    @pytest.mark.parametrize("labels", ["x", [7], [{"name": "Later"}], {"id": "INBOX"}])
    async def test_with_fields_of_other_types_are_an_error(self, labels: object) -> None:
        with pytest.raises(ProviderUnavailableError):
            await self.read(200, {"labels": labels})

    def test_of_every_mailbox_are_built_in(self) -> None:
        known = {label.label_id for label in GmailProvider.built_in_labels}
        assert {"INBOX", "SPAM", "TRASH", "UNREAD", "STARRED", "CATEGORY_PROMOTIONS"} <= known


class TestSendAs:
    async def read(self, status: int, body: object) -> list[str] | None:
        async with gmail_that_answers(lambda _: answered(status, body)) as at:
            return await at.provider.list_send_as(TOKEN)

    async def test_are_the_confirmed_addresses(self) -> None:
        body = {
            "sendAs": [
                {"sendAsEmail": "ada@example.com", "isPrimary": True},
                {"sendAsEmail": "sales@example.com", "verificationStatus": "accepted"},
                {"sendAsEmail": "stranger@example.com", "verificationStatus": "pending"},
                {"displayName": "Ada"},
            ]
        }
        assert await self.read(200, body) == ["ada@example.com", "sales@example.com"]

    async def test_distinguish_no_list_from_an_empty_one(self) -> None:
        assert await self.read(*FOREIGN_404) is None
        assert await self.read(200, {"sendAs": []}) == []


class TestWatch:
    async def ends(self, body: object) -> datetime:
        async with gmail_that_answers(lambda _: answered(200, body)) as at:
            return await at.provider.watch(TOKEN)

    @pytest.mark.parametrize("expiration", ["1767225600000", 1767225600000])
    async def test_ends_at_the_answers_expiration(self, expiration: object) -> None:
        assert await self.ends({"historyId": "7", "expiration": expiration}) == datetime(2026, 1, 1, tzinfo=UTC)

    @pytest.mark.parametrize("body", ["", {}, {"expiration": None}, {"expiration": "soon"}, {"expiration": 10**30}])
    async def test_without_an_expiration_is_an_error(self, body: object) -> None:
        with pytest.raises(ProviderUnavailableError):
            await self.ends(body)


class TestEmptyAttachment:
    async def copied(self, body: object) -> bytes:
        copy = bytearray()

        async def write(data: bytes) -> None:
            copy.extend(data)

        async with gmail_that_answers(lambda _: answered(200, body)) as at:
            await at.downloads.copy_attachment(TOKEN, "m", "a", write, empty=True)
        return bytes(copy)

    @pytest.mark.parametrize("body", [{}, {"size": 0}, {"size": 0, "data": ""}, {"data": "aGk="}])
    async def test_may_lack_its_bytes(self, body: dict[str, Any]) -> None:
        assert await self.copied(body) == (b"hi" if body.get("data") else b"")

    @pytest.mark.parametrize("body", ["", PAGE, SCRIPT, '{"size": 0', '{"data": "aGk', "[]"])
    async def test_does_not_accept_other_answers(self, body: str) -> None:
        with pytest.raises(ProviderUnavailableError):
            await self.copied(body)


def batch_of(*parts: tuple[int, str]) -> httpx.Response:
    """Return a batch answer with these parts."""
    lines = []
    for place, (status, body) in enumerate(parts):
        lines += [f"--{BOUNDARY}", "Content-Type: application/http", f"Content-ID: <response-item-{place}>", ""]
        lines += [f"HTTP/1.1 {status} X", "Content-Type: text/html", "", body]
    text = "\r\n".join([*lines, f"--{BOUNDARY}--", ""])
    return httpx.Response(200, text=text, headers={"Content-Type": f"multipart/mixed; boundary={BOUNDARY}"})


class TestBatchParts:
    @pytest.mark.parametrize(
        ("part", "kind"),
        [
            (googles(404, "notFound"), MessageGoneError),
            (FOREIGN_404, RouteMissingError),
            ((404, ""), RouteMissingError),
            ((302, ""), ProviderUnavailableError),
            ((400, PAGE), ProviderUnavailableError),
            (googles(400, "failedPrecondition", "Precondition check failed."), RejectedError),
            ((403, PAGE), ProviderUnavailableError),
            (googles(403, "insufficientPermissions"), ScopeMissingError),
            ((200, PAGE), ProviderUnavailableError),
            ((200, '{"error": {"code": 404}}'), ProviderUnavailableError),
            ((200, '{"login": "https://portal.example"}'), ProviderUnavailableError),
        ],
    )
    async def test_fail_one_by_one(self, part: tuple[int, str], kind: type[ProviderError]) -> None:
        other = Get(external_ids=("n",), thread_id=None, units=COSTS.fetch)
        good = json.dumps({"id": "n", "payload": {}})
        async with gmail_that_answers(lambda _: batch_of(part, (200, good))) as at:
            results = await at.batching.fetch(TOKEN, [MESSAGE, other])
        assert type(results["m"]) is kind
        assert not isinstance(results["n"], ProviderError)

    @pytest.mark.parametrize("part", [googles(404, "notFound"), FOREIGN_404, googles(400, "invalidArgument")])
    async def test_of_failed_threads_say_nothing_about_their_messages(self, part: tuple[int, str]) -> None:
        async with gmail_that_answers(lambda _: batch_of(part)) as at:
            results = await at.batching.fetch(TOKEN, [THREAD])
        assert {id_: type(error) for id_, error in results.items()} == dict.fromkeys(
            THREAD.external_ids, NotInThreadError
        )
