"""Faults of the plan at the IMAP servers."""

import pytest

from tests.support.sandbox.imap_servers import EMAIL, Connection, Servers


class TestPlan:
    async def test_refuses_with_the_rules_words(self, servers: Servers, yandex: Connection) -> None:
        await servers.plan(method="imap.search", kind="error", reason="UNAVAILABLE", message="Backend error", count=1)
        await yandex.select()
        assert (await yandex.run("UID SEARCH ALL"))[-1] == b"NO [UNAVAILABLE] Backend error"
        assert (await yandex.run("UID SEARCH ALL"))[-1].startswith(b"OK")

    async def test_can_be_for_one_user(self, servers: Servers, yandex: Connection) -> None:
        await servers.plan(method="imap.*", kind="reset", user="grace@example.org")
        assert (await yandex.run("NOOP"))[-1].startswith(b"OK")

    async def test_can_be_for_one_folder(self, servers: Servers, yandex: Connection) -> None:
        work = await servers.label("Work")
        await servers.deliver(labels=[work])
        await servers.plan(method="imap.select", kind="error", path="Work")
        assert (await yandex.select("Work"))[-1].startswith(b"NO")
        assert (await yandex.select())[-1].startswith(b"OK")
        await servers.plan(method="imap.fetch", kind="error", path=work)
        assert (await yandex.run("UID FETCH 1:* FLAGS"))[-1].startswith(b"OK")
        await yandex.select("Work")
        assert (await yandex.run("UID FETCH 1:* FLAGS"))[-1].startswith(b"NO")

    async def test_says_bye(self, servers: Servers, yandex: Connection) -> None:
        await servers.plan(method="imap.noop", kind="bye", message="Server shutting down")
        assert await yandex.run("NOOP") == [b"* BYE Server shutting down", b""]

    @pytest.mark.parametrize("kind", ["reset", "lost_response"])
    async def test_drops_the_connection_before_or_after_the_command(
        self, servers: Servers, yandex: Connection, kind: str
    ) -> None:
        await servers.deliver(subject="x")
        await yandex.select()
        await servers.plan(method="imap.store", kind=kind)
        yandex.start("UID STORE 1 +FLAGS (\\Flagged)")
        with pytest.raises((ConnectionError, AssertionError)):
            assert await yandex.reader.read() != b""
        async with servers.connection() as other:
            await servers.control("DELETE", "faults")
            await other.select()
            flags = (await other.run("UID FETCH 1 FLAGS"))[0]
        assert (b"\\Flagged" in flags) is (kind == "lost_response")

    async def test_cuts_the_first_literal(self, servers: Servers, yandex: Connection) -> None:
        for _ in range(3):
            await servers.deliver(subject="x", text="y" * 10_000)
        await yandex.select()
        await servers.plan(method="imap.fetch", kind="cut_literal", count=1)
        yandex.start("UID FETCH 1:3 BODY.PEEK[]")
        data = await yandex.reader.read()
        head, _, rest = data.partition(b"}\r\n")
        announced = int(head.rpartition(b"{")[2])
        assert 0 < len(rest) < announced

    async def test_hides_the_newest_message_from_status(self, servers: Servers, yandex: Connection) -> None:
        for _ in range(2):
            await servers.deliver(subject="x")
        await servers.plan(method="imap.status", kind="stale_status", count=1)
        stale, fresh = [(await yandex.run("STATUS INBOX (MESSAGES UIDNEXT)"))[0] for _ in range(2)]
        assert stale == b"* STATUS INBOX (MESSAGES 1 UIDNEXT 2)"
        assert fresh == b"* STATUS INBOX (MESSAGES 2 UIDNEXT 3)"

    async def test_tells_a_uid_twice(self, servers: Servers, yandex: Connection) -> None:
        await servers.deliver(subject="x")
        await yandex.select()
        await servers.plan(method="imap.fetch", kind="duplicate_uids")
        first, second, _ = await yandex.run("UID FETCH 1:* (FLAGS)")
        assert first == second

    async def test_resets_uidvalidity(self, servers: Servers, yandex: Connection) -> None:
        await servers.deliver(subject="x")
        before = next(line for line in await yandex.select() if b"UIDVALIDITY" in line)
        await servers.plan(method="imap.select", kind="uidvalidity_reset", count=1)
        after = next(line for line in await yandex.select() if b"UIDVALIDITY" in line)
        assert before != after
        assert after == next(line for line in await yandex.select() if b"UIDVALIDITY" in line)

    async def test_lies_about_exists(self, servers: Servers, yandex: Connection) -> None:
        await servers.deliver(subject="x")
        await servers.plan(method="imap.select", kind="lying_exists", count=1)
        assert b"* 8 EXISTS" in await yandex.select()
        assert (await yandex.run("UID SEARCH ALL"))[0] == b"* SEARCH 1"
        assert b"* 1 EXISTS" in await yandex.select()

    async def test_holds_a_command(self, servers: Servers, yandex: Connection) -> None:
        await servers.plan(method="imap.noop", kind="timeout", seconds=0.01)
        yandex.start("NOOP")
        with pytest.raises((ConnectionError, AssertionError)):
            assert await yandex.reader.read() != b""

    async def test_counts_calls(self, servers: Servers, yandex: Connection) -> None:
        await yandex.run("NOOP")
        await yandex.run("SELECT Nowhere")
        calls = await servers.control("GET", "calls")
        assert calls["users"][EMAIL]["imap.noop"] == 1
        assert calls["methods"]["imap.select"]["by_status"] == {"403": 1}

    @pytest.mark.parametrize(
        "rule", [{"method": "oauth.token", "kind": "bye"}, {"method": "imap.fetch", "kind": "html_503"}]
    )
    async def test_refuses_kinds_of_other_protocols(self, servers: Servers, rule: dict[str, object]) -> None:
        answer = await servers.control_api.http.put("/_sandbox/faults", json={"rules": [rule]})
        assert answer.status_code == 400
        assert "does not occur" in answer.text
