"""Other processes of the console, which hear of sessions that were signed out."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence

import httpx
import structlog

from services.console.sessions.ended import EndedSessions, EndedSessionsCipher

log = structlog.get_logger()

PATH = "/peers/ended-sessions"
# Seconds between exchanges: a process that could not be reached, or has just begun, knows all after this time.
INTERVAL = 5.0
# Seconds that a peer has to answer, for whom a person waits who signs out.
_ANSWER = 2.0

type Resolve = Callable[[], Awaitable[Sequence[str]]]


def addresses_of(name: str) -> Resolve:
    """Return a function that finds the base URLs behind a name with a port, this process's own among them."""
    host, _, port = name.rpartition(":")

    async def resolve() -> Sequence[str]:
        found = await asyncio.get_running_loop().getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
        hosts = {str(address[4][0]) for address in found}
        return [f"http://[{each}]:{port}" if ":" in each else f"http://{each}:{port}" for each in sorted(hosts)]

    return resolve


class Peers:
    """Exchanges ended sessions with all processes that `resolve` finds: each tells what it knows."""

    def __init__(
        self, ended: EndedSessions, cipher: EndedSessionsCipher, *, http: httpx.AsyncClient, resolve: Resolve
    ) -> None:
        self._ended = ended
        self._cipher = cipher
        self._http = http
        self._resolve = resolve

    async def exchange(self) -> None:
        """Tell all peers, and hear of theirs. A peer that does not answer is passed over until the next time."""
        try:
            found = await self._resolve()
        except OSError as error:
            log.warning("peers cannot be found", reason=str(error))
            return
        await asyncio.gather(*(self._exchange_with(peer) for peer in found))

    def answer(self, message: bytes) -> bytes | None:
        """Take what a peer tells, and return what this process knows; None for a message of a stranger."""
        told = self._cipher.decrypt(message)
        if told is None:
            return None
        self._ended.add(told)
        return self._cipher.encrypt(self._ended.all())

    async def _exchange_with(self, peer: str) -> None:
        try:
            response = await self._http.post(
                f"{peer}{PATH}", content=self._cipher.encrypt(self._ended.all()), timeout=_ANSWER
            )
        except httpx.HTTPError as error:
            log.warning("a peer does not answer", peer=peer, reason=type(error).__name__)
            return
        told = self._cipher.decrypt(response.content) if response.is_success else None
        if told is None:
            log.warning("a peer has another CONSOLE_SECRET_KEY, or is none", peer=peer, status=response.status_code)
            return
        self._ended.add(told)
