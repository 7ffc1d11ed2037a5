"""Shares of whole messages at a time, for what they take of the process's memory."""

import asyncio
from collections import Counter
from typing import cast, override
from uuid import UUID, uuid4

import pytest
from mailroom.mail.v1 import mail_pb2

from services.kit.errors import AppError, Kind
from services.kit.rpc.server import Context
from services.mail.ids import PublicId, PublicIds
from services.mail.read_model import MessageDetail
from services.mail.reading.messages import Messages
from services.mail.rpc.messages import MessageServicer

PER_USER, OF_ALL, WAITING = 3, 8, 100
NO_CONTEXT = cast("Context", None)


class HeldMessages(Messages):
    """Messages whose reads end when a test lets them."""

    def __init__(self) -> None:
        self.running: Counter[UUID] = Counter()
        self.release = asyncio.Event()

    @override
    async def get(self, user_id: UUID, message_id: PublicId | None) -> MessageDetail:
        self.running[user_id] += 1
        await self.release.wait()
        self.running[user_id] -= 1
        raise AppError(Kind.NOT_FOUND, "message_not_found", "There is no such message.")


def servicer_of(messages: Messages) -> MessageServicer:
    nothing = None
    ids = PublicIds(bytes(16), plain_until=0)
    return MessageServicer(nothing, messages, nothing, nothing, nothing, ids=ids)  # type: ignore[arg-type]  # is not used


async def reason_of(servicer: MessageServicer, user_id: UUID) -> str:
    try:
        await servicer.GetMessage(mail_pb2.GetMessageRequest(user_id=str(user_id)), NO_CONTEXT)
    except AppError as error:
        return error.reason
    return ""


async def settled() -> None:
    """Let every task run until it waits."""
    for _ in range(20):
        await asyncio.sleep(0)


class TestWholeMessages:
    async def test_are_read_in_shares(self) -> None:
        messages = HeldMessages()
        servicer = servicer_of(messages)
        users = [uuid4() for _ in range(4)]
        reads = [asyncio.create_task(reason_of(servicer, user)) for user in users for _ in range(5)]
        await settled()
        assert [messages.running[user] for user in users] == [PER_USER, PER_USER, 2, 0]
        assert messages.running.total() == OF_ALL
        messages.release.set()
        assert set(await asyncio.gather(*reads)) == {"message_not_found"}

    @pytest.mark.parametrize("extra", [0, 1])
    async def test_are_refused_beyond_those_that_wait(self, extra: int) -> None:
        messages = HeldMessages()
        servicer = servicer_of(messages)
        ada = uuid4()
        reads = [asyncio.create_task(reason_of(servicer, ada)) for _ in range(PER_USER + WAITING + extra)]
        await settled()
        messages.release.set()
        assert Counter(await asyncio.gather(*reads))["too_many_requests"] == extra
