"""`mailroom` as people see it: screens of a terminal."""

import os
import queue
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyte
import pytest
from mailroom_cli import exit_codes

from tests.support.clients.gateways import email
from tests.support.clients.listening import local_receiver
from tests.support.clients.pictures import svg_of
from tests.support.clients.served_gateway import Reply, ServedGateway, served_gateway
from tests.support.clients.terminals import terminal
from tests.support.docs.documents import ROOT
from tests.support.gateway.samples import sample

# As long as Mailroom's.
IDS = [f"AAGz9L7xk2bQnJ0aTq4c{number:02}" for number in range(3)]
EMAILS = [
    email(1) | {"id": IDS[0], "subject": "Lunch?"},
    email(2) | {
        "id": IDS[1],
        "from": {"name": "Ada King, Countess of Lovelace", "email": "ada.king@example.com"},
        "subject": "Minutes of the meeting about the annual report, and what follows from it",
        "is_read": True,
    },
    email(3) | {
        "id": IDS[2],
        "from": {"name": "", "email": "li@example.org"},
        "subject": "年度报告 \U0001f389 \x1b[2J",
    },
]  # fmt: skip
WIDE = """\
received           from           subject        state    id
────────────────────────────────────────────────────────────────────────────────
2026-01-31 10:00   Grace          Lunch?         unread   AAGz9L7xk2bQnJ0aTq4c00
2026-01-31 10:00   Ada King, C…   Minutes of …   read     AAGz9L7xk2bQnJ0aTq4c01
2026-01-31 10:00   li@example.…   年度报告 🎉…   unread   AAGz9L7xk2bQnJ0aTq4c02"""
NARROW = """\
received  2026-01-31 10:00
from      Grace
subject   Lunch?
state     unread
id        AAGz9L7xk2bQnJ0aTq4c00

received  2026-01-31 10:00
from      Ada King, Countess of Lovelace
subject   Minutes of the meeting about …
state     read
id        AAGz9L7xk2bQnJ0aTq4c01

received  2026-01-31 10:00
from      li@example.org
subject   年度报告 🎉 �[2J
state     unread
id        AAGz9L7xk2bQnJ0aTq4c02"""
SYNC = sample("Sync") | {
    **dict.fromkeys(("waiting_for", "waiting_until", "last_error", "error", "access_denied_reason", "ended_at")),
    "id": "s1",
    "email": "ada@example.com",
    "state": "running",
    "stored": 4,
    "pending": 8,
    "dead_letter_count": 0,
}
WAITING = SYNC | {"waiting_for": "quota", "waiting_until": "2026-01-31T10:05:00.000Z"}
ENDED = SYNC | {"state": "completed", "stored": 12, "pending": 0, "ended_at": "2026-01-31T10:00:05.000Z"}

PICTURE = ROOT / "docs/pictures/command-line.svg"
PICTURED_SYNC = ENDED | {"id": "AAGz9L7xk2bQnJ0aTq4cqQ", "stored": 4218}
PICTURED_EMAILS = [
    email(number) | {
        "id": f"AAGz9L7xk2bQnJ0aTq4c{id_}",
        "from": {"name": sender, "email": "x@example.com"},
        "subject": subject,
        "received_at": f"2026-11-30T{hour:02}:{59 - 7 * number}:00.000Z",
    }
    for number, (sender, subject, hour, id_) in enumerate([
        ("Grace Hopper", "Lunch on Thursday?", 9, "1Q"),
        ("Ada Lovelace", "Notes on the analytical engine", 8, "0w"),
        ("Octocat", "[mailroom] Release 0.1.0", 8, "zg"),
        ("Katherine Johnson", "Re: the numbers for the annual report", 7, "yA"),
    ])
]  # fmt: skip


@pytest.fixture
def gateway() -> Iterator[ServedGateway]:
    """A gateway with one mailbox."""
    mailboxes = {"mailboxes": [sample("Mailbox") | {"email": "ada@example.com"}], "next_cursor": None}
    replies: dict[str, Reply] = {
        "GET /mailboxes": (200, mailboxes),
        "GET /emails": (200, {"emails": EMAILS, "next_cursor": None}),
        "POST /emails/sync": (202, SYNC),
        "GET /emails/syncs/s1": (200, SYNC),
    }
    with served_gateway(replies) as served:
        yield served


@pytest.fixture
def environment(gateway: ServedGateway, tmp_path: Path) -> dict[str, str]:
    """The variables of a user who is signed in."""
    return {"MAILROOM_URL": gateway.url, "MAILROOM_TOKEN": "t", "MAILROOM_CONFIG": str(tmp_path / "profiles.json")}


class TestSearch:
    @pytest.mark.parametrize(("columns", "screen"), [(80, WIDE), (40, NARROW)])
    def test_shows_ids_whole_and_cuts_texts(self, environment: dict[str, str], columns: int, screen: str) -> None:
        with terminal("search", columns=columns, environment=environment) as shown:
            assert shown.end() == 0
        assert "\n".join(shown.lines) == screen


