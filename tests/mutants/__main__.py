"""Whether the tests notice mistakes: puts each of mistakes.toml into a copy of the tree and runs the tests it names.

`make mutants` takes all, `make mutants only=quota` those whose name, file or origin has this text in it.
"""

import argparse
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from deploy.local.ports import Ports
from deploy.local.postgres import EmbeddedPostgres
from deploy.local.valkey import EmbeddedValkey
from tests.mutants.mistakes import Mistake, read
from tests.support.checkout import Checkout

# As pytest ends where tests failed.
_FAILED = 1
# Seconds for a test under a mistake, which can make it wait for ever.
_TIME_LIMIT = 60


def main() -> int:
    """Run the command; 1 where a mistake went unnoticed that tests should notice, or tests fail without any."""
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("--only", default="", help="take the mistakes with this text in their name, file or origin")
    only = parser.parse_args().only
    mistakes = [mistake for mistake in read() if only in f"{mistake.name} {mistake.file} {mistake.origin}"]
    if not mistakes:
        # pytest without names of tests would run all of them.
        print(f"No mistake has {only!r} in its name, file or origin.")
        return 1
    with _servers() as environment, tempfile.TemporaryDirectory() as folder:
        checkout = Checkout(Path(folder) / "mailroom", environment=environment)
        tests = sorted({test for mistake in mistakes for test in mistake.tests})
        done = _test(checkout, tests, stop_early=False)
        if done.returncode:
            print(done.stdout, done.stderr, f"exit code {done.returncode}", sep="\n")
            print("Tests fail without any mistake.")
            return 1
        return _report(mistakes, [_is_noticed(checkout, mistake) for mistake in mistakes])


@contextmanager
def _servers() -> Iterator[Mapping[str, str]]:
    """Yield the environment of tests that share a Postgres and a Valkey server."""
    ports = Ports()
    with tempfile.TemporaryDirectory(prefix="mailroom-mutants-") as folder:
        home = Path(folder)
        home.chmod(0o711)
        with (
            EmbeddedPostgres(home, port=ports.free(), password="mutants") as postgres,
            EmbeddedValkey(home, port=ports.free()) as valkey,
        ):
            yield {**postgres.address.environment(), **valkey.address.environment()}
    ports.release()


def _test(checkout: Checkout, tests: Sequence[str], *, stop_early: bool) -> subprocess.CompletedProcess[str]:
    options = ["-q", "--no-header", "-p", "no:cacheprovider", "-o", f"timeout={_TIME_LIMIT}", *(["-x"] * stop_early)]
    done = checkout.run("pytest", *options, *tests)
    # An interpreter that ended without a verdict gets another try.
    return done if done.returncode in (0, _FAILED) else checkout.run("pytest", *options, *tests)


def _is_noticed(checkout: Checkout, mistake: Mistake) -> bool:
    """Whether one of the mistake's tests fails under it."""
    path = checkout.path / mistake.file
    text = path.read_text(encoding="utf-8")
    began = time.monotonic()
    path.write_text(mistake.applied_to(text), encoding="utf-8")
    try:
        done = _test(checkout, mistake.tests, stop_early=True)
    finally:
        path.write_text(text, encoding="utf-8")
    if done.returncode not in (0, _FAILED):
        raise RuntimeError(f"{mistake.name}: the tests did not run\n{done.stdout}{done.stderr}")
    noticed = done.returncode == _FAILED
    failures = [line for line in done.stdout.splitlines() if line.startswith(("FAILED tests", "ERROR tests"))]
    print(f"{'noticed ' if noticed else 'SURVIVED'} {time.monotonic() - began:5.1f} s  {mistake.name}", flush=True)
    for line in failures:
        print(f"                   {line}", flush=True)
    return noticed


def _report(mistakes: Sequence[Mistake], noticed: Sequence[bool]) -> int:
    print(f"{sum(noticed)} of {len(mistakes)} mistakes noticed")
    unexpected = [each.name for each, was in zip(mistakes, noticed, strict=True) if not was and not each.survives]
    outdated = [each.name for each, was in zip(mistakes, noticed, strict=True) if was and each.survives]
    for name in unexpected:
        print(f"went unnoticed: {name}")
    for name in outdated:
        print(f"is noticed by now, though mistakes.toml says that it survives: {name}")
    return int(bool(unexpected or outdated))


if __name__ == "__main__":
    raise SystemExit(main())
