"""Lines and events of a stream, and the failure that can end it."""

from collections.abc import Iterator

from pydantic import BaseModel, ValidationError

from mailroom_client.errors import problem_error
from mailroom_client.models import Problem

_FAILURE = b'{"problem":'


class _Failure(BaseModel):
    problem: Problem


class Lines:
    """Cuts chunks into lines (NDJSON). A line that tells of a failure is raised."""

    def __init__(self) -> None:
        self._open = b""

    def take(self, chunk: bytes) -> Iterator[bytes]:
        """Return the lines that a chunk ends."""
        *whole, self._open = (self._open + chunk).split(b"\n")
        yield from self._checked(whole)

    def rest(self) -> Iterator[bytes]:
        """Return the last line, if no line break ended it."""
        last, self._open = self._open, b""
        yield from self._checked([last])

    def _checked(self, lines: list[bytes]) -> Iterator[bytes]:
        for line in lines:
            if line.startswith(_FAILURE):
                _raise(line)
            if line:
                yield line


def _raise(line: bytes) -> None:
    try:
        failure = _Failure.model_validate_json(line)
    except ValidationError:
        return
    raise problem_error(failure.problem)


class Events:
    """Cuts chunks into the data of server-sent events. An event that tells of a failure is raised."""

    def __init__(self) -> None:
        self._open = b""

    def take(self, chunk: bytes) -> Iterator[bytes]:
        """Return the data of the events that a chunk ends; comments have none."""
        *whole, self._open = (self._open + chunk).split(b"\n\n")
        for text in whole:
            fields = dict(line.split(b": ", 1) for line in text.split(b"\n") if b": " in line)
            if fields.get(b"event") == b"problem":
                raise problem_error(Problem.model_validate_json(fields[b"data"]))
            if fields.get(b"event") == b"changes":
                yield fields[b"data"]
