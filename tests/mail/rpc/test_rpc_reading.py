"""Search, threads, export and changes over gRPC, assembled as in production."""

from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

from google.protobuf.timestamp_pb2 import Timestamp
from mailroom.mail.v1 import mail_pb2

from services.kit.errors import Kind
from services.kit.rpc.client import call, stream
from tests.mail.rpc.test_rpc import ALL, Client, client, refusal

__all__ = ["client"]

OpenClient = Callable[..., Any]


def ours(c: Client, **fields: Any) -> dict[str, Any]:
    return {"user_id": c.user_id, "mailbox": c.selector, **fields}


def ids(messages: Any) -> list[str]:
    return [message.message_id for message in messages]


async def exported(c: Client, **fields: Any) -> AsyncIterator[mail_pb2.GetMessageResponse]:
    request = mail_pb2.ExportMessagesRequest(**ours(c, **fields))
    async for part in stream(c.messages.ExportMessages, request):
        yield part.message


class TestListMessages:
    async def test_combines_all_filters(self, client: OpenClient) -> None:
        async with client(messages=30) as c:
            await c.sync(**ALL)
            everything = list((await c.list_messages()).messages)
            chosen = everything[3]
            before = Timestamp(seconds=chosen.received_time.seconds + 1)
            found = await c.list_messages(
                thread_id=chosen.thread_id,
                has_attachment=chosen.has_attachments,
                unread=not chosen.is_read,
                query=f"from:{getattr(chosen, 'from').email} smaller:{chosen.size + 1} larger:{chosen.size - 1}",
                after_time=chosen.received_time,
                before_time=before,
            )
            assert ids(found.messages) == [chosen.message_id]
            nothing = await c.list_messages(thread_id=chosen.thread_id, before_time=chosen.received_time)
            assert chosen.message_id not in ids(nothing.messages)

    async def test_refuses_malformed_filters(self, client: OpenClient) -> None:
        async with client() as c:
            assert await refusal(c.list_messages(query="(a")) == (Kind.INVALID, "invalid_query")
            endless = Timestamp(seconds=10**12)
            assert await refusal(c.list_messages(after_time=endless)) == (Kind.INVALID, "invalid_time")


class TestThreads:
    async def test_are_listed_and_shown_with_their_messages(self, client: OpenClient) -> None:
        async with client(messages=20) as c:
            await c.sync(**ALL)
            listed = await call(c.messages.ListThreads, mail_pb2.ListThreadsRequest(**ours(c, page_size=2)))
            assert len(listed.threads) == 2
            assert listed.next_page_token
            wanted = mail_pb2.GetThreadRequest(**ours(c, thread_id=listed.threads[0].thread_id))
            shown = await call(c.messages.GetThread, wanted)
            wanted.ClearField("mailbox")
            assert await call(c.messages.GetThread, wanted) == shown
            wanted.user_id = str(uuid4())
            assert await refusal(call(c.messages.GetThread, wanted)) == (Kind.NOT_FOUND, "thread_not_found")
            assert shown.thread == listed.threads[0]
            members = (await c.list_messages(thread_id=shown.thread.thread_id)).messages
            assert ids(shown.messages) == ids(members)[::-1]

    async def test_that_are_unknown_are_not_found(self, client: OpenClient) -> None:
        async with client() as c:
            unknown = call(c.messages.GetThread, mail_pb2.GetThreadRequest(**ours(c, thread_id="nope")))
            assert await refusal(unknown) == (Kind.NOT_FOUND, "thread_not_found")


class TestExport:
    async def test_yields_the_listed_messages_in_full(self, client: OpenClient) -> None:
        async with client(messages=12) as c:
            await c.sync(**ALL)
            whole = [message async for message in exported(c)]
            assert ids(message.summary for message in whole) == ids((await c.list_messages()).messages)
            assert whole[0] == await c.get_message(message_id=whole[0].summary.message_id)

    async def test_refuses_a_malformed_query(self, client: OpenClient) -> None:
        async with client() as c:
            assert await refusal(anext(exported(c, query="(a"))) == (Kind.INVALID, "invalid_query")


class TestListChanges:
    async def test_shows_what_a_sync_stored(self, client: OpenClient) -> None:
        async with client(messages=3) as c:
            here = await call(c.messages.ListChanges, mail_pb2.ListChangesRequest(**ours(c)))
            assert (list(here.changes), here.has_more) == ([], False)
            await c.sync(**ALL)
            there = await call(c.messages.ListChanges, mail_pb2.ListChangesRequest(**ours(c, since=here.position)))
            assert {change.kind for change in there.changes} == {mail_pb2.CHANGE_KIND_CREATED}
            listed = {message.message_id: message for message in (await c.list_messages()).messages}
            assert {change.message_id: change.message for change in there.changes} == listed

    async def test_refuses_malformed_positions(self, client: OpenClient) -> None:
        async with client() as c:
            asked = call(c.messages.ListChanges, mail_pb2.ListChangesRequest(**ours(c, since="x")))
            assert await refusal(asked) == (Kind.INVALID, "invalid_since")
