"""Attacks of single clients and users on a running stack: what they cost others, and the memory of each process.

Starts the stack of a checkout (`--checkout`, this one by default) as `make run` does, so that two versions can be
compared. Loads are bounded and go to loopback. Prints JSON lines and a table.
"""

import argparse
import asyncio
import json
import os
import random
import resource
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from benchmarks.process_cpu import cpu_seconds
from tests.support.e2e.people import Person, Provider

PROCESSES = ("gateway", "mail")
# MiB, as in docker-compose.yml and the chart.
MEMORY_LIMITS = {"gateway": 384, "mail": 512}
# Descriptors of the stack's processes: what many systems allow by default.
DESCRIPTORS = 1024
START_SECONDS = 90
HALF_HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n"
HALF_HEADS = 300
CONNECTIONS = 1030
READERS = 100
# A second.
RECONNECTS = 100
# Requests on each of so many connections, none of whose responses are read.
AHEAD = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 9_000
AHEAD_CONNECTIONS = 20


def memory(pid: int) -> int:
    """Return the resident memory of a process in MiB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20


@dataclass
class Stack:
    """A stack that was started, with the peaks of its processes' memory."""

    gateway_url: str
    sandbox_url: str
    pids: dict[str, int]
    peaks: Counter[str] = field(default_factory=Counter)

    @property
    def address(self) -> tuple[str, int]:
        url = httpx.URL(self.gateway_url)
        return url.host, url.port or 80

    def watch(self, stopped: threading.Event) -> None:
        """Note peaks of memory until `stopped` is set."""
        while not stopped.wait(0.05):
            for name, pid in self.pids.items():
                self.peaks[name] = max(self.peaks[name], memory(pid))

    def connect(self, sent: bytes) -> socket.socket:
        connection = socket.create_connection(self.address, timeout=10)
        connection.sendall(sent)
        return connection


@contextmanager
def running(checkout: Path) -> Iterator[Stack]:
    """Run the stack of a checkout in a home of its own."""
    with tempfile.TemporaryDirectory(prefix="mailroom-abuse-", ignore_cleanup_errors=True) as home:
        gateway, sandbox = _free_ports(2)
        variables = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ} | {
            "MAILROOM_HOME": home,
            "GATEWAY_PORT": str(gateway),
            "SANDBOX_PORT": str(sandbox),
            "GMAIL_QUOTA_PROFILE": "legacy",
            "GATEWAY_AUTH_LIMIT": "100000/minute",
            "GATEWAY_USER_LIMIT": "100000/minute",
        }
        with (Path(home) / "output").open("wb") as output:
            process = subprocess.Popen(  # noqa: S603 - a checkout of ours
                [str(checkout / ".venv/bin/python"), "-m", "deploy.local", "run"],
                cwd=checkout,
                env=variables,
                stdout=output,
                stderr=output,
                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS)),
            )
        try:
            url = f"http://localhost:{gateway}"
            _wait_until_ready(url)
            pids = {name: _child(process.pid, name) for name in PROCESSES}
            yield Stack(gateway_url=url, sandbox_url=f"http://localhost:{sandbox}", pids=pids)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)


def _free_ports(number: int) -> list[int]:
    with ExitStack() as stack:
        listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)]
        return [int(listener.getsockname()[1]) for listener in listeners]


