"""The OpenAPI document of the gateway, without services behind it."""

import asyncio
import time
from collections.abc import Iterator
from functools import cache
from typing import Any, cast

from mailroom.auth.v1.auth_pb2_grpc import ApiKeyServiceStub
from prometheus_client import CollectorRegistry

from services.gateway.access_tokens import AccessTokens
from services.gateway.api_keys import ApiKeys
from services.gateway.app import create_app
from services.gateway.clients import Services
from services.gateway.limits.long_polls import LongPolls
from services.gateway.revocations import Revocations
from services.kit.jwks import KeySet, PublishedKeys
from services.kit.observe.setup import Telemetry

_URL = "http://localhost:8000"


async def _no_keys() -> PublishedKeys:
    raise NotImplementedError


async def _ready() -> bool:
    return True


@cache
def openapi_document() -> dict[str, Any]:
    """Return the document, with the routes that a setting adds; all tests share it."""
    no_service = cast("ApiKeyServiceStub", None)
    revocations = Revocations(no_service)
    keys = KeySet(_no_keys, algorithm="ES256", retry_interval=1, monotonic=time.monotonic)
    app = create_app(
        # No request is sent.
        services=cast("Services", None),
        signing_keys=keys,
        access_tokens=AccessTokens(keys, issuer=_URL, audience=_URL),
        api_keys=ApiKeys(no_service),
        revocations=revocations,
        ready=_ready,
        long_polls=LongPolls(asyncio.Event(), revocations=revocations),
        telemetry=Telemetry(CollectorRegistry()),
        public_url=_URL,
        frontend_redirect_url=_URL,
        cors_origins=(),
        body_limit=1,
        notifying_providers=("google",),
    )
    return app.openapi()


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every operation with its method and path."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation
