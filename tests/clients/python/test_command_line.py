"""The command `mailroom`: what it prints, stores and ends with."""

import json
import queue
import stat
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from mailroom_cli import exit_codes
from mailroom_cli.commands.doctor import seconds_ahead
from mailroom_cli.main import app, arranged
from mailroom_cli.output import printable
from typer.testing import CliRunner

from tests.support.clients.gateways import email, whole_email
from tests.support.clients.served_gateway import Reply, ServedGateway, served_gateway

ID = "0190b0a0-0000-7000-8000-000000000001"
ADA = {
    "mailbox_id": ID,
    "email": "ada@example.com",
    "provider": "google",
    "status": "active",
    "access_denied_reason": None,
    "reconnect_by": None,
    "last_synced_at": "2026-01-31T10:00:00.120Z",
    "message_count": 12,
    "unread_count": 3,
}
GRACE = ADA | {"mailbox_id": ID.replace("1", "2"), "email": "grace@example.org", "status": "reauth_required"}
EVENT = {
    "id": "e1",
    "type": "account_connected",
    "created_at": "2026-01-31T10:00:00.120Z",
    "user_id": ID,
    "key_id": None,
    "mailbox_id": ID,
    "session_id": None,
    "email": "ada@example.com",
    "client_network": "192.0.2.0/24",
    "client": "Firefox on Linux",
}
TOKEN = {"access_token": "at", "token_type": "Bearer", "expires_in": 900, "refresh_token": "rt"}
REPLIES: dict[str, Reply] = {
    "GET /mailboxes": (200, {"mailboxes": [ADA], "next_cursor": None}),
    "GET /emails": (200, {"emails": [email(1), email(2)], "next_cursor": None}),
    "GET /emails/m1": (200, whole_email(1)),
    "GET /emails/m1/raw": (200, b"Subject: raw\r\n\r\n\xff"),
    "GET /emails/export": (200, b"".join(json.dumps(whole_email(number)).encode() + b"\n" for number in (1, 2))),
    "GET /emails/changes": (200, {"changes": [], "next_since": "p1", "has_more": False}),
    "GET /auth/google/start": (200, {"authorization_url": "http://provider/consent", "state": "s", "expires_in": 600}),
    "POST /auth/token": (200, TOKEN),
    "POST /auth/logout": (204, b""),
    "GET /audit/events": (200, {"events": [EVENT], "next_cursor": None}),
    "GET /readyz": (200, {"status": "ok"}),
}

_TOKEN = "t"

type Run = Callable[..., tuple[int, str, str]]


def _refusal(status: int, code: str) -> Reply:
    body = {"type": "t", "title": code, "status": status, "detail": "why", "code": code, "request_id": "r-1"}
    return status, body


