"""The first 50 messages of many people's mailboxes, requested from three implementations in turn."""

import asyncio
import json
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

import httpx

from benchmarks.process_cpu import cpu_seconds
from benchmarks.read_ways.server import ServerConfig
from benchmarks.read_ways.stage import Stage
from benchmarks.read_ways.traffic import Request, ask
from deploy.local.ports import Ports

MAILROOM, MONOLITH, BARE = "mailroom", "monolith", "bare ASGI"
_MODULES = {MONOLITH: "monolith", BARE: "bare"}
_CONNECTIONS = 8
_WARM_UP = 300
_ALONE = 200

type Line = dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """An implementation: its address, and the processes whose CPU time counts besides Postgres's."""

    name: str
    url: str
    pids: Sequence[int]


def compare(stage: Stage, *, rounds: int, requests: int) -> dict[str, Line]:
    """Return the medians of each implementation over the rounds."""
    with _ways(stage) as ways:
        _check_same_bodies(stage, ways)
        for way in ways:
            asyncio.run(ask(way.url, _requests(stage, _WARM_UP), connections=_CONNECTIONS))
        lines = [(way.name, _measure(stage, way, requests)) for _ in range(rounds) for way in ways]
    return {way.name: _median([line for name, line in lines if name == way.name]) for way in ways}


def _measure(stage: Stage, way: Way, requests: int) -> Line:
    postgres = stage.pids["postgres"]
    wanted = _requests(stage, requests)
    cpu, server = sum(map(cpu_seconds, way.pids)), cpu_seconds(postgres)
    busy = asyncio.run(ask(way.url, wanted, connections=_CONNECTIONS))
    cpu, server = sum(map(cpu_seconds, way.pids)) - cpu, cpu_seconds(postgres) - server
    alone = asyncio.run(ask(way.url, wanted[:_ALONE], connections=1))
    line: Line = {
        "cpu_ms": cpu * 1000 / requests,
        "postgres_ms": server * 1000 / requests,
        "total_ms": (cpu + server) * 1000 / requests,
        "lists_per_second": requests / busy.seconds,
        "p50_ms": busy.percentile(50),
        "p99_ms": busy.percentile(99),
        "alone_p50_ms": alone.percentile(50),
    }
    print(json.dumps({"way": way.name, **{name: round(value, 3) for name, value in line.items()}}), flush=True)
    return line


def _median(lines: Sequence[Line]) -> Line:
    return {name: statistics.median(line[name] for line in lines) for name in lines[0]}


def _requests(stage: Stage, count: int) -> list[Request]:
    paths = [Request(path=f"/emails?user_email={person.email}&limit=50", token=person.token) for person in stage.people]
    return [paths[number % len(paths)] for number in range(count)]


def _check_same_bodies(stage: Stage, ways: Sequence[Way]) -> None:
    for person in stage.people[:3]:
        headers = {"Authorization": f"Bearer {person.token}"}
        query = {"user_email": person.email}
        bodies = [httpx.get(f"{way.url}/emails", params=query, headers=headers, trust_env=False).json() for way in ways]
        if any(body != bodies[0] for body in bodies):
            raise SystemExit("the ways do not answer the same")


@contextmanager
def _ways(stage: Stage) -> Iterator[list[Way]]:
    stack = stage.stack
    url = stack.gateway_url
    keys = httpx.get(f"{url}/.well-known/jwks.json", trust_env=False).text
    with ExitStack() as stopping:
        ports = Ports()
        stopping.callback(ports.release)
        others = []
        for name in _MODULES:
            config = ServerConfig(dsn=stage.dsn, issuer=stack.variables["PUBLIC_URL"], keys=keys, port=ports.free())
            others.append(stopping.enter_context(serving(name, config)))
        yield [Way(name=MAILROOM, url=url, pids=[stage.pids[name] for name in ("gateway", "auth", "mail")]), *others]


@contextmanager
def serving(name: str, config: ServerConfig) -> Iterator[Way]:
    """Run one of the alternatives in a process."""
    command = [sys.executable, "-m", f"benchmarks.read_ways.{_MODULES[name]}"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, text=True)  # noqa: S603 - our own module
    try:
        assert process.stdin is not None
        with process.stdin:
            process.stdin.write(config.dumps())
        _await_port(config.port, process)
        yield Way(name=name, url=f"http://127.0.0.1:{config.port}", pids=[process.pid])
    finally:
        process.terminate()
        process.wait()


def _await_port(port: int, process: subprocess.Popen[str]) -> None:
    while process.poll() is None:
        with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.05)
    raise SystemExit(f"what should serve port {port} ended")