class TestSync:
    def test_shows_its_progress_and_what_it_waits_for(
        self, gateway: ServedGateway, environment: dict[str, str]
    ) -> None:
        with terminal("sync", "--watch", environment=environment) as shown:
            [bar] = shown.until(lambda lines: "4/12" in lines[0])
            assert _timeless(bar) == f"running {'━' * 13}╺{'━' * 26}  4/12 0:00:00"
            assert shown.colours != {"default"}
            gateway.replies["GET /emails/syncs/s1"] = (200, WAITING)
            [bar] = shown.until(lambda lines: "waits" in lines[0])
            assert _timeless(bar).startswith("waits for quota until 2026-01-31 10:05 ━━")
            gateway.replies["GET /emails/syncs/s1"] = (200, ENDED)
            assert shown.end() == 0
        assert [_timeless(line) for line in shown.lines] == [
            f"completed {'━' * 40} 12/12 0:00:00",
            "sync     s1",
            "mailbox  ada@example.com",
            "state    completed",
            "stored   12",
            "pending  0",
        ]

    def test_gives_the_terminal_back_and_has_no_colours_where_none_are_wanted(
        self, environment: dict[str, str]
    ) -> None:
        with terminal("sync", "--watch", environment=environment | {"NO_COLOR": "1"}) as shown:
            shown.until(lambda lines: "4/12" in lines[0])
            shown.press(b"\x03")
            assert shown.end() == exit_codes.INTERRUPTED
        assert shown.colours == {"default"}
        assert not shown.screen.cursor.hidden
        assert "Traceback" not in "".join(shown.lines)


class TestPicture:
    @pytest.mark.long
    def test_of_the_readme_is_as_the_commands_are(self, gateway: ServedGateway, environment: dict[str, str]) -> None:
        """MAILROOM_PICTURES=keep replaces it."""
        gateway.replies["POST /emails/sync"] = (202, PICTURED_SYNC)
        gateway.replies["GET /emails"] = (200, {"emails": PICTURED_EMAILS, "next_cursor": None})
        screen = pyte.Screen(92, 24)
        for command in (["sync", "--count", "all", "--watch"], ["search", "is:unread newer_than:7d"]):
            pyte.Stream(screen).feed(f"\x1b[32m$\x1b[0m mailroom {shlex.join(command)}\r\n")
            with terminal(*command, environment=environment, screen=screen) as shown:
                assert shown.end() == 0
            pyte.Stream(screen).feed("\r\n")
        drawn = re.sub(r"\d:\d\d:\d\d(?=</text>)", "0:00:41", svg_of(screen, lines=len(shown.lines)))
        if os.environ.get("MAILROOM_PICTURES") == "keep":
            PICTURE.write_text(drawn, encoding="utf-8")
        assert PICTURE.read_text(encoding="utf-8") == drawn
        assert len(drawn) < 20_000
        assert "docs/pictures/command-line.svg" in (ROOT / "README.md").read_text(encoding="utf-8")


class TestChanges:
    def test_are_shown_as_they_happen_until_ctrl_c(self, gateway: ServedGateway, environment: dict[str, str]) -> None:
        feed: queue.Queue[Reply] = queue.Queue()
        gateway.replies["GET /emails/changes"] = feed
        feed.put((200, _page([], after="p0")))
        with terminal("changes", "--follow", environment=environment) as shown:
            feed.put((200, _page([_change("created", "m1", EMAILS[0]), _change("deleted", "m2", None)], after="p1")))
            first = [
                "created       m1  Lunch?",
                "deleted       m2",
                "position      p1",
            ]  # fmt: skip
            shown.until(lambda lines: lines == first)
            feed.put((500, {}))
            feed.put((200, _page([_change("updated", "m1", EMAILS[0])], after="p2")))
            lines = shown.until(lambda lines: "position      p2" in lines)
            assert lines[:3] == first
            assert lines[3].startswith("again soon: 500 Internal Server Error from ")
            assert lines[-2:] == ["updated       m1  Lunch?", "position      p2"]
            shown.press(b"\x03")
            assert shown.end() == exit_codes.INTERRUPTED
        assert shown.lines == [*lines, "^C"]


class TestListen:
    @pytest.mark.long
    def test_shows_each_try_until_ctrl_c(self, gateway: ServedGateway, environment: dict[str, str]) -> None:
        feed: queue.Queue[Reply] = queue.Queue()
        gateway.replies["GET /emails/changes"] = feed
        feed.put((200, _page([], after="p0")))
        with (
            local_receiver(first=[500]) as receiver,
            terminal("listen", "--forward-to", receiver.url, environment=environment) as shown,
        ):
            feed.put((200, _page([_change("created", "m1", EMAILS[0])], after="p1")))
            lines = shown.until(lambda lines: "delivered" in lines[-1])
            shown.press(b"\x03")
            assert shown.end() == exit_codes.INTERRUPTED
        assert lines[0] == f"sends to {receiver.url} what changes in ada@example.com"
        assert re.fullmatch(r"verify with the secret whsec_\S+", lines[1])
        tried = r"\d\d:\d\d:\d\d  message\.created  ada@example\.com  "
        assert re.fullmatch(tried + r"failing: 500 in \d+ ms", lines[2])
        assert re.fullmatch(tried + r"delivered: 204 in \d+ ms", lines[3])
        assert shown.lines[-1] == "^C"


def _timeless(line: str) -> str:
    return re.sub(r"\d:\d\d:\d\d$", "0:00:00", line)


def _change(type_: str, id_: str, message: dict[str, Any] | None) -> dict[str, Any]:
    return {**sample("Change"), "type": type_, "id": id_, "email": message, "label": None}


def _page(changes: list[dict[str, Any]], *, after: str) -> dict[str, Any]:
    return {"changes": changes, "next_since": after, "has_more": False}