@pytest.fixture
def gateway() -> Iterator[ServedGateway]:
    """A gateway with one mailbox."""
    with served_gateway(REPLIES) as served:
        yield served


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The file of profiles."""
    return tmp_path / "config" / "profiles.json"


@pytest.fixture
def run(gateway: ServedGateway, config: Path) -> Run:
    """Run a command. Returns exit code, output and what it told beside it."""

    def command(*arguments: str, typed: str = "", token: str | None = _TOKEN) -> tuple[int, str, str]:
        environment = {"MAILROOM_CONFIG": str(config), "MAILROOM_URL": gateway.url, "MAILROOM_TOKEN": token}
        done = CliRunner().invoke(app, arranged(list(arguments)), input=typed, env=environment)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.exit_code, done.stdout, done.stderr

    return command


class TestOutput:
    def test_is_a_table_for_people(self, run: Run) -> None:
        code, shown, _ = run("mailboxes")
        assert code == 0
        header, _, row = [line for line in shown.splitlines() if line.strip()]
        assert header.split() == ["mailbox", "provider", "state", "messages", "unread", "last", "synced"]
        assert row.split()[:5] == ["ada@example.com", "google", "active", "12", "3"]

    @pytest.mark.parametrize(
        ("command", "answers"),
        [
            (["mailboxes", "--json"], [ADA]),
            (["--json", "search", "is:unread"], [email(1), email(2)]),
            (["export", "--json"], [whole_email(1), whole_email(2)]),
            (["changes", "--json"], [REPLIES["GET /emails/changes"][1]]),
        ],
    )
    def test_is_what_the_api_says_line_by_line_for_programs(
        self, run: Run, command: list[str], answers: list[dict[str, object]]
    ) -> None:
        code, shown, _ = run(*command)
        assert (code, [json.loads(line) for line in shown.splitlines()]) == (0, answers)

    def test_of_one_message_is_a_document(self, run: Run) -> None:
        assert json.loads(run("get", "m1", "--json")[1]) == whole_email(1)

    def test_shows_a_message_as_people_read_it(self, run: Run) -> None:
        _, shown, _ = run("get", "m1")
        assert "from:        Grace <grace@example.org>" in shown
        assert shown.endswith("\nhello\n")

    def test_leaves_mail_no_way_to_steer_the_terminal(self, run: Run, gateway: ServedGateway) -> None:
        gateway.replies["GET /emails/m1"] = (200, whole_email(1) | {"text": "\x1b]0;owned\x07hi", "subject": "\x1b[2J"})
        _, shown, _ = run("get", "m1")
        assert "\x1b" not in shown
        assert "\x07" not in shown
        assert printable("a\tb\u202ec\u009b") == "a\tb\ufffdc\ufffd"
        # Persian needs its joiners, and so do families of emoji.
        for text in ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\U0001f468\u200d\U0001f469", "co\xadop"):
            assert printable(text) == text

    @pytest.mark.parametrize("command", [["get", "m1", "--json"], ["export", "--json"]])
    def test_as_json_is_exact_and_steers_no_terminal(
        self, run: Run, gateway: ServedGateway, command: list[str]
    ) -> None:
        # A family of emoji, a soft hyphen, a line separator, a control sequence, a change of direction.
        message = whole_email(1) | {"text": "\U0001f468\u200d\U0001f469 co\xadop\u2028\x9b2J\u202e\U000e0041"}
        gateway.replies["GET /emails/m1"] = (200, message)
        gateway.replies["GET /emails/export"] = (200, json.dumps(message).encode() + b"\n")
        _, shown, _ = run(*command)
        assert json.loads(shown) == message
        assert all(char.isprintable() or char == "\n" for char in shown)

    def test_writes_a_raw_message_byte_for_byte(self, gateway: ServedGateway, config: Path) -> None:
        environment = {"MAILROOM_CONFIG": str(config), "MAILROOM_URL": gateway.url, "MAILROOM_TOKEN": "t"}
        done = CliRunner().invoke(app, ["get", "m1", "--part", "raw"], env=environment)
        assert done.stdout_bytes == b"Subject: raw\r\n\r\n\xff"


class TestAudit:
    def test_asks_for_events_of_a_type_user_key_and_time(self, run: Run, gateway: ServedGateway) -> None:
        code, shown, _ = run("audit", "--type", "key_refused", "--key", "k1", "--since", "2026-11-30", "-n", "5")
        assert code == 0
        asked = "type=key_refused&key_id=k1&since=2026-11-30T00%3A00%3A00%2B00%3A00&limit=5"
        assert gateway.requests == [f"GET /audit/events?{asked}"]
        assert all(word in shown for word in ("account_connected", "ada@example.com", "192.0.2.0/24"))


class TestMailbox:
    def test_is_the_only_one_unless_named(self, run: Run, gateway: ServedGateway) -> None:
        run("search", "invoice")
        assert f"GET /emails?mailbox_id={ID}&q=invoice&limit=20" in gateway.requests

    def test_has_to_be_named_where_there_are_two(self, run: Run, gateway: ServedGateway) -> None:
        gateway.replies["GET /mailboxes"] = (200, {"mailboxes": [ADA, GRACE], "next_cursor": None})
        code, _, told = run("search", "invoice")
        assert (code, told) == (2, "mailroom: choose a mailbox with --mailbox: ada@example.com, grace@example.org\n")
        gateway.replies["GET /mailboxes"] = (200, {"mailboxes": [GRACE], "next_cursor": None})
        assert run("search", "invoice", "--mailbox", "grace@example.org")[0] == 0
        assert "GET /mailboxes?email=grace%40example.org&limit=200" in gateway.requests
        gateway.replies["GET /mailboxes"] = (200, {"mailboxes": [], "next_cursor": None})
        assert run("search", "invoice", "-m", "eve@example.com")[0] == exit_codes.NOT_FOUND


class TestExitCodes:
    @pytest.mark.parametrize(
        ("reply", "code"),
        [
            (_refusal(401, "invalid_token"), exit_codes.NOT_AUTHORIZED),
            (_refusal(404, "message_not_found"), exit_codes.NOT_FOUND),
            (_refusal(410, "resync_required"), exit_codes.RESYNC_REQUIRED),
            (_refusal(400, "invalid_query"), exit_codes.FAILED),
            ((200, b"<html>"), exit_codes.FAILED),
        ],
    )
    def test_tell_failures_apart_in_one_line(self, run: Run, gateway: ServedGateway, reply: Reply, code: int) -> None:
        gateway.replies["GET /emails/m1"] = reply
        ended, shown, told = run("get", "m1")
        assert (ended, shown) == (code, "")
        assert told.startswith("mailroom: ")
        assert "Traceback" not in told

    def test_tell_that_nobody_is_signed_in(self, run: Run) -> None:
        code, _, told = run("mailboxes", token=None)
        assert (code, told) == (exit_codes.NOT_AUTHORIZED, "mailroom: not signed in; sign in with: mailroom login\n")

    def test_are_those_that_scripts_know(self) -> None:
        known = {name: code for name, code in vars(exit_codes).items() if isinstance(code, int)}
        assert known == {
            "FAILED": 1,
            "NOT_AUTHORIZED": 3,
            "NOT_FOUND": 4,
            "UNREACHABLE": 5,
            "RESYNC_REQUIRED": 6,
            "TOO_MANY_REQUESTS": 7,
            "INTERRUPTED": 130,
        }


class TestSignIn:
    def test_keeps_the_tokens_for_their_owner_alone(self, run: Run, gateway: ServedGateway, config: Path) -> None:
        code, _, told = run("login", "--no-browser", typed="http://frontend/?state=code-1\n", token=None)
        assert code == 0
        assert "http://provider/consent" in told
        assert "mailboxes: ada@example.com" in told
        assert json.loads(config.read_text()) == {"default": {"url": gateway.url, "token": "at", "refresh_token": "rt"}}
        assert stat.S_IMODE(config.stat().st_mode) == 0o600
        assert run("mailboxes", token=None)[0] == 0
        assert gateway.tokens[-1] == "Bearer at"

    def test_takes_a_token_without_showing_it_to_other_users(self, run: Run, gateway: ServedGateway) -> None:
        assert run("login", "--token", "-", typed="mine\n", token=None)[0] == 0
        assert gateway.tokens[-1] == "Bearer mine"

    def test_tells_why_the_provider_refused(self, run: Run) -> None:
        code, _, told = run("login", "--no-browser", typed="http://frontend/?error=access_denied\n", token=None)
        assert code == exit_codes.FAILED
        assert "the sign-in ended with access_denied" in told

    def test_never_sends_a_token_to_another_server(self, run: Run) -> None:
        run("login", "--token", "-", typed="mine\n", token=None)
        with served_gateway(REPLIES) as other:
            assert run("--url", other.url, "mailboxes", token=None)[0] == exit_codes.NOT_AUTHORIZED
            assert other.requests == []

    def test_ends_with_the_session(self, run: Run, gateway: ServedGateway, config: Path) -> None:
        run("login", "--token", "-", typed="mine\n", token=None)
        assert run("logout", token=None)[0] == 0
        assert gateway.requests[-1] == "POST /auth/logout"
        assert json.loads(config.read_text()) == {}

    @pytest.mark.parametrize("text", ["{", "[]", '{"default": "x"}'])
    def test_tells_of_a_damaged_file(self, run: Run, config: Path, text: str) -> None:
        config.parent.mkdir()
        config.write_text(text)
        code, _, told = run("mailboxes", token=None)
        assert (code, "profiles.json is damaged" in told) == (exit_codes.FAILED, True)

    def test_tells_of_a_file_that_can_be_neither_read_nor_written(self, run: Run, config: Path) -> None:
        config.mkdir(parents=True)
        code, _, told = run("mailboxes", token=None)
        assert (code, "profiles.json cannot be read: Is a directory" in told) == (exit_codes.FAILED, True)
        config.rmdir()
        config.parent.rmdir()
        config.parent.write_text("no directory")
        code, _, told = run("login", "--token", "mine", token=None)
        assert (code, told.startswith("mailroom: ")) == (exit_codes.FAILED, True)

    def test_quotes_no_token_that_cannot_be_sent(self, run: Run) -> None:
        code, shown, told = run("mailboxes", token="mr_secr\u00e9t")
        assert (code, shown) == (exit_codes.FAILED, "")
        assert told.startswith("mailroom: the token has a character")
        assert "secr" not in told


class TestDoctor:
    def test_finds_nothing_where_all_is_well(self, run: Run) -> None:
        code, shown, _ = run("doctor")
        assert code == 0
        assert [line.split()[0] for line in shown.splitlines()] == ["ok", "ok", "ok"]

    def test_names_what_is_wrong_with_a_remedy(self, run: Run, gateway: ServedGateway) -> None:
        gateway.replies["GET /readyz"] = _refusal(503, "service_unavailable")
        gateway.replies["GET /mailboxes"] = (200, {"mailboxes": [GRACE], "next_cursor": None})
        code, shown, _ = run("doctor", "--json")
        findings = [json.loads(line) for line in shown.splitlines()]
        assert code == exit_codes.FAILED
        assert [finding["name"] for finding in findings if finding["remedy"]] == ["server", "sign-in"]
        assert "grace@example.org" in findings[-1]["remedy"]

    def test_finds_a_session_valid_whose_access_token_has_expired(
        self, run: Run, gateway: ServedGateway, config: Path
    ) -> None:
        run("login", "--no-browser", typed="http://frontend/?state=code-1\n", token=None)
        listed = gateway.replies["GET /mailboxes"] = queue.Queue[Reply]()
        listed.put(_refusal(401, "invalid_token"))
        listed.put((200, {"mailboxes": [ADA], "next_cursor": None}))
        gateway.replies["POST /auth/refresh"] = (200, TOKEN | {"access_token": "next", "refresh_token": "newer"})
        code, shown, _ = run("doctor", token=None)
        assert (code, "ok    sign-in: valid" in shown) == (0, True), shown
        kept = json.loads(config.read_text())["default"]
        assert (kept["token"], kept["refresh_token"]) == ("next", "newer")

    @pytest.mark.parametrize(
        ("server", "off"),
        [
            # Its Date has whole seconds, and may have been made a second before.
            (timedelta(seconds=-2, milliseconds=1), 0),
            (timedelta(0), 0),
            (timedelta(seconds=-32), 30),
            (timedelta(seconds=30), -30),
        ],
    )
    def test_tells_of_clocks_that_differ_and_not_of_seconds_that_a_date_leaves_out(
        self, server: timedelta, off: int
    ) -> None:
        now = datetime(2026, 11, 30, 12, tzinfo=UTC)
        date = format_datetime(now + server, usegmt=True)
        assert seconds_ahead(date, asked=now.timestamp(), answered=now.timestamp()) == off

    def test_tells_no_slow_answer_for_a_clock_that_differs(self) -> None:
        now = datetime(2026, 11, 30, 12, tzinfo=UTC)
        late = now + timedelta(seconds=9)
        assert seconds_ahead(format_datetime(now, usegmt=True), asked=now.timestamp(), answered=late.timestamp()) == 0

    def test_names_a_server_that_does_not_answer(self, run: Run) -> None:
        code, shown, _ = run("--url", "http://127.0.0.1:9", "doctor")
        assert (code, shown.startswith("FAIL  server: http://127.0.0.1:9 does not answer")) == (exit_codes.FAILED, True)


def test_json_stands_anywhere_but_after_a_double_dash() -> None:
    assert arranged(["search", "--json", "x"]) == ["--json", "search", "x"]
    assert arranged(["search", "--", "--json"]) == ["search", "--", "--json"]


@pytest.mark.parametrize("id_", ["-hDL_-TAO_HqLGt9pSg8bw", "--json-TAO_HqLGt9pSg8b"])
def test_an_id_may_look_like_an_option(run: Run, gateway: ServedGateway, id_: str) -> None:
    gateway.replies[f"GET /emails/{id_}"] = (200, whole_email(1) | {"id": id_})
    assert json.loads(run("get", id_, "--json")[1])["id"] == id_
    assert run("get", id_, "--part", "headers")[0] == 0


def test_a_number_has_digits_of_ascii(run: Run) -> None:
    code, _, told = run("sync", "--count", "\u00b2")
    assert (code, "is a number or all" in told) == (2, True)


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("listen --forward-to http://[", 2),
        # A time that no UTC has is the server's to refuse.
        ("webhooks replay w1 --since 0001-01-01T00:00+14:00", exit_codes.FAILED),
    ],
)
def test_an_argument_that_cannot_be_read_ends_in_no_traceback(run: Run, command: str, expected: int) -> None:
    assert run(*command.split())[0] == expected


@pytest.mark.parametrize("command", ["sync", "listen --forward-to http://localhost"])
def test_names_the_command_that_connects_a_mailbox(run: Run, gateway: ServedGateway, command: str) -> None:
    gateway.replies["GET /mailboxes"] = (200, {"mailboxes": [], "next_cursor": None})
    code, _, told = run(*command.split())
    assert (code, "mailroom connect" in told) == (exit_codes.NOT_FOUND, True)
    code, _, told = run("connect", token="mr_key")
    assert (code, "--user" in told) == (2, True)
