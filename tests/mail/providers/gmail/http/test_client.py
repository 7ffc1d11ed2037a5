"""The HTTP client that calls Gmail for all users."""

import asyncio

import httpx
import pytest
from prometheus_client import CollectorRegistry

from services.kit.observe.http_calls import CallObserver
from services.kit.observe.setup import Telemetry
from services.mail.providers.gmail.http.client import create_gmail_client, name_call

ANSWER = b"HTTP/1.1 200 OK\r\nSet-Cookie: NID=ada; Path=/\r\nContent-Length: 0\r\n\r\n"


class TestClient:
    async def test_keeps_no_state_of_one_users_answer_for_anothers_call(self) -> None:
        requests: list[bytes] = []
        observer = CallObserver(Telemetry(CollectorRegistry()))

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            for _ in range(2):
                requests.append(await reader.readuntil(b"\r\n\r\n"))
                writer.write(ANSWER)
            writer.close()

        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            async with create_gmail_client(observer=observer) as client:
                for token in ("ada's", "bob's"):
                    got = await client.get(f"http://127.0.0.1:{port}/", headers={"Authorization": f"Bearer {token}"})
                    assert got.cookies["NID"] == "ada"
        assert [b"bearer" in request.lower() and b"cookie" in request.lower() for request in requests] == [False, False]


class TestNamesOfCalls:
    @pytest.mark.parametrize(
        ("path", "name"),
        [
            ("/gmail/v1/users/me/profile", "gmail.getProfile"),
            ("/gmail/v1/users/me/messages?pageToken=x", "gmail.messages.list"),
            ("/gmail/v1/users/me/messages/18c?format=raw", "gmail.messages.get"),
            ("/gmail/v1/users/me/messages/18c/attachments/ANG", "gmail.messages.attachments.get"),
            ("/gmail/v1/users/me/threads/18c", "gmail.threads.get"),
            ("/gmail/v1/users/me/history?startHistoryId=1", "gmail.history.list"),
            ("/gmail/v1/users/me/drafts", "gmail.other"),
            ("/batch/gmail/v1", "gmail.batch"),
            ("/batch", "gmail.batch"),
        ],
    )
    def test_are_those_of_the_reference(self, path: str, name: str) -> None:
        assert name_call(httpx.URL(f"https://gmail.googleapis.com{path}")) == name
