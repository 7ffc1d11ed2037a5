"""The client that calls Gmail for all users."""

import asyncio

from services.mail.providers.gmail_http import create_gmail_client

ANSWER = b"HTTP/1.1 200 OK\r\nSet-Cookie: NID=ada; Path=/\r\nContent-Length: 0\r\n\r\n"


class TestClient:
    async def test_carries_nothing_from_one_users_answer_to_another_ones_call(self) -> None:
        requests: list[bytes] = []

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            for _ in range(2):
                requests.append(await reader.readuntil(b"\r\n\r\n"))
                writer.write(ANSWER)
            writer.close()

        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            async with create_gmail_client(connections=1) as client:
                for token in ("ada's", "bob's"):
                    got = await client.get(f"http://127.0.0.1:{port}/", headers={"Authorization": f"Bearer {token}"})
                    assert got.cookies["NID"] == "ada"
        assert [b"bearer" in request.lower() and b"cookie" in request.lower() for request in requests] == [False, False]
