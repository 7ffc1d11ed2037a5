"""A small command line for Valkey: the wheel brings the server without `valkey-cli`.

iredis (1.16, BSD) would replace it, but demands redis-py below 8 and packaging below 25: a tool for developers would
hold back the client that the services use.
"""

import shlex
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress

from redis import Redis
from redis.exceptions import RedisError

from deploy.local.valkey import RedisAddress

type Reply = bytes | str | int | float | Sequence[Reply] | dict[Reply, Reply] | None


def run_command(address: RedisAddress, command: Sequence[str]) -> int:
    """Send one command, print its reply, return an exit code."""
    with _connect(address) as client:
        return _send(client, command)


def run_shell(address: RedisAddress) -> int:
    """Read commands line by line from a terminal or a pipe until `quit` or the end of input."""
    prompt = f"{address.host}:{address.port}[{address.database}]> " if sys.stdin.isatty() else ""
    if prompt:
        with suppress(ImportError):
            __import__("readline")  # line editing in `input`
    code = 0
    with _connect(address) as client:
        for line in _lines(prompt):
            try:
                words = shlex.split(line)
            except ValueError as error:
                sys.stdout.write(f"(error) {error}\n")
                continue
            if words and words[0].lower() in {"quit", "exit"}:
                break
            code = _send(client, words) if words else code
    return 0 if prompt else code


def raw_reply(reply: Reply) -> str:
    """Write a reply for another program, as redis-cli does when its output is no terminal: one value per line."""
    match reply:
        case None:
            return ""
        case bytes():
            return reply.decode("utf-8", errors="backslashreplace")
        case dict():
            return "\n".join(raw_reply(part) for pair in reply.items() for part in pair)
        case list() | tuple() | set():
            return "\n".join(raw_reply(part) for part in reply)
        case _:
            return str(reply)


def format_reply(reply: Reply, *, indent: str = "") -> str:
    """Write a reply as redis-cli does: `"text"`, `(integer) 1`, `(nil)`, numbered lists."""
    match reply:
        case None:
            return "(nil)"
        case b"OK" | b"PONG":  # the library does not tell a status from a string
            return reply.decode()
        case bool() | int():
            return f"(integer) {int(reply)}"
        case bytes():
            return '"' + reply.decode("utf-8", errors="backslashreplace").replace('"', '\\"') + '"'
        case dict():
            return format_reply([part for pair in reply.items() for part in pair], indent=indent)
        case list() | tuple() | set():
            if not reply:
                return "(empty array)"
            width = len(str(len(reply)))
            inner = indent + " " * (width + 2)
            items = (f"{n:>{width}}) {format_reply(item, indent=inner)}" for n, item in enumerate(reply, start=1))
            return f"\n{indent}".join(items)
        case _:
            return str(reply)


def _connect(address: RedisAddress) -> Redis:
    client = Redis(
        host=address.host,
        port=address.port,
        db=address.database,
        username=address.username,
        password=address.password,
    )
    client.response_callbacks.clear()  # they turn the replies of known commands into the library's own types
    return client


def _send(client: Redis, words: Sequence[str]) -> int:
    try:
        reply: Reply = client.execute_command(*words)  # type: ignore[no-untyped-call]  # the library's gap
    except RedisError as error:
        sys.stdout.write(f"(error) {error}\n")
        return 1
    sys.stdout.write(f"{format_reply(reply) if sys.stdout.isatty() else raw_reply(reply)}\n")
    sys.stdout.flush()
    return 0


def _lines(prompt: str) -> Iterable[str]:
    while True:
        try:
            yield input(prompt)
        except (EOFError, KeyboardInterrupt):
            return
