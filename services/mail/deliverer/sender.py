"""One try to deliver an event: signed, through the guard of given URLs, within its time."""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import structlog

from services.kit.url_guard.client import AddressRefusedError, GuardedClient, NoAnswerError
from services.kit.url_guard.destination import UnfitUrlError, parse
from services.mail.deliverer.metrics import DelivererMetrics
from services.mail.webhooks.events import body_of
from services.mail.webhooks.model import Attempt, Endpoint, Event
from services.mail.webhooks.retries import seconds_asked
from services.mail.webhooks.secrets import signed_headers

# Errors of attempts, besides the reasons of NoAnswerError.
ADDRESS_REFUSED, UNFIT_URL, INTERNAL = "address_refused", "unfit_url", "internal"

log = structlog.get_logger()


def _now() -> datetime:
    return datetime.now(UTC)


class Sender:
    """Sends events. `seconds` is the time of a whole try, names and connection included."""

    def __init__(
        self,
        client: GuardedClient,
        *,
        metrics: DelivererMetrics,
        seconds: float,
        allow_http: bool = False,
        now: Callable[[], datetime] = _now,
    ) -> None:
        self._client = client
        self._metrics = metrics
        self._seconds = seconds
        self._allow_http = allow_http
        self._now = now

    async def send(self, endpoint: Endpoint, event: Event, *, secrets: Sequence[str]) -> Attempt:
        """Try once; whatever goes wrong is in the attempt."""
        at = self._now()
        began = time.monotonic()
        attempt = await self._try(endpoint, event, secrets, at)
        seconds = time.monotonic() - began
        self._metrics.attempted(seconds, status=attempt.status)
        return Attempt(
            at=at,
            milliseconds=round(1000 * seconds),
            status=attempt.status,
            error=attempt.error,
            body=attempt.body,
            retry_after=attempt.retry_after,
        )

    async def _try(self, endpoint: Endpoint, event: Event, secrets: Sequence[str], at: datetime) -> Attempt:
        body = body_of(event)
        headers = {
            "content-type": "application/json",
            "user-agent": "Mailroom-Webhooks/1",
            **signed_headers(event.event_id, body, at=at, secrets=secrets),
        }
        try:
            to = parse(endpoint.rules.url, allow_http=self._allow_http)
            reply = await self._client.post(to, body=body, headers=headers, timeout=self._seconds)
        except UnfitUrlError:
            return Attempt(at=at, milliseconds=0, error=UNFIT_URL)
        except AddressRefusedError:
            return Attempt(at=at, milliseconds=0, error=ADDRESS_REFUSED)
        except NoAnswerError as error:
            return Attempt(at=at, milliseconds=0, error=str(error))
        except Exception:
            # An event that never fails would be tried without a pause, and for ever.
            log.exception("a try ended unexpectedly", webhook_id=str(endpoint.endpoint_id))
            return Attempt(at=at, milliseconds=0, error=INTERNAL)
        return Attempt(
            at=at,
            milliseconds=0,
            status=reply.status,
            # Postgres stores no NUL.
            body=reply.body.decode(errors="replace").replace("\0", "\ufffd"),
            retry_after=seconds_asked(reply.headers.get("retry-after"), now=at),
        )
