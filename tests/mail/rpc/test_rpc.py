"""The mail service over gRPC on loopback, assembled as in production."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import aio
from mailroom.mail.v1 import mail_pb2, mail_pb2_grpc

from deploy.local.ports import Ports
from services.kit.errors import AppError, Kind
from services.kit.rpc.client import call
from services.mail import app
from services.mail.ids import PublicIds
from services.mail.settings import MailSettings
from tests.mail.conftest import OpenStage
from tests.support.mail.auth_server import served_auth
from tests.support.mail.stage import Stage

ALL = {"all": True}
# Milliseconds until a client that connected before the server retries.
_SOON_AGAIN = [("grpc.initial_reconnect_backoff_ms", 20), ("grpc.max_reconnect_backoff_ms", 20)]

# Ids under the key of another database, and with plain numbers.
_FOREIGN = PublicIds(bytes(16), plain_until=0)
_PLAIN = PublicIds(bytes(16), plain_until=2**63)


@dataclass(frozen=True)
class Listed:
    """A decoded page of a list."""

    messages: list[mail_pb2.MessageSummary]
    next_page_token: str


def summary_of(shown: dict[str, Any]) -> mail_pb2.MessageSummary:
    """Convert a message of a list's JSON to protobuf; fail on a missing or an additional field."""
    received = Timestamp()
    received.FromJsonString(shown.pop("received_at"))
    assert shown.pop("from_email") == (shown["from"] and shown["from"]["email"])
    assert shown.pop("mailbox_id") == shown["account_id"]
    return mail_pb2.MessageSummary(message_id=shown.pop("id"), received_time=received, **shown)


@dataclass
class Client:
    """A client of a served mail service. `s` is the stage with the mailbox and the worker."""

    s: Stage
    channel: aio.Channel
    mailboxes: mail_pb2_grpc.MailboxServiceStub = field(init=False)
    messages: mail_pb2_grpc.MessageServiceStub = field(init=False)
    syncs: mail_pb2_grpc.SyncServiceStub = field(init=False)

    def __post_init__(self) -> None:
        self.mailboxes = mail_pb2_grpc.MailboxServiceStub(self.channel)
        self.messages = mail_pb2_grpc.MessageServiceStub(self.channel)
        self.syncs = mail_pb2_grpc.SyncServiceStub(self.channel)

    @property
    def user_id(self) -> str:
        """The user's id."""
        return str(self.s.user_id)

    @property
    def selector(self) -> mail_pb2.MailboxSelector:
        """A selector of the user's mailbox by address, spelt with other letter cases."""
        return mail_pb2.MailboxSelector(email=self.s.account.email.upper())

    async def list_mailboxes(self, **fields: Any) -> mail_pb2.ListMailboxesResponse:
        """Call MailboxService.ListMailboxes; `fields` override the defaults."""
        request = mail_pb2.ListMailboxesRequest(**{"user_id": self.user_id, **fields})
        return await call(self.mailboxes.ListMailboxes, request)

    async def refresh_mailboxes(self, **fields: Any) -> mail_pb2.RefreshMailboxesResponse:
        """MailboxService.RefreshMailboxes of the user, unless the fields say otherwise."""
        request = mail_pb2.RefreshMailboxesRequest(**{"user_id": self.user_id, **fields})
        return await call(self.mailboxes.RefreshMailboxes, request)

    async def list_messages(self, **fields: Any) -> Listed:
        """Call MessageService.ListMessages."""
        page = await call(self.messages.ListMessages, mail_pb2.ListMessagesRequest(**self._ours(fields)))
        return Listed([summary_of(fields) for fields in json.loads(page.messages_json)], page.next_page_token)

    async def list_labels(self, **fields: Any) -> mail_pb2.ListLabelsResponse:
        """Call MessageService.ListLabels."""
        return await call(self.messages.ListLabels, mail_pb2.ListLabelsRequest(**self._ours(fields)))

    async def get_message(self, **fields: Any) -> mail_pb2.GetMessageResponse:
        """Call MessageService.GetMessage."""
        return await call(self.messages.GetMessage, mail_pb2.GetMessageRequest(**{"user_id": self.user_id, **fields}))

    async def start_sync(self, **fields: Any) -> mail_pb2.Sync:
        """Call SyncService.StartSync."""
        return (await call(self.syncs.StartSync, mail_pb2.StartSyncRequest(**self._ours(fields)))).sync

    async def get_sync(self, **fields: Any) -> mail_pb2.Sync:
        """Call SyncService.GetSync."""
        return (await call(self.syncs.GetSync, mail_pb2.GetSyncRequest(**{"user_id": self.user_id, **fields}))).sync

    async def sync(self, **fields: Any) -> mail_pb2.Sync:
        """Start a sync and wait for its end."""
        started = await self.start_sync(**fields)
        return await self.get_sync(sync_id=started.sync_id, wait_seconds=9)

    def _ours(self, fields: dict[str, Any]) -> dict[str, Any]:
        return {"user_id": self.user_id, "mailbox": self.selector, **fields}


