"""A file that keeps a value while a sandbox is not running."""

import os
from pathlib import Path

from pydantic import TypeAdapter


class KeptFile[T]:
    """A JSON file, readable by its owner alone, that is replaced as a whole."""

    def __init__(self, path: Path, kept: type[T]) -> None:
        self._path = path
        self._json = TypeAdapter(kept)

    def load(self) -> T | None:
        """Return what was saved last, None without a file. Raises OSError, and ValueError for a damaged file."""
        try:
            return self._json.validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return None

    def save(self, value: T) -> None:
        """Replace what was saved before. Raises OSError."""
        unfinished = self._path.with_suffix(".unfinished")
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(self._json.dump_json(value))
        unfinished.replace(self._path)
