"""Cost of TLS between services: a small unary call over kit's channel to kit's server, both in this process.

Plaintext and mutual TLS in turn, in one run; CPU of both ends together. Prints JSON lines and a table.
"""

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from grpc import aio
from mailroom.auth.v1 import auth_pb2, auth_pb2_grpc

from services.auth.rpc import CALLERS
from services.kit.rpc.client import call, open_channel
from services.kit.rpc.server import serve_rpc
from services.kit.tls.authority import ensure_certificates, identity_in

ROUNDS = 5


@dataclass(frozen=True)
class Cost:
    """Median of the rounds, in milliseconds of CPU; a handshake is a new connection with its first call."""

    transport: str
    per_call: float
    per_handshake: float


class Tokens(auth_pb2_grpc.ProviderTokenServiceServicer):
    """Responds at once."""

    async def GetAccessToken(  # noqa: N802 - the contract's name
        self,
        request: auth_pb2.GetAccessTokenRequest,
        context: aio.ServicerContext[Any, Any],  # noqa: ARG002 - as gRPC calls it
    ) -> auth_pb2.GetAccessTokenResponse:
        """Implements the contract's method."""
        return auth_pb2.GetAccessTokenResponse(access_token=request.account_id)


class Transport:
    """A served method and how to call it, in plaintext or with the certificates in `directory`."""

    def __init__(self, name: str, port: int, directory: Path | None) -> None:
        self.name = name
        self._open = partial(
            open_channel,
            f"127.0.0.1:{port}",
            peer="auth",
            identity=None if directory is None else identity_in(directory, "mail"),
            retried=[],
        )

    async def calls(self, number: int) -> float:
        """Measure CPU milliseconds per call over one connection, without the first calls."""
        async with self._open() as channel:
            await _ask(channel, 50)
            return await _cpu(_ask(channel, number)) / number

    async def handshakes(self, number: int) -> float:
        """Measure CPU milliseconds per connection with one call."""
        return await _cpu(self._connect(number)) / number

    async def _connect(self, number: int) -> None:
        for _ in range(number):
            async with self._open() as channel:
                await _ask(channel, 1)


async def _ask(channel: aio.Channel, number: int) -> None:
    stub = auth_pb2_grpc.ProviderTokenServiceStub(channel)
    request = auth_pb2.GetAccessTokenRequest(account_id="x" * 200)
    for _ in range(number):
        await call(stub.GetAccessToken, request)


async def _cpu(work: Any) -> float:
    before = time.process_time()
    await work
    return (time.process_time() - before) * 1000


@asynccontextmanager
async def served(directory: Path | None) -> AsyncIterator[Transport]:
    """Serve, with certificates if given."""
    identity = None if directory is None else identity_in(directory, "auth")
    register = [partial(auth_pb2_grpc.add_ProviderTokenServiceServicer_to_server, Tokens())]
    async with serve_rpc(host="127.0.0.1", port=0, register=register, callers=CALLERS, identity=identity) as port:
        yield Transport("plaintext" if directory is None else "mutual TLS", port, directory)


async def measure(directory: Path, *, calls: int, handshakes: int) -> list[Cost]:
    """Measure both transports in turn."""
    async with served(None) as plaintext, served(directory) as encrypted:
        measured: dict[str, list[tuple[float, float]]] = {}
        for _ in range(ROUNDS):
            for transport in (plaintext, encrypted):
                costs = await transport.calls(calls), await transport.handshakes(handshakes)
                measured.setdefault(transport.name, []).append(costs)
    return [
        Cost(name, *(round(statistics.median(column), 4) for column in zip(*costs, strict=True)))
        for name, costs in measured.items()
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=3000)
    parser.add_argument("--handshakes", type=int, default=50)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        ensure_certificates(Path(directory), now=datetime.now(UTC))
        costs = asyncio.run(measure(Path(directory), calls=options.calls, handshakes=options.handshakes))
    for cost in costs:
        print(json.dumps(asdict(cost)))
    print(f"\n{'transport':12}{'CPU ms per call':>18}{'per handshake':>16}")
    for cost in costs:
        print(f"{cost.transport:12}{cost.per_call:>18.3f}{cost.per_handshake:>16.2f}")


if __name__ == "__main__":
    main()
