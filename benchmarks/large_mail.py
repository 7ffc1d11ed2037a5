"""Worst cases for a worker: how long uncommon mail blocks the event loop, and how much memory it takes.

A message of 50 MB, an HTML body of 10 MB, a message of 1,000 parts, and batches of messages just below the limit for
large ones. Each is the only mail of its mailbox; the worker is new and warm. CPU time is that of the loop's thread in
one callback. Memory is the worker's peak above its previous size; an item's size is that in the provider's response, in
base64. Prints JSON lines and a table; exits 1 if a goal is missed: no callback above 50 ms, no memory above 3 times the
item (or 24 MB, if that is more).
"""

import base64
import json
import random
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from email.message import EmailMessage
from pathlib import Path

import httpx

from tests.support.e2e.people import Person, Provider
from tests.support.e2e.running_stack import RunningStack, running_stack

GOAL_MS = 50.0
GOAL_TIMES = 3.0
_MB = 1024 * 1024
# Below this the allocator dominates.
_SMALLEST_MB = 8.0
_random = random.Random(1)
_WORDS = ["".join(_random.choices("abcdefghijklmnopqrstuvwxyz", k=_random.randint(2, 11))) for _ in range(30_000)]


def text(size: int) -> str:
    """Return `size` characters of words in lines."""
    lines = (" ".join(_random.choices(_WORDS, k=10)) for _ in range(size // 60))
    return "\n".join(lines)[:size]


def mail(subject: str) -> EmailMessage:
    """Return a message without a body."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "Bob <bob@example.net>", "ada@example.com", subject
    return message


def attached() -> Iterator[bytes]:
    """Return 50 MB as sent, most of it an attachment."""
    message = mail("A film")
    message.set_content(text(2_000))
    message.add_attachment(_random.randbytes(36 * _MB), maintype="video", subtype="mp4", filename="film.mp4")
    yield message.as_bytes()


def html() -> Iterator[bytes]:
    """Return 10 MB of HTML without text."""
    rows = "".join(
        f"<tr><td class='c'><a href='https://example.com/{n}'>{line}</a></td></tr>\n"
        for n, line in enumerate(text(7 * _MB).splitlines())
    )
    message = mail("A report")
    message.set_content(f"<html><body><table>{rows}</table></body></html>", subtype="html")
    yield message.as_bytes()


def plain() -> Iterator[bytes]:
    """Return 20 MB of plain text."""
    message = mail("A log")
    message.set_content(text(20 * _MB))
    yield message.as_bytes()


def parts() -> Iterator[bytes]:
    """Return 1,000 parts of 2 kB."""
    message = mail("Many files")
    message.set_content("See attached")
    for number in range(998):
        message.add_attachment(_random.randbytes(1500), maintype="image", subtype="png", filename=f"{number}.png")
    yield message.as_bytes()


def middling() -> Iterator[bytes]:
    """Return 50 messages of 240 kB of text."""
    for number in range(50):
        message = mail(f"Minutes {number}")
        message.set_content(text(240_000))
        yield message.as_bytes()


ITEMS = {
    "50 MB message": attached,
    "10 MB HTML": html,
    "20 MB text": plain,
    "1,000 parts": parts,
    "50 x 240 kB": middling,
}


def measure(stack: RunningStack, http: httpx.Client, control: Provider, name: str, report: Path) -> dict[str, object]:
    """Sync a mailbox that contains only the item."""
    email = control.new_user()
    size = 0
    for data in ITEMS[name]():
        url = f"{stack.sandbox_url}/_sandbox/users/{email}/import"
        httpx.post(url, content=data, trust_env=False, timeout=120).raise_for_status()
        size += len(base64.urlsafe_b64encode(data))
    person = Person.sign_in(http, email)
    stack.stop("worker")
    stack.start("worker", command=[sys.executable, "-m", "benchmarks.sync_ways.watched_worker", str(report)])
    Person.sign_in(http, control.new_user(messages=200)).sync("all")
    pid = stack.pid("worker")
    report.unlink(missing_ok=True)
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # proc_pid_clear_refs(5): reset the peak
    before = memory(pid, "VmRSS")
    person.sync("all")
    taken = memory(pid, "VmHWM") - before
    lines = [json.loads(line) for line in report.read_text().splitlines()] if report.exists() else []
    longest = max(lines, key=lambda line: float(line["ms"]), default={"ms": 0.0, "callback": ""})
    return {
        "item": name,
        "mb": size / _MB,
        "peak_mb": taken,
        "longest_ms": longest["ms"],
        "callback": longest["callback"],
    }


def memory(pid: int, field: str) -> float:
    """Return MB from /proc/PID/status."""
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(field)]
    return int(line.split()[1]) / 1024


def main() -> int:
    """Run the benchmark."""
    with ExitStack() as started:
        home = Path(started.enter_context(tempfile.TemporaryDirectory(prefix="mailroom-large-")))
        report = home / "callbacks.jsonl"
        stack = started.enter_context(
            running_stack(
                home,
                own_servers=True,
                SANDBOX_USERS="",
                LOG_LEVEL="WARNING",
                GMAIL_QUOTA_WINDOW="1",
                SANDBOX_QUOTA_WINDOW="1",
            )
        )
        http = started.enter_context(httpx.Client(base_url=stack.gateway_url, trust_env=False, timeout=90))
        control = started.enter_context(closing(Provider(stack.sandbox_url)))
        results = []
        for name in ITEMS:
            results.append(measure(stack, http, control, name, report))
            print(json.dumps(results[-1]), flush=True)
    print(f"{'item':16} {'MB':>7} {'peak MB':>8} {'times':>6} {'longest callback':>17}")
    bad = 0
    for result in results:
        mb, peak, ms = float(str(result["mb"])), float(str(result["peak_mb"])), float(str(result["longest_ms"]))
        print(f"{result['item']:16} {mb:7.1f} {peak:8.1f} {peak / mb:6.1f} {ms:14.1f} ms")
        bad += ms > GOAL_MS or peak > max(_SMALLEST_MB, mb) * GOAL_TIMES
    return int(bad > 0)


if __name__ == "__main__":
    raise SystemExit(main())
