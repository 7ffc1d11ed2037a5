"""API keys for tests of applications."""

import os
from datetime import UTC, datetime

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from services.auth.applications.api_keys import ApiKeys
from services.auth.store.transaction import Store
from tests.support.auth.client import Client
from tests.support.auth.keys import Keys


@pytest.fixture
def keys(client: Client, engine: AsyncEngine) -> Keys:
    store = Store(engine)
    return Keys(client, store, ApiKeys(store=store, clock=lambda: datetime.now(UTC), random=os.urandom))
