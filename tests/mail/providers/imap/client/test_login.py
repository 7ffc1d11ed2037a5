"""Sign-in: both mechanisms, their failures, what is known afterwards, and that tokens stay secret."""

import base64
import logging

import pytest
import structlog

from services.mail.providers.imap.client.errors import (
    ConnectionLostError,
    LoginRefusedError,
    NoMechanismError,
    UnsafeArgumentError,
)
from services.mail.providers.imap.client.frames import Patience
from services.mail.providers.imap.client.login import (
    Credentials,
    enable,
    introduce,
    learn_namespaces,
    log_in,
    log_out,
)
from tests.support.imap.scripted_server import CUT, SILENCE, Step, conversation, hears

TOKEN = "y0_secret-token"
CREDENTIALS = Credentials(user="ada@example.com", token=TOKEN, host="imap.example.com", port=993)
XOAUTH2 = base64.b64encode(b"user=ada@example.com\x01auth=Bearer y0_secret-token\x01\x01")
OAUTHBEARER = base64.b64encode(
    b"n,a=ada@example.com,\x01host=imap.example.com\x01port=993\x01auth=Bearer y0_secret-token\x01\x01"
)
AFTER = b"* CAPABILITY IMAP4rev1 IDLE\r\n"
CHALLENGE = base64.b64encode(b'{"status":"401","schemes":"bearer","scope":"mail"}')


def greeting(capabilities: bytes) -> bytes:
    return b"* OK [CAPABILITY IMAP4rev1 " + capabilities + b"] ready\r\n"


async def log_in_at(*script: Step, offers: bytes, patience: Patience | None = None) -> list[bytes]:
    """Sign in at a server that offers these capabilities; return what it heard."""
    async with conversation(*script, greeting=greeting(offers), patience=patience or Patience(first=5, next=5)) as (
        connection,
        server,
    ):
        await log_in(connection, CREDENTIALS)
        assert connection.capabilities == {"IMAP4REV1", "IDLE"}
        return server.heard


class TestMechanism:
    async def test_xoauth2_takes_two_steps(self) -> None:
        await log_in_at(
            hears(b"AUTHENTICATE XOAUTH2", b"+ \r\n"),
            hears(XOAUTH2, b"TAG OK [CAPABILITY IMAP4rev1 IDLE] done\r\n"),
            offers=b"AUTH=PLAIN AUTH=XOAUTH2 AUTH=OAUTHBEARER",
        )

    async def test_xoauth2_takes_one_step_where_that_is_advertised(self) -> None:
        await log_in_at(
            hears(b"AUTHENTICATE XOAUTH2 " + XOAUTH2, b"TAG OK [CAPABILITY IMAP4rev1 IDLE] done\r\n"),
            offers=b"SASL-IR AUTH=XOAUTH2",
        )

    async def test_oauthbearer_names_user_and_server(self) -> None:
        await log_in_at(
            hears(b"AUTHENTICATE OAUTHBEARER " + OAUTHBEARER, AFTER + b"TAG OK done\r\n"),
            offers=b"SASL-IR AUTH=OAUTHBEARER",
        )

    async def test_of_a_server_that_advertises_none_is_xoauth2(self) -> None:
        await log_in_at(
            hears(b"AUTHENTICATE XOAUTH2", b"+\r\n"), hears(XOAUTH2, AFTER + b"TAG OK done\r\n"), offers=b"XLIST"
        )

    async def test_is_missing_where_only_passwords_are_taken(self) -> None:
        with pytest.raises(NoMechanismError, match="PLAIN"):
            await log_in_at(offers=b"AUTH=PLAIN")


class TestCapabilities:
    async def test_are_asked_for_again_where_the_sign_in_brings_none(self) -> None:
        heard = await log_in_at(
            hears(b"AUTHENTICATE XOAUTH2", b"+ \r\n"),
            hears(XOAUTH2, b"TAG OK done\r\n"),
            hears(b"CAPABILITY", AFTER + b"TAG OK done\r\n"),
            offers=b"AUTH=XOAUTH2 QRESYNC",
        )
        assert heard[-1] == b"CAPABILITY"


