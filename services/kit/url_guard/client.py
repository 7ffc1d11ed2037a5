"""Requests to given URLs. A name is resolved for each connection, which goes to an address that was checked.

There is no second resolution between check and connection, so a name server that changes its answer gains nothing. A
connection that is kept open stays with its address; one on which more than an answer came is closed, since the rest
would pass for the answer to the next request.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import override

import h11
import httpcore

from services.kit.tls.authorities import public_authorities
from services.kit.url_guard.addresses import AddressPolicy
from services.kit.url_guard.destination import Destination

# Bytes of an answer that are kept, and read at most.
KEPT_BYTES = 1024
_MOST_BYTES = 64 * 1024
# Bytes that are read at most for an answer as it is sent: with heads before it (1xx), and with the sizes of its chunks.
_MOST_SENT = 4 * _MOST_BYTES
# Servers that close idle connections do so after five seconds or later: a request must not meet that.
_KEEP_OPEN_SECONDS = 4.0

type Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
type LookUp = Callable[[str, int], Sequence[str]]


def _look_up(host: str, port: int) -> Sequence[str]:
    return [str(address[0]) for *_, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


class AddressRefusedError(Exception):
    """An address of the host may not be reached."""


class NoAnswerError(Exception):
    """No answer came; the text is a word for the reason: `timeout`, `connection`, `tls`, `protocol`, `name`."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The reply to a request; `body` has its first bytes."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class _TooLongError(httpcore.RemoteProtocolError):
    """An answer does not end within its bound."""


class _BoundedStream(httpcore.AsyncNetworkStream):
    """A connection from which a bounded number of bytes is read after each write: no receiver costs more."""

    def __init__(self, inner: httpcore.AsyncNetworkStream) -> None:
        self._inner = inner
        self._left = _MOST_SENT
        # What came after the last write.
        self._answer = bytearray()
        self._has_more = False

    def end_answer(self) -> None:
        """Note whether more came than one answer; such a connection takes no further request."""
        self._has_more = not _is_one_answer(bytes(self._answer)) or _has_more(self.get_extra_info("ssl_object"))
        self._answer.clear()

    @override
    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._left <= 0:
            raise _TooLongError
        found = await self._inner.read(max_bytes, timeout)
        self._left -= len(found)
        self._answer += found
        return found

    @override
    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._left = _MOST_SENT
        self._answer.clear()
        await self._inner.write(buffer, timeout)

    @override
    async def aclose(self) -> None:
        await self._inner.aclose()

    @override
    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        return _BoundedStream(await self._inner.start_tls(ssl_context, server_hostname, timeout))

    @override
    def get_extra_info(self, info: str) -> object:
        # httpcore closes an idle connection that is readable.
        return (info == "is_readable" and self._has_more) or self._inner.get_extra_info(info)


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """The network of the client: connections go to checked addresses, and to no host with one that is refused."""

    def __init__(self, resolve: Resolve, policy: AddressPolicy, *, inner: httpcore.AsyncNetworkBackend) -> None:
        self._resolve = resolve
        self._policy = policy
        self._inner = inner

    @override
    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        addresses = await self._addresses(host, port)
        failure: Exception = httpcore.ConnectError("the name has no address")
        for address in addresses:
            try:
                return _BoundedStream(
                    await self._inner.connect_tcp(
                        address, port, timeout=timeout, local_address=local_address, socket_options=socket_options
                    )
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def _addresses(self, host: str, port: int) -> Sequence[str]:
        addresses = await self._resolve(host, port)
        if not all(self._policy.permits(ip_address(address)) for address in addresses):
            raise AddressRefusedError
        return addresses

    @override
    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        raise AddressRefusedError

    @override
    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)


class GuardedClient:
    """The client for given URLs. It follows no redirect, uses no proxy, and keeps nothing between requests."""

    def __init__(self, pool: httpcore.AsyncConnectionPool) -> None:
        self._pool = pool

    async def post(self, to: Destination, *, body: bytes, headers: Mapping[str, str], timeout: float) -> Reply:
        """Send a POST and return the reply, all within `timeout` seconds.

        Raises AddressRefusedError, NoAnswerError.
        """
        url = httpcore.URL(scheme=to.scheme, host=to.host, port=to.port, target=to.target)
        given = {"host": to.authority, "accept-encoding": "identity", "content-length": str(len(body)), **headers}
        try:
            async with (
                asyncio.timeout(timeout),
                self._pool.stream("POST", url, headers=list(given.items()), content=body) as response,
            ):
                kept = await _read(response)
                stream: _BoundedStream = response.extensions["network_stream"]
                stream.end_answer()
                return Reply(response.status, _headers(response), kept)
        except (TimeoutError, httpcore.TimeoutException) as error:
            raise NoAnswerError("timeout") from error
        except (httpcore.NetworkError, OSError) as error:
            raise NoAnswerError(_reason(error)) from error
        except (httpcore.ProtocolError, httpcore.UnsupportedProtocol) as error:
            raise NoAnswerError("protocol") from error


