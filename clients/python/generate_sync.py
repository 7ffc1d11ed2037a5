"""Makes src/mailroom_client/_sync from _async: python generate_sync.py [--check]."""

import re
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parent / "src/mailroom_client"
# In this order, on whole words.
REPLACED = {
    r"from asyncio import Lock, sleep": "from threading import Lock\nfrom time import sleep",
    r"from asyncio import sleep": "from time import sleep",
    r"The asynchronous client\. The folder `_sync` is made from this one: generate_sync\.py\.": (
        "The synchronous client. Made from `_async` by generate_sync.py: change nothing here."
    ),
    r"\b(Mailroom for) async\b": r"\1",
    r"_async\b": "_sync",
    r"`async (with|for)`": r"`\1`",
    r"\basync (def|with|for) ": r"\1 ",
    r"\bawait ": "",
    r"\bAsyncGenerator\[": "Generator[",
    r"\bAsyncGenerator\b": "Generator",
    r"\b__a(iter|enter|exit)__\b": r"__\1__",
    r"\baclosing\b": "closing",
    r"\basynccontextmanager\b": "contextmanager",
    r"\bAbstractAsyncContextManager\b": "AbstractContextManager",
    r"\ba(close|read)\b": r"\1",
    r"\baiter_bytes\b": "iter_bytes",
    r"\bhttpx\.AsyncClient\b": "httpx.Client",
    r"\bAsync([A-Z][A-Za-z]+)\b": r"\1",
}


def sync_of(source: str) -> str:
    """Return the synchronous form of a module."""
    for pattern, replacement in REPLACED.items():
        source = re.sub(pattern, replacement, source)
    # Other names sort otherwise, and fit on other lines.
    source = _ruff("check", "--quiet", "--fix", "--unsafe-fixes", "--select=I,UP028", text=source)
    return _ruff("format", text=source)


def _ruff(*arguments: str, text: str) -> str:
    command = [sys.executable, "-m", "ruff", *arguments, "--stdin-filename", str(PACKAGE / "_sync/module.py")]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout


def main(*, check: bool) -> int:
    """Write the modules; with `check` only compare, and return 1 if one is out of date."""
    stale = []
    for module in sorted((PACKAGE / "_async").glob("*.py")):
        made, text = PACKAGE / "_sync" / module.name, sync_of(module.read_text())
        if not made.exists() or made.read_text() != text:
            stale.append(made)
            if not check:
                made.parent.mkdir(exist_ok=True)
                made.write_text(text)
    for path in stale:
        sys.stdout.write(f"{'out of date' if check else 'made'}: {path.relative_to(PACKAGE)}\n")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main(check="--check" in sys.argv))