class TestRefusal:
    @pytest.mark.parametrize("answer", ["AUTHENTICATIONFAILED] AUTHENTICATE invalid credentials or IMAP is disabled"])
    async def test_comes_at_once(self, answer: str) -> None:
        with pytest.raises(LoginRefusedError) as raised:
            await log_in_at(
                hears(b"AUTHENTICATE XOAUTH2", b"+ \r\n"),
                hears(XOAUTH2, b"TAG NO [" + answer.encode() + b"\r\n"),
                offers=b"AUTH=XOAUTH2",
            )
        assert raised.value.code == "AUTHENTICATIONFAILED"

    async def test_is_taken_from_a_server_that_goes_on_asking(self) -> None:
        asks = [hears(line, b"+ \r\n") for line in (b"AUTHENTICATE XOAUTH2", XOAUTH2, b"", b"", b"", b"*")]
        async with conversation(*asks, greeting=greeting(b"AUTH=XOAUTH2")) as (connection, server):
            with pytest.raises(ConnectionLostError):
                await log_in(connection, CREDENTIALS)
            await server.ended.wait()
        assert server.heard.count(b"*") == 1

    @pytest.mark.parametrize(
        ("mechanism", "initial", "surrender"), [(b"XOAUTH2", XOAUTH2, b""), (b"OAUTHBEARER", OAUTHBEARER, b"AQ==")]
    )
    @pytest.mark.parametrize("one_step", [True, False])
    async def test_follows_a_challenge_that_is_answered(
        self, mechanism: bytes, initial: bytes, surrender: bytes, one_step: bool
    ) -> None:
        challenged = b"+ " + CHALLENGE + b"\r\n"
        script = [hears(surrender, b"TAG NO [AUTHENTICATIONFAILED] no\r\n")]
        if one_step:
            script = [hears(b"AUTHENTICATE " + mechanism + b" " + initial, challenged), *script]
        else:
            script = [hears(b"AUTHENTICATE " + mechanism, b"+ \r\n"), hears(initial, challenged), *script]
        with pytest.raises(LoginRefusedError):
            await log_in_at(*script, offers=b"SASL-IR " * one_step + b"AUTH=" + mechanism)

    async def test_ends_a_server_that_goes_on_asking(self) -> None:
        asks = b"+ " + CHALLENGE + b"\r\n"
        with pytest.raises(LoginRefusedError):
            await log_in_at(
                hears(b"AUTHENTICATE XOAUTH2 " + XOAUTH2, asks),
                *[hears(b"", asks)] * 3,
                hears(b"*", b"TAG BAD cancelled\r\n"),
                offers=b"SASL-IR AUTH=XOAUTH2",
            )