type OpenClient = Callable[..., Any]


@pytest.fixture
def client(stage: OpenStage, ports: Ports) -> OpenClient:
    """Return a function that opens a stage with a served mail service: `async with client(messages=5) as c`."""

    @asynccontextmanager
    async def opened(**options: Any) -> AsyncIterator[Client]:
        async with stage(**options) as s, served_auth(s.auth) as auth_address:
            port = ports.free()
            stop = asyncio.Event()
            settings = _settings(s, port=port, auth_address=auth_address)
            service = asyncio.create_task(app.serve(settings, stop))
            try:
                async with aio.insecure_channel(f"127.0.0.1:{port}", options=_SOON_AGAIN) as channel:
                    await asyncio.wait_for(channel.channel_ready(), 30)
                    yield Client(s, channel)
            finally:
                stop.set()
                await service

    return opened


def _settings(s: Stage, *, port: int, auth_address: str) -> MailSettings:
    database = s.servers.mail_database
    return MailSettings.model_validate(
        {
            "mail_postgres_host": database.host,
            "mail_postgres_port": database.port,
            "mail_postgres_user": database.user,
            "mail_postgres_password": database.password,
            "mail_postgres_db": database.database,
            "mailroom_insecure_grpc": True,
            "auth_address": auth_address,
            "mail_port": port,
            "mail_admin_port": 0,
            # tests/mail/rpc/test_principals.py is about the proof.
            "mail_require_principals": False,
        }
    )


async def refusal(asked: Awaitable[object]) -> tuple[Kind, str]:
    """Await the call's refusal; return its kind and reason."""
    with pytest.raises(AppError) as refused:
        await asked
    return refused.value.kind, refused.value.reason


class TestListMailboxes:
    async def test_shows_the_accounts_of_auth(self, client: OpenClient) -> None:
        async with client(messages=4) as c:
            [before] = (await c.list_mailboxes()).mailboxes
            assert before.account_id == str(c.s.account.account_id)
            assert (before.email, before.provider) == (c.s.account.email, "google")
            assert before.status == mail_pb2.MAILBOX_STATUS_ACTIVE
            assert not before.HasField("last_synced_time")
            await c.sync(**ALL)
            [after] = (await c.list_mailboxes()).mailboxes
            assert after.HasField("last_synced_time")
            assert after.message_count == 4

    async def test_shows_an_unknown_user_no_mailboxes(self, client: OpenClient) -> None:
        async with client() as c:
            assert list((await c.list_mailboxes(user_id=str(uuid4()))).mailboxes) == []

    async def test_shows_mailboxes_that_require_reauth(self, client: OpenClient) -> None:
        async with client(messages=1) as c:
            await c.sync(**ALL)
            await c.s.at_provider.control("POST", "revoke")
            failed = await c.sync(**ALL)
            assert (failed.state, failed.error) == (mail_pb2.SYNC_STATE_FAILED, "reauth_required")
            [mailbox] = (await c.list_mailboxes()).mailboxes
            assert mailbox.status == mail_pb2.MAILBOX_STATUS_REAUTH_REQUIRED
            assert await refusal(c.start_sync(**ALL)) == (Kind.CONFLICT, "reauth_required")

    async def test_shows_which_are_denied_access_and_why(self, client: OpenClient) -> None:
        async with client(messages=1) as c:
            done = await c.sync(**ALL)
            assert done.access_denied_reason == ""
            account = c.s.account
            await c.s.auth.report_account(account.account_id, account.user_id, access_denied_reason="admin_policy")
            [mailbox] = (await c.list_mailboxes()).mailboxes
            assert (mailbox.status, mailbox.access_denied_reason) == (mail_pb2.MAILBOX_STATUS_ACTIVE, "admin_policy")
            shown = await c.get_sync(sync_id=done.sync_id)
            assert shown.access_denied_reason == "admin_policy"

    async def test_refuses_malformed_user_ids(self, client: OpenClient) -> None:
        async with client() as c:
            assert await refusal(c.list_mailboxes(user_id="ada")) == (Kind.INVALID, "invalid_user_id")