@asynccontextmanager
async def open_client(
    policy: AddressPolicy,
    *,
    connections: int,
    resolve: Resolve | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[GuardedClient]:
    """Open a client with up to so many connections; names are resolved as many at a time.

    Name servers of one receiver that never answer must not hold up the names of others.
    """
    executor = ThreadPoolExecutor(max_workers=connections, thread_name_prefix="resolve")
    backend = GuardedBackend(resolve or SharedLookups(executor), policy, inner=httpcore.AnyIOBackend())
    try:
        async with httpcore.AsyncConnectionPool(
            ssl_context=tls or public_authorities(trust_env=True),
            max_connections=None,
            max_keepalive_connections=connections,
            keepalive_expiry=_KEEP_OPEN_SECONDS,
            network_backend=backend,
        ) as pool:
            yield GuardedClient(pool)
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


class SharedLookups:
    """Look-ups of names in threads, of each host one at a time, for all that ask meanwhile.

    No look-up can be ended: a host whose name servers never answer holds one thread, however often it is asked for.
    """

    def __init__(self, executor: Executor, *, look_up: LookUp = _look_up) -> None:
        self._executor = executor
        self._look_up = look_up
        self._running: dict[tuple[str, int], asyncio.Future[Sequence[str]]] = {}

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """Return the addresses of a host. Raises OSError, UnicodeError."""
        running = self._running.get((host, port))
        if running is None:
            running = asyncio.get_running_loop().run_in_executor(self._executor, self._look_up, host, port)
            self._running[host, port] = running
            running.add_done_callback(lambda done: self._end((host, port), done))
        # A caller that gives up ends nothing for the others.
        return await asyncio.shield(running)

    def _end(self, key: tuple[str, int], done: asyncio.Future[Sequence[str]]) -> None:
        del self._running[key]
        if not done.cancelled():
            # All callers may have given up, and asyncio would log an exception that no one has taken.
            done.exception()


async def _read(response: httpcore.Response) -> bytes:
    """Return the first bytes of the body; beyond a bound the rest is not read, and the connection is closed."""
    body = bytearray()
    with suppress(_TooLongError):
        async for chunk in response.aiter_stream():
            body += chunk
            if len(body) > _MOST_BYTES:
                break
    return bytes(body[:KEPT_BYTES])


def _is_one_answer(answer: bytes) -> bool:
    """Return whether these bytes are one whole answer to a POST, and nothing else."""
    parser = h11.Connection(h11.CLIENT)
    parser.send(h11.Request(method="POST", target="/", headers=[("host", "-"), ("content-length", "0")]))
    parser.send(h11.EndOfMessage())
    parser.receive_data(answer)
    with suppress(h11.RemoteProtocolError):
        while (event := parser.next_event()) is not h11.NEED_DATA and event is not h11.PAUSED:
            if isinstance(event, h11.EndOfMessage):
                return parser.trailing_data == (b"", False)
    return False


def _has_more(tls: object) -> bool:
    """Return whether TLS has received bytes, or its end, that were not read; the socket shows nothing of these."""
    if not isinstance(tls, ssl.SSLObject):
        return False
    try:
        tls.read(1)
    except ssl.SSLWantReadError:
        return False
    except ssl.SSLError:
        return True
    return True


def _headers(response: httpcore.Response) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in response.headers:
        with suppress(UnicodeDecodeError):
            headers.setdefault(name.decode("ascii").lower(), value.decode("latin-1"))
    return headers


def _reason(error: Exception) -> str:
    chain: BaseException | None = error
    while chain is not None:
        if isinstance(chain, ssl.SSLError):
            return "tls"
        if isinstance(chain, socket.gaierror | UnicodeError):
            return "name"
        chain = chain.__cause__ or chain.__context__
    return "connection"
