"""Sanitising of a message's HTML without delaying other requests, however long its parsing takes.

It happens when a message is read: the store keeps the original HTML, and a stricter policy applies to all mail at
once.
"""

import asyncio
import hashlib
import html as markup
import json
import sys
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import structlog

from services.gateway.html import policy
from services.kit.fair_share import FairShare

# A parser's work grows with the square of the open tags, of one tag's attributes, of the entities in one text; that of
# styles with their length. So much takes 0.2 s at worst, a few milliseconds as a rule.
_HARMLESS_TAGS, _HARMLESS_LENGTH = 4_000, 200_000
# So little is not worth handing to a thread: 2 ms at worst, if all of it is styles that no other mail has.
_TINY_TAGS, _TINY_LENGTH = 50, 4_096
# Seconds of work that the system allows a process, and seconds for its whole run.
_PROCESSOR_SECONDS = 4
_PROCESS_SECONDS = 30
# Messages of a user that wait for a process, and messages that were too heavy.
_MOST_WAITING = 16
_MOST_REMEMBERED = 10_000

# The directory that holds the package `services`.
_CODE = str(Path(policy.__file__).parents[3])

log = structlog.get_logger()


class SafeHtml:
    """The sanitiser. It runs at most `processes` processes at a time, one of them for a user.

    HTML that took more than `processor_seconds` once is remembered, and not parsed again.
    """

    def __init__(self, *, processes: int = 2, processor_seconds: int = _PROCESSOR_SECONDS) -> None:
        self._processor_seconds = processor_seconds
        self._slots = FairShare(processes, per_user=1, waiting=_MOST_WAITING, work="large messages are read")
        self._too_heavy: OrderedDict[bytes, None] = OrderedDict()

    async def of(self, html: str, *, text: str | None, pictures: Mapping[str, str], user_id: str) -> str:
        """Return the allowed parts of `html`, or the `text` as HTML if parsing takes too long.

        Raises AppError too_many_requests if too many of the user's messages wait.
        """
        tags = html.count("<")
        if tags <= _TINY_TAGS and len(html) <= _TINY_LENGTH:
            return policy.sanitise(html, pictures)
        if tags <= _HARMLESS_TAGS and len(html) <= _HARMLESS_LENGTH:
            return await asyncio.to_thread(policy.sanitise, html, pictures)
        digest = await asyncio.to_thread(_digest, html)
        safe = None if digest in self._too_heavy else await self._sanitised(html, pictures, digest, user_id)
        return f'<pre style="white-space:pre-wrap">{markup.escape(text or "")}</pre>' if safe is None else safe

    async def _sanitised(self, html: str, pictures: Mapping[str, str], digest: bytes, user_id: str) -> str | None:
        async with self._slots.of(user_id):
            if digest in self._too_heavy:
                return None
            try:
                safe = await _in_a_process(html, pictures, processor_seconds=self._processor_seconds)
            except TimeoutError:
                # The machine may be busy: another time the work may be done.
                log.warning("html takes too long, its text is shown", length=len(html))
                return None
            if safe is None:
                log.warning("html takes too much work, its text is shown", length=len(html))
                self._remember(digest)
            return safe

    def _remember(self, digest: bytes) -> None:
        self._too_heavy[digest] = None
        self._too_heavy.move_to_end(digest)
        while len(self._too_heavy) > _MOST_REMEMBERED:
            self._too_heavy.popitem(last=False)


def _digest(html: str) -> bytes:
    return hashlib.sha256(html.encode("utf-8", "surrogatepass")).digest()


async def _in_a_process(html: str, pictures: Mapping[str, str], *, processor_seconds: int) -> str | None:
    """Sanitise in a Python process without our environment; return None if the system ended it for its work.

    Raises TimeoutError.
    """
    given = json.dumps(dict(pictures)).encode() + b"\n" + html.encode()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-sP", "-m", policy.__name__, str(processor_seconds)),
        env={"PYTHONPATH": _CODE},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(_PROCESS_SECONDS):
            out, _ = await process.communicate(given)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return out.decode() if process.returncode == 0 else None