class TestRefreshMailboxes:
    async def test_wakes_the_mailboxes_whose_user_has_signed_in_again(self, client: OpenClient) -> None:
        async with client(messages=1) as c:
            await c.sync(**ALL)
            await c.s.at_provider.control("POST", "revoke")
            assert (await c.sync(**ALL)).error == "reauth_required"
            new = await c.s.at_provider.deliver()
            await c.s.auth.connect(c.s.account.email)
            await c.refresh_mailboxes()
            await c.s.until_stored(new)

    async def test_tells_whether_a_linked_mailbox_is_being_disconnected(self, client: OpenClient) -> None:
        async with client() as c:
            account_id = str(c.s.account.account_id)
            await c.sync(**ALL)
            assert not (await c.refresh_mailboxes(account_id=account_id)).disconnected
            request = mail_pb2.DisconnectMailboxRequest(user_id=c.user_id, account_id=account_id)
            await call(c.mailboxes.DisconnectMailbox, request)
            assert (await c.refresh_mailboxes(account_id=account_id)).disconnected
            assert not (await c.refresh_mailboxes()).disconnected

    async def test_refuses_malformed_user_ids(self, client: OpenClient) -> None:
        async with client() as c:
            assert await refusal(c.refresh_mailboxes(user_id="ada")) == (Kind.INVALID, "invalid_user_id")


