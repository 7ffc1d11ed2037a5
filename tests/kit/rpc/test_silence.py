"""A peer that accepts connections and says nothing: calls end with their deadline."""

import time

import pytest
from mailroom.auth.v1 import auth_pb2, auth_pb2_grpc

from services.kit.errors import AppError, Kind
from services.kit.rpc.client import call, open_channel
from tests.support.silent_server import silent_server


async def test_a_call_of_a_silent_peer_ends_in_time() -> None:
    async with silent_server() as silent:
        address = f"127.0.0.1:{silent.port}"
        retried = [("mailroom.auth.v1.AccountService", "ListAccounts")]
        async with open_channel(address, peer="auth", identity=None, retried=retried) as channel:
            stub = auth_pb2_grpc.AccountServiceStub(channel)
            began = time.monotonic()
            with pytest.raises(AppError) as caught:
                await call(stub.ListAccounts, auth_pb2.ListAccountsRequest(), timeout=0.5)
            assert time.monotonic() - began < 3.0
            assert caught.value.kind in (Kind.TIMEOUT, Kind.UNAVAILABLE)
