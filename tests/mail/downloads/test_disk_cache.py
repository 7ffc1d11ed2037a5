"""The cache of downloads on disk."""

import os
from pathlib import Path

from services.mail.downloads.disk_cache import DiskCache

MINUTE = 60.0


class Clock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


def opened(directory: Path, *, max_bytes: int = 100, clock: Clock | None = None) -> DiskCache:
    cache = DiskCache(directory, max_bytes=max_bytes, max_age=60 * MINUTE, now=clock or Clock())
    cache.open()
    return cache


def put(cache: DiskCache, key: str, data: bytes) -> None:
    draft = cache.draft()
    draft.write(data)
    os.close(cache.keep(draft, key))


def get(cache: DiskCache, key: str) -> bytes | None:
    descriptor = cache.read(key)
    if descriptor is None:
        return None
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


class TestDiskCache:
    def test_keeps_contents_across_restarts(self, tmp_path: Path) -> None:
        put(opened(tmp_path / "a" / "b"), "k", b"data")
        again = opened(tmp_path / "a" / "b")
        assert (get(again, "k"), again.size) == (b"data", 4)

    def test_is_readable_by_its_user_only(self, tmp_path: Path) -> None:
        cache = opened(tmp_path / "cache")
        put(cache, "k", b"data")
        assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700
        assert (tmp_path / "cache" / "k").stat().st_mode & 0o777 == 0o600

    def test_evicts_the_least_recently_used(self, tmp_path: Path) -> None:
        cache = opened(tmp_path)
        for key in ("a", "b", "c"):
            put(cache, key, b"x" * 33)
        assert get(cache, "a") is not None
        put(cache, "d", b"x" * 33)
        assert [key for key in ("a", "b", "c", "d") if get(cache, key)] == ["a", "c", "d"]
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) == cache.size == 99

    def test_keeps_the_order_of_use_across_restarts(self, tmp_path: Path) -> None:
        clock = Clock()
        cache = opened(tmp_path, clock=clock)
        for key in ("a", "b", "c"):
            put(cache, key, b"x" * 33)
        for key in ("b", "c", "a"):
            get(cache, key)
        again = opened(tmp_path, clock=clock)
        put(again, "d", b"x" * 33)
        assert [key for key in ("a", "b", "c", "d") if get(again, key)] == ["a", "c", "d"]

    def test_evicts_at_start_when_its_bound_has_shrunk(self, tmp_path: Path) -> None:
        cache = opened(tmp_path)
        for key in ("a", "b"):
            put(cache, key, b"x" * 40)
        assert opened(tmp_path, max_bytes=50).size == 40

    def test_serves_open_descriptors_of_contents_larger_than_its_bound(self, tmp_path: Path) -> None:
        cache = opened(tmp_path)
        draft = cache.draft()
        draft.write(b"x" * 101)
        with os.fdopen(cache.keep(draft, "k"), "rb") as file:
            assert os.pread(file.fileno(), 200, 0) == b"x" * 101
        assert (get(cache, "k"), cache.size, list(tmp_path.iterdir())) == (None, 0, [])

    def test_removes_contents_older_than_max_age(self, tmp_path: Path) -> None:
        clock = Clock()
        cache = opened(tmp_path, clock=clock)
        put(cache, "old", b"x")
        clock.now += 59 * MINUTE
        assert get(cache, "old") == b"x"
        clock.now += 2 * MINUTE
        assert (get(cache, "old"), list(tmp_path.iterdir())) == (None, [])

    def test_drops_the_given_keys(self, tmp_path: Path) -> None:
        cache = opened(tmp_path)
        for key in ("a", "b"):
            put(cache, key, b"12345")
        cache.drop(["a", "no such key"])
        assert (cache.all_keys(), cache.size, get(cache, "a")) == (["b"], 5, None)

    def test_removes_drafts_of_a_crashed_process(self, tmp_path: Path) -> None:
        draft = opened(tmp_path).draft()
        draft.write(b"half")
        os.close(draft.descriptor)
        assert len(list(tmp_path.iterdir())) == 1
        assert opened(tmp_path).size == 0
        assert list(tmp_path.iterdir()) == []

    def test_keeps_drafts_that_are_being_written(self, tmp_path: Path) -> None:
        cache = opened(tmp_path)
        draft = cache.draft()
        opened(tmp_path)
        draft.write(b"data")
        os.close(cache.keep(draft, "k"))
        assert get(cache, "k") == b"data"

    def test_discards_a_draft_without_a_trace(self, tmp_path: Path) -> None:
        opened(tmp_path).draft().discard()
        assert list(tmp_path.iterdir()) == []

    def test_survives_the_deletion_of_its_files(self, tmp_path: Path) -> None:
        cache = opened(tmp_path)
        put(cache, "k", b"x")
        (tmp_path / "k").unlink()
        assert (get(cache, "k"), cache.size) == (None, 0)

    def test_counts_a_replaced_content_once(self, tmp_path: Path) -> None:
        cache = opened(tmp_path)
        put(cache, "k", b"xx")
        put(cache, "k", b"yyy")
        assert (get(cache, "k"), cache.size) == (b"yyy", 3)