class TestListMessages:
    async def test_shows_all_pages_newest_first(self, client: OpenClient) -> None:
        async with client(messages=10) as c:
            await c.sync(**ALL)
            found: list[mail_pb2.MessageSummary] = []
            token = ""
            while True:
                page = await c.list_messages(page_size=3, page_token=token)
                assert len(page.messages) <= 3
                found += page.messages
                token = page.next_page_token
                if not token:
                    break
            assert [message.external_id for message in found] == list(await c.s.at_provider.truth())
            times = [message.received_time.ToNanoseconds() for message in found]
            assert times == sorted(times, reverse=True)

    async def test_shows_all_fields_of_a_summary(self, client: OpenClient) -> None:
        async with client() as c:
            id_ = await c.s.at_provider.deliver(cc="Cy <cy@example.net>", internal_date=1_700_000_000_123)
            await c.sync(**ALL)
            [message] = (await c.list_messages()).messages
            assert (message.external_id, message.thread_id) == (id_, id_)
            assert message.account_id == str(c.s.account.account_id)
            assert (getattr(message, "from").name, getattr(message, "from").email) == ("Bob", "bob@example.net")
            assert [address.email for address in message.to] == [c.s.account.email]
            assert [(address.name, address.email) for address in message.cc] == [("Cy", "cy@example.net")]
            assert (message.subject, message.snippet) == ("Hello", "Hi")
            assert message.received_time.ToMilliseconds() == 1_700_000_000_123
            assert set(message.labels) == {"INBOX", "UNREAD"}
            assert not message.is_read
            assert not message.has_attachments
            assert message.size > 0

    async def test_shows_absent_and_empty_subjects_differently(self, client: OpenClient) -> None:
        async with client() as c:
            await c.s.at_provider.deliver(raw="WC1Bbnk6IDENCg0KSGkNCg==")
            await c.s.at_provider.deliver(raw="U3ViamVjdDogDQoNCkhpDQo=")
            await c.sync(**ALL)
            messages = (await c.list_messages()).messages
            assert sorted((message.HasField("subject"), message.subject) for message in messages) == [
                (False, ""),
                (True, ""),
            ]

    async def test_filters(self, client: OpenClient) -> None:
        async with client(messages=20) as c:
            label = await c.s.at_provider.create_label("Später")
            chosen = (await c.s.at_provider.visible())[3]
            await c.s.at_provider.relabel(chosen, add=(label,))
            await c.sync(**ALL)
            truth = await c.s.at_provider.truth()
            for name in (label, "SPÄTER", "später"):
                assert [message.external_id for message in (await c.list_messages(label=name)).messages] == [chosen]
            assert list((await c.list_messages(label="no such label")).messages) == []
            for unread in (True, False):
                page = await c.list_messages(unread=unread)
                assert [message.external_id for message in page.messages] == [
                    id_ for id_, labels in truth.items() if ("UNREAD" in labels) is unread
                ]

    async def test_refuses_bad_requests(self, client: OpenClient) -> None:
        async with client(messages=3) as c:
            await c.sync(**ALL)
            token = (await c.list_messages(page_size=1)).next_page_token
            for fields, expected in (
                ({"user_id": "ada"}, (Kind.INVALID, "invalid_user_id")),
                ({"mailbox": None}, (Kind.INVALID, "mailbox_required")),
                ({"mailbox": {"account_id": "x"}}, (Kind.INVALID, "invalid_account_id")),
                ({"mailbox": {"account_id": str(uuid4())}}, (Kind.NOT_FOUND, "mailbox_not_found")),
                ({"mailbox": {"email": ""}}, (Kind.NOT_FOUND, "mailbox_not_found")),
                ({"mailbox": {"email": "nobody@example.com"}}, (Kind.NOT_FOUND, "mailbox_not_found")),
                ({"user_id": str(uuid4())}, (Kind.NOT_FOUND, "mailbox_not_found")),
                ({"page_size": -1}, (Kind.INVALID, "invalid_page_size")),
                ({"page_size": 201}, (Kind.INVALID, "invalid_page_size")),
                ({"page_token": "x"}, (Kind.INVALID, "invalid_page_token")),
                ({"page_token": token, "unread": True}, (Kind.INVALID, "invalid_page_token")),
            ):
                assert await refusal(c.list_messages(**fields)) == expected, fields


class TestGetMessage:
    async def test_shows_the_whole_message(self, client: OpenClient) -> None:
        async with client() as c:
            await c.s.at_provider.deliver(text="Hi", html="<p>Hi", headers=[["X-A", "1"], ["X-A", "2"]])
            await c.sync(**ALL)
            [summary] = (await c.list_messages()).messages
            found = await c.get_message(message_id=summary.message_id)
            assert found.summary == summary
            assert [header.value for header in found.headers if header.name == "X-A"] == ["1", "2"]
            assert found.text.strip() == "Hi"
            assert "<p>Hi" in found.html

    async def test_finds_no_message_of_another_user(self, client: OpenClient) -> None:
        async with client(messages=1) as c:
            await c.sync(**ALL)
            [summary] = (await c.list_messages()).messages
            missing = (Kind.NOT_FOUND, "message_not_found")
            assert await refusal(c.get_message(message_id=summary.message_id, user_id=str(uuid4()))) == missing
            foreign = (_FOREIGN.encode(1, 1), _PLAIN.encode(1, 1), _PLAIN.encode(2**63 - 1, 2**63 - 1))
            for message_id in ("", "x", *foreign, "Ж"):
                assert await refusal(c.get_message(message_id=message_id)) == missing


class TestListLabels:
    async def test_shows_labels_by_name(self, client: OpenClient) -> None:
        async with client(messages=1) as c:
            label = await c.s.at_provider.create_label("Invoices")
            await c.sync(**ALL)
            labels = {found.label_id: found for found in (await c.list_labels()).labels}
            assert (labels[label].name, labels[label].type) == ("Invoices", mail_pb2.LABEL_TYPE_USER)
            assert labels["INBOX"].type == mail_pb2.LABEL_TYPE_SYSTEM

    async def test_refuses_bad_requests(self, client: OpenClient) -> None:
        async with client() as c:
            assert await refusal(c.list_labels(mailbox=None)) == (Kind.INVALID, "mailbox_required")
            missing = mail_pb2.MailboxSelector(email="nobody@example.com")
            assert await refusal(c.list_labels(mailbox=missing)) == (Kind.NOT_FOUND, "mailbox_not_found")