class TestToken:
    @pytest.mark.parametrize("echo", [TOKEN.encode(), XOAUTH2, b"x" * 290 + TOKEN.encode()])
    @pytest.mark.parametrize("answer", [b"TAG NO [ALERT] %s\r\n", b"* BYE %s\r\n", b"TAG BAD [ALERT] %s\r\n"])
    async def test_is_in_no_error_and_no_log(
        self, echo: bytes, answer: bytes, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        with (
            structlog.testing.capture_logs() as logs,
            pytest.raises((LoginRefusedError, ConnectionLostError)) as raised,
        ):
            await log_in_at(hears(b"AUTHENTICATE XOAUTH2 " + XOAUTH2, answer % echo), offers=b"SASL-IR AUTH=XOAUTH2")
        assert raised.value.__cause__ is None
        assert "y0_s" not in str(raised.value)
        assert XOAUTH2.decode()[:40] not in str(raised.value)
        assert "y0_s" not in f"{logs} {caplog.text} {CREDENTIALS!r} {CREDENTIALS}"

    @pytest.mark.parametrize(("user", "token"), [("ada\x01auth=x", "t"), ("ada", "t\x01"), ("ada", "a b"), ("", "t")])
    async def test_and_user_are_refused_with_control_characters(self, user: str, token: str) -> None:
        async with conversation() as (connection, server):
            with pytest.raises(UnsafeArgumentError):
                await log_in(connection, Credentials(user=user, token=token, host="h", port=1))
            assert server.heard == []


class TestIntroduce:
    async def test_names_the_client_where_that_is_advertised(self) -> None:
        script = [hears(b'ID ("name" "mailroom")', b"* ID NIL\r\nTAG OK done\r\n")]
        async with conversation(*script, greeting=greeting(b"ID")) as (connection, server):
            await introduce(connection, {"name": "mailroom"})
            assert len(server.heard) == 1

    async def test_ignores_a_refusal(self) -> None:
        async with conversation(hears(None, b"TAG BAD no\r\n"), greeting=greeting(b"ID")) as (connection, _):
            await introduce(connection, {"name": "mailroom"})
            assert connection.is_open

    async def test_says_nothing_elsewhere(self) -> None:
        async with conversation() as (connection, server):
            await introduce(connection, {"name": "mailroom"})
            assert server.heard == []


class TestEnable:
    async def test_counts_what_the_server_confirms(self) -> None:
        script = [hears(b"ENABLE QRESYNC CONDSTORE", b"* ENABLED CONDSTORE\r\nTAG OK done\r\n")]
        async with conversation(*script, greeting=greeting(b"ENABLE QRESYNC CONDSTORE")) as (connection, _):
            await enable(connection, "QRESYNC", "CONDSTORE", "UTF8=ACCEPT")
            assert connection.enabled == {"CONDSTORE"}

    @pytest.mark.parametrize("offers", [b"ENABLE", b"QRESYNC"])
    async def test_sends_nothing_that_is_not_advertised(self, offers: bytes) -> None:
        async with conversation(greeting=greeting(offers)) as (connection, server):
            await enable(connection, "QRESYNC")
            assert server.heard == []


class TestNamespaces:
    @pytest.mark.parametrize(
        ("told", "foreign"),
        [
            (b'(("INBOX." ".")) (("user." ".")) (("Shared." ".")("#news." "." "X" ("a")))', b"user. Shared. #news."),
            (b'(("" "/")("#mh/" "/")) NIL (({7}\r\nPublic/ "/"))', b"Public/"),
            # Of a shared namespace without a prefix no name tells.
            (b'(("INBOX." ".")) NIL (("" "."))', b""),
            (b'(("" "/")("all/" "/")) NIL (("all/" "/"))', b""),
            (b"NIL NIL NIL", b""),
            (b"", b""),
            (b'(("" "/")', b""),
        ],
    )
    async def test_tell_which_folders_are_of_others(self, told: bytes, foreign: bytes) -> None:
        script = [hears(b"NAMESPACE", b"* NAMESPACE " + told + b"\r\nTAG OK done\r\n")]
        async with conversation(*script, greeting=greeting(b"NAMESPACE")) as (connection, _):
            await learn_namespaces(connection)
            assert connection.is_open
            for prefix in (b"user.", b"Shared.", b"#news.", b"Public/", b"all/", b"INBOX.", b""):
                assert connection.namespaces.is_foreign(prefix + b"x") is (prefix in foreign.split())

    async def test_within_others_count_by_the_longest_prefix(self) -> None:
        told = b'* NAMESPACE (("user.ada." ".")) (("user." ".")) NIL\r\nTAG OK done\r\n'
        async with conversation(hears(b"NAMESPACE", told), greeting=greeting(b"NAMESPACE")) as (connection, _):
            await learn_namespaces(connection)
            assert not connection.namespaces.is_foreign(b"user.ada.x")
            assert connection.namespaces.is_foreign(b"user.bob.x")

    async def test_are_asked_for_where_they_are_advertised(self) -> None:
        async with conversation() as (connection, server):
            await learn_namespaces(connection)
            assert server.heard == []

    async def test_may_be_refused(self) -> None:
        async with conversation(hears(None, b"TAG BAD no\r\n"), greeting=greeting(b"NAMESPACE")) as (connection, _):
            await learn_namespaces(connection)
            assert connection.is_open


class TestLogOut:
    @pytest.mark.parametrize("answers", [[b"* BYE bye\r\nTAG OK done\r\n"], [b"* BYE bye\r\n", CUT], [CUT], [SILENCE]])
    async def test_ends_the_connection(self, answers: list[object]) -> None:
        patience = Patience(first=0.05, next=0.05)
        async with conversation(hears(b"LOGOUT", *answers), patience=patience) as (connection, server):
            await log_out(connection)
            assert not connection.is_open
            await server.ended.wait()
            await log_out(connection)
