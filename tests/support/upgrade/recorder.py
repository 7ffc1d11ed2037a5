"""Statements of a release with their arguments, as files that later releases can read."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Sent:
    """A statement and its arguments."""

    sql: str
    arguments: tuple[Any, ...]


def written(value: Any) -> Any:
    """Return an argument as JSON has it."""
    match value:
        case bool() | None | str() | float():
            return value
        case int():
            return int(value)
        case datetime():
            return {"time": value.isoformat()}
        case timedelta():
            return {"seconds": value.total_seconds()}
        case UUID():
            return {"uuid": str(value)}
        case bytes():
            return {"bytes": value.hex()}
    return [written(each) for each in value]


def read(value: Any, *, replaced: Mapping[Any, Any]) -> Any:
    """Return the argument that was written, with some values replaced by others."""
    if isinstance(value, list):
        return [read(each, replaced=replaced) for each in value]
    if isinstance(value, dict):
        [(kind, text)] = value.items()
        made = _READERS[kind](text)
        if kind == "uuid_text":
            return str(replaced.get(made, made))
        return replaced.get(made, made)
    return replaced.get(value, value)


_READERS: Mapping[str, Callable[[Any], Any]] = {
    "time": datetime.fromisoformat,
    "seconds": lambda seconds: timedelta(seconds=seconds),
    "uuid": UUID,
    "uuid_text": UUID,
    "bytes": bytes.fromhex,
}


def as_text(sent: list[Sent]) -> str:
    """Return statements as the text of a file."""
    lines = (json.dumps([each.sql, written(each.arguments)], ensure_ascii=False) for each in sent)
    return "[\n" + ",\n".join(lines) + "\n]\n"