class TestSyncs:
    async def test_run_from_queued_to_completed(self, client: OpenClient) -> None:
        async with client(messages=12, workers=0) as c:
            started = await c.start_sync(newest_count=5)
            assert started.state == mail_pb2.SYNC_STATE_QUEUED
            assert (started.newest_count, started.email) == (5, c.s.account.email)
            assert not started.HasField("end_time")
            async with c.s.another_worker():
                ended = await c.get_sync(sync_id=started.sync_id, wait_seconds=9)
            assert ended.state == mail_pb2.SYNC_STATE_COMPLETED
            assert (ended.listed_count, ended.stored_count, ended.pending_count) == (5, 5, 0)
            assert ended.HasField("end_time")
            assert not ended.HasField("eta_seconds")
            assert ended.units_spent > 0

    async def test_of_all_messages_have_no_count(self, client: OpenClient) -> None:
        async with client(workers=0) as c:
            assert not (await c.start_sync(**ALL)).HasField("newest_count")

    async def test_show_dead_letters(self, client: OpenClient) -> None:
        async with client(messages=3) as c:
            poison = (await c.s.at_provider.visible())[0]
            await c.s.at_provider.fail(
                {"method": "gmail.messages.get", "path": poison, "kind": "error", "status": 400, "reason": "badRequest"}
            )
            ended = await c.sync(**ALL)
            assert ended.state == mail_pb2.SYNC_STATE_COMPLETED
            assert ended.dead_letter_count == 1
            [letter] = ended.dead_letters
            assert (letter.external_id, letter.reason, letter.attempts) == (poison, "rejected_by_provider", 3)

    async def test_answer_at_once_unless_wait_seconds_is_given(self, client: OpenClient) -> None:
        async with client(workers=0) as c:
            started = await c.start_sync(newest_count=5)
            for wait_seconds in (0, -5, 1):
                found = await c.get_sync(sync_id=started.sync_id, wait_seconds=wait_seconds)
                assert found.state == mail_pb2.SYNC_STATE_QUEUED

    async def test_refuse_bad_requests(self, client: OpenClient) -> None:
        async with client() as c:
            for count in (0, -1, 1_000_001, 2**31 - 1):
                assert await refusal(c.start_sync(newest_count=count)) == (Kind.INVALID, "invalid_count")
            assert await refusal(c.start_sync()) == (Kind.INVALID, "invalid_count")
            assert await refusal(c.start_sync(all=False)) == (Kind.INVALID, "invalid_count")
            assert await refusal(c.start_sync(mailbox=None, all=True)) == (Kind.INVALID, "mailbox_required")

    async def test_of_another_user_are_not_found(self, client: OpenClient) -> None:
        async with client(workers=0) as c:
            started = await c.start_sync(newest_count=5)
            missing = (Kind.NOT_FOUND, "sync_not_found")
            assert await refusal(c.get_sync(sync_id=started.sync_id, user_id=str(uuid4()))) == missing
            for sync_id in ("", "x", _FOREIGN.encode_sync(1, 1), _PLAIN.encode(1, 2**60)):
                assert await refusal(c.get_sync(sync_id=sync_id)) == missing


class TestAmbiguity:
    async def test_of_an_address_is_refused_by_every_call_that_takes_one(self, client: OpenClient) -> None:
        async with client() as c:
            twin = c.s.auth.add_twin(c.s.account)
            conflict = (Kind.CONFLICT, "ambiguous_address")
            await c.list_mailboxes()
            assert await refusal(c.list_messages()) == conflict
            assert await refusal(c.list_labels()) == conflict
            assert await refusal(c.start_sync(newest_count=1)) == conflict
            by_account = mail_pb2.MailboxSelector(account_id=str(twin.account_id))
            assert list((await c.list_messages(mailbox=by_account)).messages) == []
