"""Calls as people would write them: for a shell, and in Python."""

import json
import shlex
from collections.abc import Sequence

from services.console.gateway.calls import Call, Value


def as_curl(call: Call, *, api: str) -> str:
    """Return the command, which reads the key from `$KEY`."""
    parts = ["curl -s"]
    if call.method != "GET" and call.body is None:
        parts[0] += f" -X {call.method}"
    if call.params:
        parts[0] += " -G"
    parts[0] += f" {shlex.quote(api + call.path)}"
    if call.authorized:
        parts.append('-H "Authorization: Bearer $KEY"')
    if call.wait is not None:
        parts.append(f"-H 'Prefer: wait={call.wait}'")
    parts += [f"--data-urlencode {shlex.quote(f'{name}={_text(value)}')}" for name, value in call.params.items()]
    if call.body is not None:
        parts += ["-H 'Content-Type: application/json'", f"-d {shlex.quote(json.dumps(call.body, ensure_ascii=False))}"]
    return " \\\n  ".join(parts)


def as_python(calls: Sequence[Call], *, api: str) -> str:
    """Return a program that makes the calls (docs/python-client.md)."""
    lines = "\n".join(f"    {call.python}" for call in calls)
    return f"from mailroom_client import Mailroom\n\nwith Mailroom({api!r}, token=KEY) as mailroom:\n{lines}\n"


def _text(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