def _wait_until_ready(url: str) -> None:
    last = time.monotonic() + START_SECONDS
    while time.monotonic() < last:
        try:
            if httpx.get(f"{url}/readyz", trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    raise TimeoutError(f"{url} is not ready")


def _child(parent: int, service: str) -> int:
    """Return the process of a service that the stack's process started."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().split(b"\0")
            started_by = int((path.parent / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if started_by == parent and f"services.{service}".encode() in command:
            return int(path.parent.name)
    raise LookupError(f"no process of {service}")


class Attacks:
    """The attacks, each of which returns its figures by name."""

    def __init__(self, stack: Stack, http: httpx.Client) -> None:
        self._stack = stack
        provider = Provider(stack.sandbox_url)
        self.attacker = Person.sign_in(http, provider.new_user(messages=300))
        self.bystander = Person.sign_in(http, provider.new_user(messages=40))
        self._deliver_heavy_mail()
        for person in (self.attacker, self.bystander):
            person.sync()

    def _deliver_heavy_mail(self) -> None:
        """Messages of 4 MB of text and of many attributes for the attacker, a large harmless one for the other."""
        words = random.Random(1)
        text = "\r\n".join(words.randbytes(35).hex() for _ in range(50_000))
        attributes = "\r\n".join(f"a{number}" for number in range(100_000))
        for number in range(6):
            self._import(self.attacker.email, _raw(f"long {number}", text, subtype="plain"))
        self._import(self.attacker.email, _raw("heavy", f"<p {attributes}>x", subtype="html"))
        self._import(self.bystander.email, _raw("news", "<p>row <b>x</b></p>\r\n" * 8_000, subtype="html"))

    def _import(self, email: str, message: bytes) -> None:
        url = f"{self._stack.sandbox_url}/_sandbox/users/{email}/import"
        httpx.post(url, params={"labels": "INBOX"}, content=message, trust_env=False, timeout=60).raise_for_status()

    def huge_head(self) -> dict[str, float]:
        """Send one header of 20 MB."""
        before = cpu_seconds(self._stack.pids["gateway"])
        with self._stack.connect(HALF_HEAD + b"A: ") as connection:
            try:
                for _ in range(320):
                    connection.sendall(b"a" * 65_536)
                connection.sendall(b"\r\n\r\n")
                connection.settimeout(30)
                connection.recv(100)
            except OSError:
                pass
        return {"CPU s of a header of 20 MB": cpu_seconds(self._stack.pids["gateway"]) - before}

    def requests_ahead(self) -> dict[str, float]:
        """Requests that are sent before earlier ones are answered, 250 kB of them on each connection."""
        before = memory(self._stack.pids["gateway"])
        with ExitStack() as stack:
            for _ in range(AHEAD_CONNECTIONS):
                connection = stack.enter_context(self._stack.connect(b""))
                connection.settimeout(0.2)
                with suppress(TimeoutError):
                    connection.sendall(AHEAD)
            time.sleep(2)
            grown = memory(self._stack.pids["gateway"]) - before
        return {f"MiB for requests ahead on {AHEAD_CONNECTIONS} connections": grown}

    def half_heads(self) -> dict[str, float]:
        """Half-sent heads, and then more connections than the process has descriptors."""
        with ExitStack() as stack:
            opened = [stack.enter_context(self._stack.connect(HALF_HEAD)) for _ in range(HALF_HEADS)]
            time.sleep(15)
            alive = sum(_is_open(connection) for connection in opened)
        with ExitStack() as stack:
            for _ in range(CONNECTIONS):
                stack.enter_context(self._stack.connect(HALF_HEAD))
            locked_out = self._seconds(f"{self._stack.gateway_url}/.well-known/jwks.json")
        return {
            f"of {HALF_HEADS} half heads after 15 s": alive,
            f"another's request beside {CONNECTIONS}, s": locked_out,
        }

    def _seconds(self, url: str) -> float:
        began = time.monotonic()
        try:
            httpx.get(url, trust_env=False, timeout=5)
        except httpx.TransportError:
            return float("inf")
        return time.monotonic() - began

    async def unread_exports(self) -> dict[str, float]:
        """Twenty exports of 4 MB messages that are not read."""
        before = {name: memory(pid) for name, pid in self._stack.pids.items()}
        self._stack.peaks.clear()
        path = f"/emails/export?user_email={self.attacker.email}&q=subject:long"
        with ExitStack() as stack:
            opened = [stack.enter_context(self._stack.connect(self._get(path))) for _ in range(20)]
            await asyncio.sleep(12)
            taken = sum(connection.recv(12) == b"HTTP/1.1 200" for connection in opened)
        grown = {f"MiB that {name} grew by": self._stack.peaks[name] - before[name] for name in PROCESSES}
        return {"of 20 unread exports taken": taken, **grown}

    async def unread_messages(self) -> dict[str, float]:
        """Ask for 4 MB messages over a hundred connections, one after the other, and read nothing."""
        paths = [f"/emails/{email['id']}" for email in self.attacker.emails(q="subject:long")]
        return await self._unread("messages of 4 MB", paths)

    async def unread_lists(self) -> dict[str, float]:
        """Ask for the largest lists over a hundred connections, one after the other, and read nothing."""
        return await self._unread("lists of 200", [f"/emails?user_email={self.attacker.email}&limit=200"])

    async def _unread(self, what: str, paths: list[str]) -> dict[str, float]:
        before = {name: memory(pid) for name, pid in self._stack.pids.items()}
        self._stack.peaks.clear()
        with ExitStack() as stack:
            opened = [
                stack.enter_context(self._stack.connect(self._get(paths[number % len(paths)])))
                for number in range(READERS)
            ]
            # Their next requests, to have responses that are kept beside the first ones.
            for _ in range(5):
                await asyncio.sleep(2)
                for connection in opened:
                    with suppress(OSError):
                        connection.sendall(self._get(paths[0]))
            seconds = await self._seconds_of_bystander()
            answered = sum(_begins_with(connection, b"HTTP/1.1 200") for connection in opened)
        grown = {f"MiB that {name} grew by": self._stack.peaks[name] - before[name] for name in PROCESSES}
        return {
            f"of {READERS} unread {what} kept": answered,
            **{f"{figure}, {what}": value for figure, value in grown.items()},
            f"another's list beside {what}, s": seconds,
        }

    async def _seconds_of_bystander(self) -> float:
        async with self._client(self.bystander) as client:
            return await _timed(client, f"/emails?user_email={self.bystander.email}")

    def _get(self, path: str) -> bytes:
        return f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {self.attacker.token}\r\n\r\n".encode()

    async def heavy_queries(self) -> dict[str, float]:
        """Sixty of the slowest queries."""
        slow = " OR ".join(f"(-{letter}* larger:900g)" for letter in "abcdefghijklmnopqrstuvwxyz")
        heavy = httpx.URL("/emails", params={"user_email": self.attacker.email, "q": slow})
        quiet = httpx.URL("/emails", params={"user_email": self.bystander.email, "q": "invoice"})
        return await self._beside("another's search", [str(heavy)] * 60, str(quiet))

    async def long_polls(self) -> dict[str, float]:
        """Two hundred long polls of one user."""
        path = f"/emails/changes?user_email={self.attacker.email}"
        since = self.attacker.get(path).json()["next_since"]
        async with self._client(self.attacker) as client:
            polls = [
                asyncio.create_task(client.get(f"{path}&since={since}", headers={"prefer": "wait=60"}))
                for _ in range(200)
            ]
            await asyncio.sleep(8)
            taken = sum(not poll.done() for poll in polls)
            for poll in polls:
                poll.cancel()
            await asyncio.wait(polls)
        return {"of 200 long polls taken": taken}

    async def reconnecting_streams(self) -> dict[str, float]:
        """Open a hundred streams a second, and leave each after its first event."""
        path = f"/emails/changes/stream?user_email={self.attacker.email}"
        leaving: set[asyncio.Task[bool]] = set()
        alone = await self._slow_list_of_bystander()
        async with asyncio.TaskGroup() as tasks:
            measuring = tasks.create_task(self._slow_list_of_bystander())
            while not measuring.done():
                leaving.add(tasks.create_task(self._stream_and_leave(path)))
                await asyncio.sleep(1 / RECONNECTS)
        return {
            f"of {RECONNECTS} streams/s taken": sum(each.result() for each in leaving) / len(leaving) * RECONNECTS,
            "another's list alone, p95 in s": alone,
            f"another's list beside {RECONNECTS} streams/s, p95 in s": measuring.result(),
        }

    async def _stream_and_leave(self, path: str) -> bool:
        reader, writer = await asyncio.open_connection(*self._stack.address)
        writer.write(self._get(path))
        head = await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()
        return b" 200 " in head

    async def _slow_list_of_bystander(self) -> float:
        """Return the 95th percentile of 200 lists, one every 30 ms, in seconds."""
        seconds = []
        async with self._client(self.bystander) as client:
            for _ in range(200):
                seconds.append(await _timed(client, f"/emails?user_email={self.bystander.email}"))
                await asyncio.sleep(0.03)
        return sorted(seconds)[189]

    async def heavy_html(self) -> dict[str, float]:
        """Twelve reads of the message with 100,000 attributes."""
        heavy = self.attacker.emails(q="subject:heavy")[0]["id"]
        news = self.bystander.emails(q="subject:news")[0]["id"]
        return await self._beside("another's large HTML", [f"/emails/{heavy}"] * 12, f"/emails/{news}")

    async def raw_messages(self) -> dict[str, float]:
        """Begin a hundred and ninety downloads."""
        heavy = [f"/emails/{email['id']}/raw" for email in self.attacker.emails()[:190]]
        downloads = [f"/emails/{email['id']}/raw" for email in self.bystander.emails()[:2]]
        return await self._beside("another's download", heavy, *downloads)

    async def _beside(self, what: str, attack: list[str], *paths: str) -> dict[str, float]:
        """Return the seconds of the bystander's request, alone and beside the attack, then of the last path."""
        async with self._client(self.attacker) as attacker, self._client(self.bystander) as bystander:
            quiet = await _timed(bystander, paths[0])
            tasks = [asyncio.create_task(attacker.get(path)) for path in attack]
            await asyncio.sleep(1)
            beside = await _timed(bystander, paths[-1])
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        return {f"{what}, quiet, s": quiet, f"{what} beside {len(attack)}, s": beside}

    def _client(self, person: Person) -> httpx.AsyncClient:
        limits = httpx.Limits(max_connections=250)
        return httpx.AsyncClient(
            base_url=self._stack.gateway_url, headers=person.headers(), trust_env=False, timeout=60, limits=limits
        )


async def _timed(client: httpx.AsyncClient, path: str) -> float:
    began = time.monotonic()
    try:
        (await client.get(path)).raise_for_status()
    except httpx.TimeoutException:
        return float("inf")
    return time.monotonic() - began


def _is_open(connection: socket.socket) -> bool:
    """Tell whether the server has neither answered nor closed the connection."""
    connection.setblocking(False)
    try:
        return not connection.recv(1, socket.MSG_PEEK) and False
    except BlockingIOError:
        return True
    except OSError:
        return False


def _begins_with(connection: socket.socket, wanted: bytes) -> bool:
    """Tell whether the response begins so; not if the server has closed the connection."""
    connection.settimeout(1)
    try:
        return connection.recv(len(wanted)) == wanted
    except OSError:
        return False


def _raw(subject: str, body: str, *, subtype: str) -> bytes:
    head = (
        f"From: a@b.example\r\nTo: x@y.example\r\nSubject: {subject}\r\nMessage-ID: <{subject.replace(' ', '-')}@x>\r\n"
    )
    typed = f"{head}MIME-Version: 1.0\r\nContent-Type: text/{subtype}; charset=utf-8\r\n\r\n{body}\r\n"
    return typed.encode()


async def attack(stack: Stack) -> dict[str, float]:
    """Make all attacks, one after the other, and return their figures."""
    figures: dict[str, float] = {}
    stopped = threading.Event()
    watching = threading.Thread(target=stack.watch, args=(stopped,))
    watching.start()
    highest: Counter[str] = Counter()
    try:
        with httpx.Client(base_url=stack.gateway_url, trust_env=False, timeout=90) as http:
            attacks = Attacks(stack, http)
            steps = (
                attacks.long_polls,
                attacks.reconnecting_streams,
                attacks.raw_messages,
                attacks.heavy_html,
                attacks.heavy_queries,
                attacks.unread_exports,
                attacks.unread_lists,
                attacks.unread_messages,
            )
            for step in steps:
                figures |= await step()
                highest |= stack.peaks
            figures |= attacks.huge_head()
            figures |= attacks.requests_ahead()
            figures |= attacks.half_heads()
            highest |= stack.peaks
    finally:
        stopped.set()
        watching.join()
    return figures | {f"MiB of {name} at most (limit {MEMORY_LIMITS[name]})": highest[name] for name in PROCESSES}


def main() -> None:
    """Attack the stacks of the given checkouts, and print their figures side by side."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkout", type=Path, action="append", help="may be repeated; default: this one")
    checkouts = [path.resolve() for path in parser.parse_args().checkout or [Path(__file__).parents[1]]]
    columns = []
    for checkout in checkouts:
        with running(checkout) as stack:
            columns.append(asyncio.run(attack(stack)))
            print(json.dumps({"checkout": checkout.name, **columns[-1]}), flush=True)
    print("\n" + " " * 48 + "".join(f"{checkout.name:>12}" for checkout in checkouts))
    for name in columns[-1]:
        print(f"{name:48}" + "".join(f"{column[name]:>12.2f}" for column in columns))


if __name__ == "__main__":
    main()
