"""A mail worker that reports blocking of its event loop: a JSON line for each callback of 5 ms CPU or more."""

import asyncio
import json
import sys
import time
from asyncio.events import Handle
from pathlib import Path
from typing import Any

from services.kit.observe.structured_logging import configure_logging
from services.kit.settings import load
from services.mail.settings import WorkerSettings
from services.mail.worker import app

# Seconds of the loop's thread. Other threads' work does not count, and neither does waiting for them.
_WORTH_TELLING = 0.005


def watch(report: Path) -> None:
    """Measure every callback of asyncio's own loop; uvloop's cannot be measured."""
    run = Handle._run  # noqa: SLF001 - every callback passes through it

    def measured(self: Any) -> None:
        began = time.thread_time()
        run(self)
        if (took := time.thread_time() - began) >= _WORTH_TELLING:
            with report.open("a") as file:
                file.write(json.dumps({"ms": round(took * 1000, 1), "callback": repr(self)[:300]}) + "\n")

    Handle._run = measured  # type: ignore[method-assign]  # noqa: SLF001


async def main() -> None:
    """Work until killed."""
    settings = load(WorkerSettings)
    configure_logging(service="mail-worker", level=settings.log_level)
    await app.serve(settings, asyncio.Event())


if __name__ == "__main__":
    watch(Path(sys.argv[1]))
    asyncio.run(main())
