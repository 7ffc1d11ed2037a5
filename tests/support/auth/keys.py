"""API keys of applications at a running auth."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import pytest
from mailroom.auth.v1 import auth_pb2

from services.auth.applications.api_keys import ApiKeys, KeyRules
from services.auth.model import DEFAULT_APPLICATION, ApiKey, User
from services.auth.store.transaction import Store
from services.kit.context import act_for
from services.kit.errors import AppError
from services.kit.rpc.client import call
from services.kit.scopes import Scope
from tests.support.auth.client import Client

READ = frozenset({Scope.MAIL_READ, Scope.MAILBOXES_READ})


async def new_application(store: Store) -> UUID:
    """Add an application."""
    async with store.transaction() as transaction:
        made = await transaction.applications.add(uuid4(), name=uuid4().hex, redirect_urls=[])
        await transaction.commit()
    assert made is not None
    return made.application_id


@dataclass
class Keys:
    """Keys of applications at a running service."""

    client: Client
    store: Store
    keys: ApiKeys

    async def made(self, application_id: UUID | None = DEFAULT_APPLICATION, **rules: Any) -> ApiKey:
        """Make a key, and act for it from now on."""
        merged: dict[str, Any] = {"name": "a key", "scopes": READ, **rules}
        key, text = await self.keys.create(KeyRules(**merged), application_id=application_id)
        verified = await call(self.client.api_keys.VerifyApiKey, auth_pb2.VerifyApiKeyRequest(api_key=text.value))
        act_for(verified.principal)
        return key

    async def user(self, application_id: UUID = DEFAULT_APPLICATION) -> User:
        """Add a user of an application."""
        async with self.store.transaction() as transaction:
            user = await transaction.users.add_external(
                uuid4(), application_id=application_id, external_user_id=uuid4().hex
            )
            await transaction.commit()
        assert user is not None
        return user

    async def application(self) -> UUID:
        """Add an application."""
        return await new_application(self.store)

    async def exchange(self, key: ApiKey, user_id: object, *scopes: str) -> auth_pb2.ExchangeTokenResponse:
        """Exchange a key for a token of the user."""
        request = auth_pb2.ExchangeTokenRequest(acting_key_id=key.key_id, user_id=str(user_id), scopes=scopes)
        return await call(self.client.api_keys.ExchangeToken, request)

    async def refusal(self, key: ApiKey, user_id: object, *scopes: str) -> str:
        """Return the reason why no token is made."""
        with pytest.raises(AppError) as refused:
            await self.exchange(key, user_id, *scopes)
        return refused.value.reason
