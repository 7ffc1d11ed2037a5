"""Verification of API keys by auth, remembered for as long as the principals that auth makes for them."""

import asyncio
import time
from collections.abc import Callable
from functools import partial

from mailroom.auth.v1.auth_pb2 import ClientInfo, VerifyApiKeyRequest
from mailroom.auth.v1.auth_pb2_grpc import ApiKeyServiceStub

from services.gateway.caller import Caller
from services.kit.api_key import MalformedKeyError, parse
from services.kit.errors import AppError, Kind
from services.kit.principals import key_subject
from services.kit.rpc.client import call
from services.kit.scopes import known_scopes

# Seconds before its end at which a principal is renewed: it has to last until the services behind have verified it.
_MARGIN = 60
# Verified keys that are remembered.
_MOST_KEYS = 5000

type _Place = tuple[str, str]


class ApiKeys:
    """The verifier of API keys. A key is verified anew for each address that it comes from, and after 14 minutes.

    Revoked ones are refused earlier (services/gateway/revocations.py).
    """

    def __init__(self, service: ApiKeyServiceStub, *, now: Callable[[], float] = time.time) -> None:
        self._service = service
        self._now = now
        self._verified: dict[_Place, Caller] = {}
        self._asking: dict[_Place, asyncio.Task[Caller]] = {}

    def known(self, text: str, *, address: str) -> Caller | None:
        """Return the caller of a key that was verified a short time ago for this address."""
        known = self._verified.get((text, address))
        return None if known is None or self._now() >= known.expires_at - _MARGIN else known

    async def verify(self, text: str, *, address: str, client: ClientInfo) -> Caller:
        """Return the caller of a key. Requests that ask at the same time share one call.

        Raises AppError malformed_api_key, invalid_api_key, network_not_allowed, service_unavailable.
        """
        try:
            parse(text)
        except MalformedKeyError as error:
            raise AppError(
                Kind.UNAUTHENTICATED, "malformed_api_key", "The API key has a typo: its checksum does not fit."
            ) from error
        place = (text, address)
        asking = self._asking.get(place)
        if asking is None:
            asking = self._asking[place] = asyncio.create_task(self._ask(place, client))
            asking.add_done_callback(partial(self._asked, place))
        return await asyncio.shield(asking)

    async def _ask(self, place: _Place, client: ClientInfo) -> Caller:
        text, address = place
        request = VerifyApiKeyRequest(api_key=text, client_address=address, client=client)
        answer = await call(self._service.VerifyApiKey, request)
        caller = Caller(
            user_id=key_subject(answer.key.key_id),
            session_id="",
            expires_at=answer.expire_time.seconds,
            token=answer.principal,
            key_id=answer.key.key_id,
            application_id=answer.key.application_id,
            is_limited=bool(answer.key.mailbox_ids),
            scopes=known_scopes(answer.key.scopes),
        )
        self._verified[place] = caller
        if len(self._verified) > _MOST_KEYS:
            del self._verified[next(iter(self._verified))]
        return caller

    def _asked(self, place: _Place, task: asyncio.Task[Caller]) -> None:
        del self._asking[place]
        if not task.cancelled():
            # asyncio logs an exception that is never retrieved, as when every client has left.
            task.exception()
