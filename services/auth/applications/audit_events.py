"""The events of an application: those of its users and those of its API keys."""

from datetime import datetime

from services.auth.applications.api_keys import ApiKeys
from services.auth.cipher import Cipher
from services.auth.event_pages import page_limit, read_token, write_token
from services.auth.store.audit_events import AuditEvent, AuditFilter, Place, Source
from services.auth.store.transaction import Store
from services.kit.fair_share import FairShare

# Lists that are read at a time, which leaves the other connections of the pool to sign-ins: a filter that finds next to
# nothing reads all events of an application, 90 ms for a million of them.
AT_A_TIME = 2
_WAITING = 16


class AuditEvents:
    """The list of events, for keys that manage their application's keys."""

    def __init__(self, *, store: Store, api_keys: ApiKeys, cipher: Cipher) -> None:
        self._store = store
        self._api_keys = api_keys
        self._cipher = cipher
        self._share = FairShare(AT_A_TIME, per_user=1, waiting=_WAITING, work="lists of events are being read")

    async def list_newest(
        self, wanted: AuditFilter, *, manager_id: str, page_size: int, page_token: str
    ) -> tuple[list[AuditEvent], str]:
        """Return a page of events, newest first, and the token of the next page, empty on the last one.

        Raises AppError invalid_api_key, invalid_page_size, invalid_page_token, too_many_requests.
        """
        manager = await self._api_keys.manager(manager_id)
        assert manager.application_id is not None  # noqa: S101 - an operator key manages no keys
        owner, limit = manager.application_id, page_limit(page_size)
        before = _place_of(read_token(self._cipher, page_token, owner=owner)) if page_token else None
        async with self._share.of(str(owner)), self._store.transaction() as transaction:
            found = await transaction.audit_events.list_newest(owner, wanted, before=before, limit=limit + 1)
        if len(found) <= limit:
            return found, ""
        return found[:limit], write_token(self._cipher, _text_of(found[limit - 1].place), owner=owner)


def _text_of(place: Place) -> str:
    return f"{place.created_at.isoformat()} {place.source} {place.event_id}"


def _place_of(text: str) -> Place:
    created_at, source, event_id = text.split()
    return Place(datetime.fromisoformat(created_at), Source(source), int(event_id))
