"""A cache of contents on disk, bounded in size and age: repeated downloads cost the provider nothing.

A file gets its name when it is complete; unfinished files of a crashed process are removed at the next start. A
directory serves one process. Methods block on file access: call them from a thread.
"""

import fcntl
import os
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

_UNFINISHED = ".part"


@dataclass(frozen=True, slots=True)
class _Entry:
    size: int
    created_at: float


class Draft:
    """An unfinished, unnamed file of the cache. Its creator ends it with `discard` or `DiskCache.keep`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        # The lock marks the draft as in use; the kernel releases it when the process dies.
        fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def write(self, data: bytes) -> None:
        """Append the data."""
        view = memoryview(data)
        while view:
            view = view[os.write(self.descriptor, view) :]

    def discard(self) -> None:
        """Close and delete the draft."""
        os.close(self.descriptor)
        self.path.unlink(missing_ok=True)


class DiskCache:
    """Files by key in `directory`, at most `max_bytes` in all, evicted least recently used first.

    Files older than `max_age` seconds are removed. Keys must be valid file names.
    """

    def __init__(
        self, directory: Path, *, max_bytes: int, max_age: float, now: Callable[[], float] = time.time
    ) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        self._max_age = max_age
        self._now = now
        self._lock = Lock()
        # Ordered from least to most recently used.
        self._entries: dict[str, _Entry] = {}
        self._size = 0

    @property
    def size(self) -> int:
        """Size of all files in bytes."""
        return self._size

    def open(self) -> None:
        """Create the directory, readable only by this user, and index its files. Raises OSError."""
        self._directory.mkdir(parents=True, exist_ok=True)
        self._directory.chmod(0o700)
        found = []
        for path in self._directory.iterdir():
            if path.name.endswith(_UNFINISHED):
                _remove_abandoned(path)
            else:
                state = path.stat()
                found.append((state.st_atime, path.name, _Entry(state.st_size, state.st_mtime)))
        with self._lock:
            self._entries = {name: entry for _, name, entry in sorted(found)}
            self._size = sum(entry.size for entry in self._entries.values())
            self._make_room()

    def draft(self) -> Draft:
        """Create a file to write to. Raises OSError."""
        return Draft(self._directory / f"{secrets.token_hex(16)}{_UNFINISHED}")

    def keep(self, draft: Draft, key: str) -> int:
        """Store a finished draft under `key`; return its open descriptor, which stays readable after an eviction."""
        size = os.fstat(draft.descriptor).st_size
        with self._lock:
            draft.path.replace(self._directory / key)
            self._forget(key)
            self._entries[key] = _Entry(size, self._now())
            self._size += size
            self._make_room()
        return draft.descriptor

    def read(self, key: str) -> int | None:
        """Return an open descriptor of the content, or None if it is not cached."""
        with self._lock:
            self._drop_aged()
            entry = self._entries.get(key)
            if entry is None:
                return None
            path = self._directory / key
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                self._forget(key)
                return None
            # Access times keep the order of use across restarts; modification times keep the age.
            os.utime(path, (self._now(), entry.created_at))
            self._entries[key] = self._entries.pop(key)
            return descriptor

    def all_keys(self) -> list[str]:
        """Return the keys of all contents."""
        with self._lock:
            return list(self._entries)

    def drop(self, keys: Iterable[str]) -> None:
        """Remove contents. Open descriptors stay readable."""
        with self._lock:
            for key in keys:
                self._drop(key)

    def _make_room(self) -> None:
        self._drop_aged()
        while self._size > self._max_bytes:
            self._drop(next(iter(self._entries)))

    def _drop_aged(self) -> None:
        oldest = self._now() - self._max_age
        for key in [key for key, entry in self._entries.items() if entry.created_at < oldest]:
            self._drop(key)

    def _drop(self, key: str) -> None:
        self._forget(key)
        (self._directory / key).unlink(missing_ok=True)

    def _forget(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        self._size -= entry.size if entry else 0


def _remove_abandoned(path: Path) -> None:
    """Remove a draft whose process has died."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
    except BlockingIOError:
        return
    finally:
        os.close(descriptor)
