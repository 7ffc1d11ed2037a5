"""Who asks has to be proven: a call without a principal, or with another one's, reads nothing."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import pytest
from grpc import aio
from mailroom.mail.v1 import mail_pb2, mail_pb2_grpc

from deploy.local.ports import Ports
from services.kit.context import act_for
from services.kit.errors import AppError, Kind
from services.kit.principals import PRINCIPAL_TYPE
from services.kit.rpc.client import call
from services.mail import app
from services.mail.model import DEFAULT_APPLICATION
from tests.mail.conftest import OpenStage
from tests.mail.rpc.test_rpc import _settings
from tests.support.gateway.fake_auth import SigningKey, claims_of
from tests.support.mail.auth_server import served_auth
from tests.support.mail.stage import Stage

ISSUER = "http://localhost:8000"


@dataclass
class Asked:
    """A mail service that verifies principals, and the key that signs them."""

    s: Stage
    key: SigningKey
    mailboxes: mail_pb2_grpc.MailboxServiceStub
    messages: mail_pb2_grpc.MessageServiceStub
    syncs: mail_pb2_grpc.SyncServiceStub

    def user(self, user_id: object, **claims: Any) -> str:
        """Return the access token of a user."""
        return self.key.sign(claims_of(str(user_id), **{"iss": ISSUER, "aud": ISSUER, **claims}))

    def api_key(self, application_id: UUID = DEFAULT_APPLICATION, **claims: Any) -> str:
        """Return the principal of the API key `key:one`."""
        claims = claims_of("key:one", iss=ISSUER, aud=ISSUER, app=str(application_id), **claims)
        return self.key.sign(claims, typ=PRINCIPAL_TYPE)

    async def list_mailboxes(self, principal: str, user_id: object, **fields: Any) -> list[str]:
        """Return the accounts of the mailboxes that a principal is shown."""
        act_for(principal)
        request = mail_pb2.ListMailboxesRequest(user_id=str(user_id), **fields)
        return [mailbox.account_id for mailbox in (await call(self.mailboxes.ListMailboxes, request)).mailboxes]


@pytest.fixture
async def asked(stage: OpenStage, ports: Ports) -> AsyncIterator[Asked]:
    key = SigningKey("first")
    async with stage(messages=2) as s, served_auth(s.auth, jwks=json.dumps({"keys": [key.public]})) as auth_address:
        stop, port = asyncio.Event(), ports.free()
        settings = _settings(s, port=port, auth_address=auth_address)
        proven = settings.model_copy(update={"mail_require_principals": True})
        service = asyncio.create_task(app.serve(proven, stop))
        try:
            async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                await asyncio.wait_for(channel.channel_ready(), 20)
                yield Asked(
                    s,
                    key,
                    mail_pb2_grpc.MailboxServiceStub(channel),
                    mail_pb2_grpc.MessageServiceStub(channel),
                    mail_pb2_grpc.SyncServiceStub(channel),
                )
        finally:
            stop.set()
            await service


async def refusal(asked: Asked, principal: str, user_id: object) -> tuple[Kind, str]:
    """Return the refusal of a list of mailboxes."""
    with pytest.raises(AppError) as refused:
        await asked.list_mailboxes(principal, user_id)
    return refused.value.kind, refused.value.reason


class TestUsers:
    async def test_are_known_by_their_access_token(self, asked: Asked) -> None:
        user_id = asked.s.user_id
        assert await asked.list_mailboxes(asked.user(user_id), user_id) == [str(asked.s.account.account_id)]

    async def test_name_mailboxes_by_uuids(self, asked: Asked) -> None:
        user_id, account_id = asked.s.user_id, str(asked.s.account.account_id)
        for written in (account_id, account_id.upper()):
            assert await asked.list_mailboxes(asked.user(user_id), user_id, account_id=written) == [account_id]
        with pytest.raises(AppError) as refused:
            await asked.list_mailboxes(asked.user(user_id), user_id, account_id="x")
        assert refused.value.reason == "invalid_account_id"

    async def test_without_a_valid_one_of_their_own_read_nothing(self, asked: Asked) -> None:
        user_id, now = asked.s.user_id, int(time.time())
        forged = SigningKey("first").sign(claims_of(str(user_id), iss=ISSUER, aud=ISSUER))
        wrong: list[Callable[[], str]] = [
            lambda: "",
            lambda: "made-up",
            lambda: forged,
            lambda: asked.user(uuid4()),
            lambda: asked.user(user_id, aud="https://elsewhere.example"),
            lambda: asked.user(user_id, iat=now - 1000, exp=now - 100),
            lambda: asked.key.sign(claims_of(str(user_id), iss=ISSUER, aud=ISSUER), typ="JWT"),
        ]
        for principal in wrong:
            assert await refusal(asked, principal(), user_id) == (Kind.UNAUTHENTICATED, "invalid_token")

    async def test_can_be_impersonated_by_a_captured_gateway_until_their_token_ends(self, asked: Asked) -> None:
        user_id, now = asked.s.user_id, int(time.time())
        passed_through = asked.user(user_id, iat=now - 890, exp=now + 10)
        assert await asked.list_mailboxes(passed_through, user_id) == [str(asked.s.account.account_id)]
        ended = asked.user(user_id, iat=now - 931, exp=now - 31)
        assert await refusal(asked, ended, user_id) == (Kind.UNAUTHENTICATED, "invalid_token")

    async def test_are_known_by_a_token_that_a_key_was_exchanged_for(self, asked: Asked) -> None:
        user_id = asked.s.user_id
        exchanged = asked.user(user_id, act={"sub": "key:one"}, scope="mail.read")
        assert await asked.list_mailboxes(exchanged, user_id) == [str(asked.s.account.account_id)]
        for subject in (uuid4(), "key:one"):
            assert await refusal(asked, exchanged, subject) == (Kind.UNAUTHENTICATED, "invalid_token")
        forged = asked.user(user_id, act={"sub": "another user"})
        assert await refusal(asked, forged, user_id) == (Kind.UNAUTHENTICATED, "invalid_token")


class TestApiKeys:
    async def test_of_operators_reach_no_mail(self, asked: Asked) -> None:
        operator = asked.key.sign(claims_of("key:one", iss=ISSUER, aud=ISSUER), typ=PRINCIPAL_TYPE)
        assert await refusal(asked, operator, "key:one") == (Kind.UNAUTHENTICATED, "invalid_token")

    async def test_reach_the_mailboxes_of_their_application(self, asked: Asked) -> None:
        await asked.list_mailboxes(asked.user(asked.s.user_id), asked.s.user_id)
        account_id = str(asked.s.account.account_id)
        assert await asked.list_mailboxes(asked.api_key(), "key:one") == [account_id]
        assert await asked.list_mailboxes(asked.api_key(uuid4()), "key:one") == []
        assert await asked.list_mailboxes(asked.api_key(mailboxes=[account_id]), "key:one") == [account_id]
        assert await asked.list_mailboxes(asked.api_key(mailboxes=[str(uuid4())]), "key:one") == []

    async def test_act_for_no_user(self, asked: Asked) -> None:
        for subject in (asked.s.user_id, "key:two"):
            assert await refusal(asked, asked.api_key(), subject) == (Kind.UNAUTHENTICATED, "invalid_token")

    async def test_filter_mailboxes(self, asked: Asked) -> None:
        await asked.list_mailboxes(asked.user(asked.s.user_id), asked.s.user_id)
        account_id, key = str(asked.s.account.account_id), asked.api_key()
        email = asked.s.account.email.upper()
        fitting: list[dict[str, Any]] = [
            {"email": email, "provider": "google", "status": mail_pb2.MAILBOX_STATUS_ACTIVE, "access_denied": False},
            {"owner_id": str(asked.s.user_id), "page_size": 1},
        ]
        for fields in fitting:
            assert await asked.list_mailboxes(key, "key:one", **fields) == [account_id]
        others: list[dict[str, Any]] = [
            {"provider": "acme"},
            {"status": mail_pb2.MAILBOX_STATUS_REAUTH_REQUIRED},
            {"access_denied": True},
            {"owner_id": str(uuid4())},
            {"owner_id": "no id"},
            {"email": "nobody@example.com"},
        ]
        for fields in others:
            assert await asked.list_mailboxes(key, "key:one", **fields) == []


class TestNotifications:
    async def test_need_no_principal(self, asked: Asked) -> None:
        with pytest.raises(AppError) as refused:
            await call(asked.syncs.AcceptPush, mail_pb2.AcceptPushRequest(token="made-up", body=b"{}"))
        assert refused.value.message != "The call does not prove who asks."


def test_requests_but_those_of_notifications_name_who_asks() -> None:
    services = mail_pb2.DESCRIPTOR.services_by_name.values()
    methods = [method for service in services for method in service.methods if method.name != "AcceptPush"]
    assert len(methods) > 15
    assert [method.name for method in methods if "user_id" not in method.input_type.fields_by_name] == []
