"""Logs of the stack: a file per process, and readable lines on a terminal."""

import io
import json
from pathlib import Path

from deploy.local.console import Console
from deploy.local.logs import ProcessLogs, readable

ENTRY = {
    "service": "mail",
    "event": "turn failed",
    "level": "warning",
    "logger": "services.mail.sync.turn",
    "timestamp": "2026-03-01T10:20:30.5Z",
    "mailbox_id": 7,
    "reason": "not now",
    "step": "listing",
}


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class TestReadable:
    def test_begins_with_time_level_and_event(self) -> None:
        [line] = readable(json.dumps(ENTRY))
        assert line.endswith('warning turn failed  mailbox_id=7 reason="not now" step=listing')
        assert line[2] == line[5] == ":"

    def test_a_traceback_has_lines_of_its_own(self) -> None:
        lines = list(readable(json.dumps(ENTRY | {"exception": "Traceback:\n  File x\nValueError"})))
        assert lines[1:] == ["Traceback:", "  File x", "ValueError"]

    def test_other_lines_stay_as_they_are(self) -> None:
        for line in ("plain text", "[1, 2]", "{}", '{"timestamp": 5}', '{"timestamp": "2026-03-01T10:20:30Z"}', "{"):
            assert list(readable(line)) == [line]


class TestConsole:
    def test_shows_people_readable_lines_and_programs_the_structured_ones(self) -> None:
        line = json.dumps(ENTRY)
        terminal, pipe = _Terminal(), io.StringIO()
        Console(terminal).line("mail", line)
        Console(pipe).line("mail", line)
        assert "turn failed" in terminal.getvalue()
        assert "{" not in terminal.getvalue()
        assert pipe.getvalue() == f"mail     | {line}\n"


class TestProcessLogs:
    def test_has_a_file_per_process_with_its_lines_as_they_came(self, tmp_path: Path) -> None:
        logs = ProcessLogs(tmp_path / "logs")
        for name, line in (("mail", "one"), ("auth", "two"), ("mail", "three")):
            logs.write(name, line)
        assert (tmp_path / "logs" / "mail.log").read_text() == "one\nthree\n"
        assert (tmp_path / "logs" / "auth.log").read_text() == "two\n"

    def test_keeps_one_predecessor_of_a_large_file(self, tmp_path: Path) -> None:
        log = tmp_path / "mail.log"
        with log.open("wb") as file:
            file.truncate(16 * 1024 * 1024 + 1)
        ProcessLogs(tmp_path).write("mail", "next")
        assert log.read_text() == "next\n"
        assert (tmp_path / "mail.log.1").stat().st_size > 16 * 1024 * 1024
