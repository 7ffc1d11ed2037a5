"""Sanitising of a message's HTML without delaying other requests, however long its parsing takes.

It happens when a message is read: the store keeps the original HTML, and a stricter policy applies to all mail at
once.
"""

import asyncio
import html as markup
import json
import sys
from collections.abc import Mapping
from pathlib import Path

import structlog

from services.gateway.html import policy

# A parser's work grows with the square of the open tags, of one tag's attributes, of the entities in one text; that of
# styles with their length. So much takes 0.2 s at worst, a few milliseconds as a rule.
_HARMLESS_TAGS, _HARMLESS_LENGTH = 4_000, 200_000
# So little is not worth handing to a thread: 2 ms at worst, if all of it is styles that no other mail has.
_TINY_TAGS, _TINY_LENGTH = 50, 4_096
# Seconds for the whole run of a process, of which the system allows PROCESSOR_SECONDS of work.
_PROCESS_SECONDS = 30

# The directory that holds the package `services`.
_CODE = str(Path(policy.__file__).parents[3])

log = structlog.get_logger()


class SafeHtml:
    """The sanitiser. It runs at most `processes` processes at a time."""

    def __init__(self, *, processes: int = 2) -> None:
        self._slots = asyncio.Semaphore(processes)

    async def of(self, html: str, *, text: str | None, pictures: Mapping[str, str]) -> str:
        """Return the allowed parts of `html`, or the `text` as HTML if parsing takes too long."""
        tags = html.count("<")
        if tags <= _TINY_TAGS and len(html) <= _TINY_LENGTH:
            return policy.sanitise(html, pictures)
        if tags <= _HARMLESS_TAGS and len(html) <= _HARMLESS_LENGTH:
            return await asyncio.to_thread(policy.sanitise, html, pictures)
        async with self._slots:
            safe = await _in_a_process(html, pictures)
        if safe is None:
            log.warning("html takes too much work, its text is shown", tags=tags)
            return f'<pre style="white-space:pre-wrap">{markup.escape(text or "")}</pre>'
        return safe


async def _in_a_process(html: str, pictures: Mapping[str, str]) -> str | None:
    """Sanitise in a Python process without our environment; return None if it was ended."""
    given = json.dumps(dict(pictures)).encode() + b"\n" + html.encode()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-sP", "-m", policy.__name__),
        env={"PYTHONPATH": _CODE},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(_PROCESS_SECONDS):
            out, _ = await process.communicate(given)
    except TimeoutError:
        return None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return out.decode() if process.returncode == 0 else None
